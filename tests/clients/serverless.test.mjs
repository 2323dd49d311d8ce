// The unmodified serverless driver against a running gateway. ROWGATE_URL, ALICE and BOB are set by
// scripts/test; each test leaves the sample tables as it found them.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { neon, neonConfig, NeonDbError } from "@neondatabase/serverless";

const { ROWGATE_URL, ALICE, BOB } = process.env;
neonConfig.fetchEndpoint = `${ROWGATE_URL}/sql`;

// The driver wants a connection string; the gateway takes nothing but the database's name from it.
const connection = "postgresql://authenticated@localhost/app";
const alice = neon(connection, { authToken: ALICE });
const bob = neon(connection, { authToken: async () => BOB });
const nobody = neon(connection);
const mark = `driver test ${process.pid}`;

describe("the serverless driver", () => {
  before(async () => {
    await alice`insert into todos (task) values (${mark})`;
    await bob`insert into todos (task) values (${mark})`;
  });
  after(async () => {
    await alice`delete from todos where task = ${mark}`;
    await bob`delete from todos where task = ${mark}`;
  });

  test("each token sees its own rows", async () => {
    const mine = (sql) => sql`select user_id from todos where task = ${mark}`;
    assert.deepEqual(await mine(alice), [{ user_id: "alice" }]);
    assert.deepEqual(await mine(bob), [{ user_id: "bob" }]);
    assert.deepEqual(await mine(nobody), []);
  });

  test("parameters and types survive the round trip", async () => {
    const at = new Date("2026-01-02T03:04:05.678Z");
    const [row] = await alice`
      select ${42}::int4 as four, ${"9007199254740993"}::int8 as big, ${true}::bool as yes,
             ${["a", 'b"c', null]}::text[] as list, ${{ a: [1, { b: null }] }}::jsonb as doc,
             ${at}::timestamptz as at, ${null}::text as nothing, ${"1.10"}::numeric as price`;
    assert.deepEqual(row, {
      four: 42,
      big: "9007199254740993",
      yes: true,
      list: ["a", 'b"c', null],
      doc: { a: [1, { b: null }] },
      at,
      nothing: null,
      price: "1.10",
    });
  });

  test("query() with arrayMode and fullResults", async () => {
    const result = await alice.query("select $1::int4 as n, 'x' as s", [7], {
      arrayMode: true,
      fullResults: true,
    });
    assert.deepEqual(result.rows, [[7, "x"]]);
    assert.equal(result.command, "SELECT");
    assert.equal(result.rowCount, 1);
    assert.deepEqual(result.fields.map((field) => [field.name, field.dataTypeID]), [["n", 23], ["s", 25]]);
  });

  test("a transaction is all or nothing", async () => {
    const [inserted, counted] = await alice.transaction(
      [
        alice`insert into todos (task) values (${mark}) returning user_id`,
        alice`select count(*)::int4 as n from todos where task = ${mark}`,
      ],
      { isolationLevel: "Serializable" },
    );
    assert.deepEqual([inserted, counted], [[{ user_id: "alice" }], [{ n: 2 }]]);
    await assert.rejects(
      alice.transaction([alice`delete from todos where task = ${mark}`, alice`select 1/0`]),
      { name: "NeonDbError", code: "22012" },
    );
    const [{ n }] = await alice`select count(*)::int4 as n from todos where task = ${mark}`;
    assert.equal(n, 2);
  });

  test("errors of the database arrive with their members", async () => {
    await assert.rejects(alice`insert into todos (user_id, task) values ('bob', 'x')`, (error) => {
      assert.ok(error instanceof NeonDbError);
      assert.equal(error.code, "42501");
      assert.match(error.message, /row-level security/);
      return true;
    });
    await assert.rejects(alice.query("select nosuch"), { code: "42703", position: "8" });
  });

  test("a token that is not valid is refused, not treated as none", async () => {
    const broken = neon(connection, { authToken: `${ALICE}x` });
    await assert.rejects(broken`select 1`, /401/);
  });
});
