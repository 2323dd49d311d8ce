// Drizzle: what drizzle-kit generates is applied by `rowgate migrate --from`, and drizzle-orm's
// neon-http driver works through a gateway of its own (DRIZZLE_URL, its data in DRIZZLE_DATA_DIR).
import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { after, before, describe, test } from "node:test";
import { ROWGATE_BIN, copyExample, here, root, run, token } from "./support.mjs";

const { DRIZZLE_URL, DRIZZLE_DATA_DIR } = process.env;
process.env.ROWGATE_URL = DRIZZLE_URL;

const example = copyExample("drizzle-todos");
const drizzleKit = (...args) =>
  run(process.execPath, [join(here, "node_modules/drizzle-kit/bin.cjs"), ...args], {
    cwd: example.dir,
  });

/** The connection strings that `rowgate dev` has written for a shell. */
function owner() {
  const env = readFileSync(join(DRIZZLE_DATA_DIR, "env"), "utf8");
  return Object.fromEntries([...env.matchAll(/^(\w+)='(.*)'$/gm)].map(([, name, url]) => [name, url]));
}

const migrate = (from = "drizzle") =>
  run(ROWGATE_BIN, ["migrate", "--from", from], {
    cwd: example.dir,
    env: { ...process.env, ...owner() },
  });

const load = (file) => import(pathToFileURL(join(example.dir, file)));

describe("drizzle", () => {
  let alice, bob, nobody, todos, notes, orm;

  before(async () => {
    migrate();
    const { database } = await load("db.js");
    ({ todos, notes } = await load("schema.js"));
    orm = await import("drizzle-orm");
    alice = database(token("alice", DRIZZLE_DATA_DIR));
    bob = database(token("bob", DRIZZLE_DATA_DIR));
    nobody = database();
    await alice.delete(todos);
    await bob.delete(todos);
  });
  after(async () => {
    await alice.delete(todos);
    await bob.delete(todos);
    example.remove();
  });

  test("the example's migration is what drizzle-kit generates from its schema", () => {
    const committed = (dir) => readFileSync(join(dir, "drizzle/0000_todos.sql"), "utf8");
    rmSync(join(example.dir, "drizzle"), { recursive: true });
    drizzleKit("generate", "--name", "todos");
    assert.equal(committed(example.dir), committed(join(root, "examples/drizzle-todos")));
  });

  test("migrating again does nothing, and a custom migration is the next one", () => {
    assert.match(migrate(), /^policies and grants: unchanged/m);
    drizzleKit("generate", "--custom", "--name", "later");
    const file = readdirSync(join(example.dir, "drizzle")).find((name) => name.includes("later"));
    assert.ok(file && existsSync(join(example.dir, "drizzle/meta/_journal.json")));
    // Not applied: the database is kept for a second run of these tests.
    rmSync(join(example.dir, "drizzle", file));
    assert.throws(() => migrate(), /_journal\.json: it names 0001_later, which has no file/);
  });

  test("policies apply leaves the policies of the migrations alone", async () => {
    const count = async () => {
      const { rows } = await alice.execute(
        orm.sql`select count(*)::int4 as n from pg_policies where schemaname = 'public'`,
      );
      return rows[0].n;
    };
    const before = await count();
    assert.equal(before, 13);
    run(ROWGATE_BIN, ["policies", "apply"], {
      cwd: example.dir,
      env: { ...process.env, ...owner() },
    });
    assert.equal(await count(), before);
  });

  test("queries: each user has their own rows", async () => {
    const [row] = await alice.insert(todos).values({ task: "plants" }).returning();
    assert.equal(row.userId, "alice");
    assert.equal(typeof row.id, "number");
    assert.ok(row.insertedAt instanceof Date);
    await bob.insert(todos).values([{ task: "dishes" }, { task: "books", isComplete: true }]);

    const tasks = async (db) =>
      (await db.select({ task: todos.task }).from(todos).orderBy(todos.id)).map(({ task }) => task);
    assert.deepEqual(await tasks(alice), ["plants"]);
    assert.deepEqual(await tasks(bob), ["dishes", "books"]);
    assert.deepEqual(await tasks(nobody), ["books"]);

    const updated = await bob
      .update(todos)
      .set({ isComplete: true })
      .where(orm.eq(todos.task, "plants"))
      .returning();
    assert.deepEqual(updated, []);
    assert.equal(await alice.$count(todos), 1);
  });

  test("a row for somebody else is refused with the database's error", async () => {
    const forged = alice.insert(todos).values({ userId: "bob", task: "forged" });
    await assert.rejects(forged, (error) => {
      const cause = error.cause ?? error;
      assert.equal(cause.code, "42501");
      assert.match(cause.message, /row-level security/);
      return true;
    });
    await assert.rejects(async () => nobody.insert(todos).values({ task: "x" }));
  });

  test("relational queries", async () => {
    const [todo] = await alice.insert(todos).values({ task: "with notes" }).returning();
    await alice.insert(notes).values([
      { todoId: todo.id, body: "one" },
      { todoId: todo.id, body: "two" },
    ]);
    // Bob cannot hang a note on a todo that he does not see.
    await assert.rejects(async () => bob.insert(notes).values({ todoId: todo.id, body: "x" }));

    const found = await alice.query.todos.findFirst({
      where: orm.eq(todos.id, todo.id),
      with: { notes: { columns: { body: true }, orderBy: notes.id } },
    });
    assert.deepEqual(found.notes, [{ body: "one" }, { body: "two" }]);
    assert.equal(found.insertedAt.getTime(), todo.insertedAt.getTime());
    const upward = await alice.query.notes.findMany({ with: { todo: true }, limit: 1 });
    assert.equal(upward[0].todo.task, "with notes");
    assert.deepEqual(await bob.query.notes.findMany({ with: { todo: true } }), []);
    assert.deepEqual(await nobody.query.notes.findMany({ with: { todo: true } }), []);
  });

  test("a batch is one transaction", async () => {
    const before = await alice.$count(todos);
    const [inserted, selected, related, raw] = await alice.batch([
      alice.insert(todos).values({ task: "in a batch" }).returning({ task: todos.task }),
      alice.select().from(todos).where(orm.eq(todos.task, "in a batch")),
      alice.query.todos.findMany({ where: orm.eq(todos.task, "in a batch"), with: { notes: true } }),
      alice.execute(orm.sql`select ${1}::int4 as one`),
    ]);
    assert.deepEqual(inserted, [{ task: "in a batch" }]);
    assert.equal(selected[0].userId, "alice");
    assert.deepEqual(related[0].notes, []);
    assert.deepEqual(raw.rows, [{ one: 1 }]);
    await assert.rejects(
      alice.batch([
        alice.insert(todos).values({ task: "never" }),
        alice.insert(todos).values({ userId: "bob", task: "never" }),
      ]),
    );
    assert.equal(await alice.$count(todos), before + 1);
  });

  test("prepared statements and iteration over types", async () => {
    const prepared = alice
      .select({ task: todos.task })
      .from(todos)
      .where(orm.eq(todos.task, orm.sql.placeholder("task")))
      .prepare("by_task");
    assert.deepEqual(await prepared.execute({ task: "in a batch" }), [{ task: "in a batch" }]);
    assert.deepEqual(await prepared.execute({ task: "nosuch" }), []);
  });

  test("the example itself runs", () => {
    const output = run(process.execPath, ["index.js"], {
      cwd: example.dir,
      env: { ...process.env, ALICE: token("alice", DRIZZLE_DATA_DIR) },
    });
    assert.match(output, /^alice: Water the plants \(The fern too, Not the cactus\)$/m);
    assert.match(output, /^Everyone sees \d+ completed: .*Water the plants/m);
  });
});
