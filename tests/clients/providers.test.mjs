// Two providers that others wrote, from the login to the row: what they publish is found by discovery, and
// their access tokens are taken as they are.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Events, OAuth2Server } from "oauth2-mock-server";
import { root, ROWGATE_BIN } from "./support.mjs";

const API = "https://todos.example/api";
const MARK = `provider ${process.pid}`;

/** The logins of the database that `rowgate dev` made, as `rowgate serve` takes them. */
function databaseUrls() {
  const text = readFileSync(join(process.env.ROWGATE_DATA_DIR, "env"), "utf8");
  return Object.fromEntries([...text.matchAll(/^(\w+)='([^']*)'$/gm)].map(([, key, value]) => [key, value]));
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** A gateway of its own, with this configuration. */
async function serve(toml) {
  const dir = mkdtempSync(join(tmpdir(), "rowgate-providers-"));
  const port = await freePort();
  const config = join(dir, "rowgate.toml");
  writeFileSync(config, `[server]\nlisten = "127.0.0.1:${port}"\n\n${toml}`);
  // What the tests are told in ROWGATE_… is not the gateway's configuration.
  const others = Object.entries(process.env).filter(([name]) => !name.startsWith("ROWGATE_"));
  const env = { ...Object.fromEntries(others), ...databaseUrls() };
  const child = spawn(ROWGATE_BIN, ["serve", "--config", config], { env, cwd: root });
  let said = "";
  child.stderr.on("data", (text) => (said += text));
  child.stdout.on("data", (text) => (said += text));
  const url = `http://127.0.0.1:${port}`;
  for (let tries = 0; ; tries += 1) {
    const ready = await fetch(`${url}/health/ready`).catch(() => undefined);
    if (ready?.ok) break;
    assert.ok(tries < 300 && child.exitCode === null, `no gateway:\n${said}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const stop = async () => {
    child.kill("SIGINT");
    if (child.exitCode === null) await once(child, "exit");
    rmSync(dir, { recursive: true });
  };
  // Not waited for in the way that stops this process: the provider runs in it.
  const check = (token) => {
    const file = join(dir, "token.jwt");
    writeFileSync(file, token);
    const args = ["check", "--config", config, "--token-file", file];
    return new Promise((resolve) =>
      execFile(ROWGATE_BIN, args, { env, cwd: root }, (_, stdout, stderr) => resolve(stdout + stderr)),
    );
  };
  return { url, stop, check, said: () => said };
}

/** An answer's status, and its rows or its code. */
async function sql(gateway, token, query, params = []) {
  const response = await fetch(`${gateway.url}/sql`, {
    method: "POST",
    headers: { "Neon-Array-Mode": "true", ...(token && { Authorization: `Bearer ${token}` }) },
    body: JSON.stringify({ query, params }),
  });
  const body = await response.json();
  return { status: response.status, rows: body.rows, code: body.code, message: body.message };
}

const segments = (token) =>
  token.split(".").slice(0, 2).map((part) => JSON.parse(Buffer.from(part, "base64url")));

/** A login with PKCE (RFC 7636), whose pages `visit` goes through, up to the code at the client. */
async function authorize(metadata, client, visit) {
  const verifier = randomBytes(32).toString("base64url");
  const challenge = createHash("sha256").update(verifier).digest("base64url");
  const url = new URL(metadata.authorization_endpoint);
  for (const [name, value] of Object.entries({
    response_type: "code",
    client_id: client.id,
    redirect_uri: client.redirect,
    scope: "openid profile",
    state: "s",
    nonce: "n",
    code_challenge: challenge,
    code_challenge_method: "S256",
    ...client.more,
  })) {
    url.searchParams.set(name, value);
  }
  const back = await visit(url);
  const code = back.searchParams.get("code");
  assert.ok(code, `no code came back: ${back}`);
  const response = await fetch(metadata.token_endpoint, {
    method: "POST",
    body: new URLSearchParams({
      grant_type: "authorization_code",
      code,
      redirect_uri: client.redirect,
      client_id: client.id,
      code_verifier: verifier,
      ...client.more,
    }),
  });
  const tokens = await response.json();
  assert.equal(response.status, 200, JSON.stringify(tokens));
  return tokens;
}

const discover = async (issuer) =>
  (await fetch(`${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`)).json();

describe("oauth2-mock-server", () => {
  const provider = new OAuth2Server();
  let gateway, metadata;
  const subject = (sub, more = {}) =>
    provider.service.once(Events.BeforeTokenSigning, (token) => Object.assign(token.payload, { sub, ...more }));
  const login = async (sub, more) => {
    subject(sub, more);
    const client = { id: "web", redirect: "http://127.0.0.1:1/callback", more: { aud: "todos" } };
    return authorize(metadata, client, async (url) => {
      const answer = await fetch(url, { redirect: "manual" });
      return new URL(answer.headers.get("location"));
    });
  };

  before(async () => {
    await provider.issuer.keys.generate("RS256");
    await provider.start(0, "127.0.0.1");
    const { port } = provider.address();
    provider.issuer.url = `http://127.0.0.1:${port}`;
    metadata = await discover(provider.issuer.url);
    assert.equal(metadata.issuer, provider.issuer.url);
    gateway = await serve(`[[issuer]]\nurl = "${provider.issuer.url}"\n`);
  });

  after(async () => {
    await gateway?.stop();
    await provider.stop();
  });

  test("a code with PKCE becomes a token, and the token a row", async () => {
    const { access_token: erin } = await login("erin");
    const { access_token: frank } = await login("frank");
    const added = await sql(gateway, erin, "insert into todos (task) values ($1) returning user_id", [MARK]);
    assert.deepEqual(added.rows, [["erin"]]);
    const mine = "select task from todos where task = $1";
    assert.deepEqual((await sql(gateway, erin, mine, [MARK])).rows, [[MARK]]);
    assert.deepEqual((await sql(gateway, frank, mine, [MARK])).rows, []);
    assert.deepEqual((await sql(gateway, undefined, mine, [MARK])).rows, []);
  });

  test("keys of every kind that it makes are taken up while the gateway runs", async () => {
    // The allowance for unknown keys is one fetch in a while: all kinds come with one.
    for (const algorithm of ["ES256", "PS256", "EdDSA"]) await provider.issuer.keys.generate(algorithm);
    const statuses = new Map();
    for (const key of provider.issuer.keys.toJSON()) {
      const token = await provider.issuer.buildToken({
        kid: key.kid,
        scopesOrTransform: (_, payload) => Object.assign(payload, { sub: "grace" }),
      });
      const [{ alg, kid }] = segments(token);
      assert.equal(kid, key.kid);
      statuses.set(alg, (await sql(gateway, token, "select auth.user_id()")).rows?.[0][0]);
    }
    const all = { RS256: "grace", ES256: "grace", PS256: "grace", EdDSA: "grace" };
    assert.deepEqual(Object.fromEntries(statuses), all);
  });

  test("what it signs wrongly is refused, with the reason", async () => {
    const now = Math.floor(Date.now() / 1000);
    const forge = (changes) =>
      provider.issuer.buildToken({ scopesOrTransform: (_, payload) => Object.assign(payload, { sub: "x" }, changes) });
    for (const [changes, code] of [
      [{ exp: now - 3600 }, "RG4016"],
      [{ nbf: now + 3600 }, "RG4017"],
      [{ iss: "https://elsewhere.example" }, "RG4013"],
      [{ sub: 7 }, "RG4019"],
    ]) {
      const answer = await sql(gateway, await forge(changes), "select 1");
      assert.deepEqual([answer.status, answer.code], [401, code], JSON.stringify(changes));
    }
    const { access_token: token } = await login("heidi");
    const broken = await sql(gateway, `${token.slice(0, -6)}AAAAAA`, "select 1");
    assert.deepEqual([broken.status, broken.code], [401, "RG4015"]);
  });

  test("rowgate check says what it found, and what a token would do", async () => {
    const { access_token: token } = await login("ivan");
    const accepted = await gateway.check(token);
    assert.match(accepted, /issuer http:\/\/127\.0\.0\.1:\d+: .*usable key/);
    assert.match(accepted, /^ok .*token: accepted/m);
    assert.doesNotMatch(accepted, /ivan/, "no claim is printed");
    const [header, , signature] = token.split(".");
    const changed = Buffer.from(JSON.stringify({ ...segments(token)[1], sub: "judy" })).toString("base64url");
    assert.match(await gateway.check(`${header}.${changed}.${signature}`), /^error .*token: not accepted: .*signature/m);
  });
});

describe("oidc-provider", async () => {
  const { default: Provider } = await import("oidc-provider");
  const client = { id: "web", redirect: "http://127.0.0.1:1/callback", more: { resource: API } };
  let server, gateway, metadata, issuer;

  before(async () => {
    const port = await freePort();
    issuer = `http://127.0.0.1:${port}`;
    const provider = new Provider(issuer, {
      clients: [
        {
          client_id: client.id,
          redirect_uris: [client.redirect],
          token_endpoint_auth_method: "none",
          application_type: "native",
        },
      ],
      features: {
        devInteractions: { enabled: true },
        resourceIndicators: {
          enabled: true,
          defaultResource: () => API,
          useGrantedResource: () => true,
          getResourceServerInfo: () => ({
            scope: "openid profile",
            accessTokenFormat: "jwt",
            jwt: { sign: { alg: "RS256" } },
          }),
        },
      },
    });
    server = provider.listen(port, "127.0.0.1");
    await once(server, "listening");
    metadata = await discover(issuer);
    gateway = await serve(`[[issuer]]\nurl = "${issuer}"\naudience = ["${API}"]\n`);
  });

  after(async () => {
    await gateway?.stop();
    server?.close();
    server?.closeAllConnections();
  });

  /** Goes through the provider's own pages (login, consent), as a browser does: redirects, cookies, forms. */
  async function visit(url, sub) {
    const cookies = new Map();
    let request = { method: "GET" };
    for (let steps = 0; steps < 20; steps += 1) {
      const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join("; ");
      const answer = await fetch(url, { ...request, headers: { cookie }, redirect: "manual" });
      for (const line of answer.headers.getSetCookie()) {
        const [, name, value] = line.match(/^([^=]+)=([^;]*)/);
        value ? cookies.set(name, value) : cookies.delete(name);
      }
      const location = answer.headers.get("location");
      if (location) {
        url = new URL(location, url);
        request = { method: "GET" };
        if (url.href.startsWith(client.redirect)) return url;
        continue;
      }
      const page = await answer.text();
      const action = page.match(/<form[^>]* action="([^"]+)"/)?.[1];
      assert.ok(action, `no form, and no way on: ${answer.status} ${page}`);
      const prompt = page.match(/name="prompt" value="(\w+)"/)[1];
      url = new URL(action, url);
      request = { method: "POST", body: new URLSearchParams({ prompt, login: sub, password: "any" }) };
    }
    throw new Error("the login goes in circles");
  }

  const login = (sub) => authorize(metadata, client, (url) => visit(url, sub));

  test("a login with PKCE becomes a JWT access token, and the token a row", async () => {
    const { access_token: kate } = await login("kate");
    const [{ typ, alg }, { aud, iss }] = segments(kate);
    assert.deepEqual({ typ, alg, aud, iss }, { typ: "at+jwt", alg: "RS256", aud: API, iss: issuer });
    const { access_token: leo } = await login("leo");
    const added = await sql(gateway, kate, "insert into todos (task) values ($1) returning user_id", [MARK]);
    assert.deepEqual(added.rows, [["kate"]]);
    const count = "select count(*)::int4 from todos where task = $1";
    assert.deepEqual((await sql(gateway, kate, count, [MARK])).rows, [[1]]);
    assert.deepEqual((await sql(gateway, leo, count, [MARK])).rows, [[0]]);
  });

  test("its ID token is for the client, not for this server", async () => {
    const { id_token: token } = await login("mallory");
    assert.equal(segments(token)[1].aud, client.id);
    const answer = await sql(gateway, token, "select 1");
    assert.deepEqual([answer.status, answer.code], [401, "RG4018"]);
    assert.match(await gateway.check(token), /^error .*token: not accepted: .*aud/m);
  });

  test("nothing of a token reached the gateway's log", async () => {
    const { access_token: token } = await login("nora");
    await sql(gateway, token, "select 1");
    const parts = token.split(".");
    assert.ok(gateway.said().length > 0);
    for (const part of [...parts, "nora"]) assert.ok(!gateway.said().includes(part));
  });
});
