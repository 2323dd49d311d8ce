// A page on another origin in headless Chromium: the driver's own ES module, the example's page.
// Left out, with a message, where there is no Chromium (CHROMIUM names one that is elsewhere).
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, request as forward } from "node:http";
import { tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import { chromium } from "playwright-core";
import { ALICE, BOB, ROWGATE_URL, here, root } from "./support.mjs";

const executablePath =
  process.env.CHROMIUM ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find((path) => existsSync(path));
const skip = executablePath ? false : "there is no Chromium here";

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript" };

/** Serves the example's files as any static server would. */
function servePage(request, response) {
  const path = normalize(decodeURIComponent(new URL(request.url, "http://page").pathname));
  const base = path.startsWith("/node_modules/") ? here : join(root, "examples/browser");
  const file = join(base, path === "/" ? "index.html" : path);
  if (!existsSync(file)) return response.writeHead(404).end();
  response.writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream" });
  response.end(readFileSync(file));
}

/** Passes everything on to the gateway unchanged, and tells of preflights: pages do not see them. */
function gatewayBehind(onPreflight) {
  return (request, response) => {
    const { method, headers, url } = request;
    const onward = forward(new URL(url, ROWGATE_URL), { method, headers }, (answer) => {
      if (method === "OPTIONS") onPreflight(headers, answer);
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    // Without a gateway the page is told so, and does not wait.
    onward.on("error", () => response.destroy());
    request.pipe(onward);
  };
}

/** A server on a free port: an origin of its own. */
function listen(handler) {
  const server = createServer(handler);
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

/** The headers that a preflight asks for. */
const asked = (headers) => headers["access-control-request-headers"];
const origin = (server) => `http://127.0.0.1:${server.address().port}`;

describe("a page on another origin", { skip }, () => {
  let pages, gateway, endpoint, context, page, preflights, consoleErrors, profile;
  const mark = `page ${process.pid}`;

  before(async () => {
    pages = await listen(servePage);
    profile = mkdtempSync(join(tmpdir(), "rowgate-chromium-"));
    context = await chromium.launchPersistentContext(profile, {
      executablePath,
      headless: true,
      chromiumSandbox: false,
      args: [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
      ],
    });
  });
  after(async () => {
    await context?.close();
    pages?.close();
    gateway?.close();
    rmSync(profile, { recursive: true, force: true });
  });

  beforeEach(async () => {
    await page?.close();
    gateway?.close();
    // A port of its own for each test: Chromium remembers preflights for as long as it is told to.
    gateway = await listen(gatewayBehind((headers, answer) => preflights.push({ headers, answer })));
    endpoint = `${origin(gateway)}/sql`;
    page = await context.newPage();
    page.setDefaultTimeout(15_000);
    [preflights, consoleErrors] = [[], []];
    page.on("pageerror", (error) => consoleErrors.push(error.message));
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) consoleErrors.push(message.text());
    });
    await page.goto(origin(pages));
  });

  /** Sends a form of the example's page; what its message and list say then. */
  async function submit(form, fields) {
    await page.evaluate(() => (document.getElementById("message").textContent = ""));
    for (const [name, value] of Object.entries(fields)) {
      await page.fill(`#${form} [name=${name}]`, value);
    }
    await page.click(`#${form} button`);
    await page.waitForFunction(() => document.getElementById("message").textContent !== "");
    return {
      message: await page.textContent("#message"),
      todos: await page.locator("#todos li").allTextContents(),
    };
  }

  /** Runs statements with the driver inside the page; each outcome as plain data. */
  const query = (options, ...texts) =>
    page.evaluate(
      async ([endpoint, options, texts]) => {
        const { neon, neonConfig } = await import("@neondatabase/serverless");
        neonConfig.disableWarningInBrowsers = true;
        neonConfig.fetchEndpoint = endpoint;
        const sql = neon("postgresql://user@localhost/app", options);
        const outcomes = [];
        for (const text of texts) {
          try {
            outcomes.push(await sql.query(text));
          } catch ({ name, message, code, position }) {
            outcomes.push({ name, message, code, position });
          }
        }
        return outcomes;
      },
      [endpoint, options, texts],
    );

  test("shows and adds rows with a token, after a preflight, and with a clean console", async () => {
    await submit("who", { endpoint, token: ALICE });
    const { message, todos } = await submit("add", { task: mark });
    assert.match(message, /^\d+ todos$/);
    assert.ok(todos.includes(`alice: ${mark}`));
    assert.ok(todos.every((todo) => todo.startsWith("alice: ")));
    assert.equal(preflights.length, 1);
    // One is enough for all requests of a page.
    assert.equal(preflights.length, 1);
    const [{ headers, answer }] = preflights;
    assert.match(asked(headers), /authorization.*neon-connection-string/);
    assert.equal(headers.origin, origin(pages));
    assert.equal(answer.statusCode, 204);

    const [other] = await query({ authToken: BOB }, `select from todos where task = '${mark}'`);
    assert.deepEqual(other, []);
    await query({ authToken: ALICE }, `delete from todos where task = '${mark}'`);
    assert.deepEqual(consoleErrors, []);
  });

  test("is anonymous without a token, and that works too", async () => {
    const { message, todos } = await submit("who", { endpoint, token: "" });
    assert.deepEqual([message, todos], ["0 todos", []]);
    const [rows] = await query({}, "select current_user as role, auth.user_id() as id");
    assert.deepEqual(rows, [{ role: "anonymous", id: null }]);
    assert.equal(preflights.length, 1);
    assert.ok(!asked(preflights[0].headers).includes("authorization"));
    assert.deepEqual(consoleErrors, []);
  });

  test("runs transactions with every option", async () => {
    const results = await page.evaluate(
      async ([endpoint, authToken]) => {
        const { neon, neonConfig } = await import("@neondatabase/serverless");
        Object.assign(neonConfig, { disableWarningInBrowsers: true, fetchEndpoint: endpoint });
        const sql = neon("postgresql://user@localhost/app", { authToken });
        return sql.transaction([sql`select current_setting('transaction_isolation') as level`], {
          isolationLevel: "Serializable",
          readOnly: true,
          deferrable: true,
        });
      },
      [endpoint, ALICE],
    );
    assert.deepEqual(results, [[{ level: "serializable" }]]);
    const batch = /neon-batch-deferrable.*neon-batch-isolation-level.*neon-batch-read-only/;
    assert.ok(preflights.some(({ headers }) => batch.test(asked(headers))));
    assert.deepEqual(consoleErrors, []);
  });

  test("can read 400 and 401", async () => {
    const [forged, unknown] = await query(
      { authToken: ALICE },
      "insert into todos (user_id, task) values ('bob', 'x')",
      "select nosuch",
    );
    assert.equal(forged.code, "42501");
    assert.match(forged.message, /row-level security/);
    assert.deepEqual([unknown.code, unknown.position], ["42703", "8"]);

    const [refused] = await query({ authToken: "not.a.token" }, "select 1");
    assert.equal(refused.name, "NeonDbError");
    assert.match(refused.message, /401/);
    assert.match(refused.message, /RG401\d/);
    const { message } = await submit("who", { endpoint, token: "not.a.token" });
    assert.match(message, /RG401\d/);

    // Chromium itself notes every answer that is not a success; nothing else may be there.
    for (const text of consoleErrors) assert.match(text, /the server responded with a status of 40[01]/);
    assert.equal(consoleErrors.length, 4);
  });
});
