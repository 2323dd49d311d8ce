// One client script against each supported version of the unmodified serverless driver; each test
// leaves the sample tables as it found them.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ALICE, BOB, ROWGATE_URL, connection } from "./support.mjs";

const packages = {
  "0.10.4": "serverless-0.10.4",
  "1.0.2": "serverless-1.0.2",
  "1.1.0": "serverless-1.1.0",
  "1.2.0": "@neondatabase/serverless",
};
/** How long an abandoned statement may go on, with room for a busy machine. */
const CANCELLED_WITHIN = 2000;
/** Far longer than any test waits: only cancelling ends it in time. */
const SLEEP_SECONDS = 30;

for (const [version, name] of Object.entries(packages)) {
  const { neon, neonConfig, NeonDbError, Pool, types } = await import(name);
  neonConfig.fetchEndpoint = `${ROWGATE_URL}/sql`;

  const alice = neon(connection, { authToken: ALICE });
  const bob = neon(connection, { authToken: async () => BOB });
  const nobody = neon(connection);
  const mark = `driver test ${version} ${process.pid}`;
  /** Before 1.0 the template function was called directly. */
  const query = (sql, ...rest) => (sql.query ? sql.query(...rest) : sql(...rest));

  describe(`the serverless driver ${version}`, () => {
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

    test("a token may be a string, a function or an async function", async () => {
      for (const authToken of [ALICE, () => ALICE, async () => ALICE]) {
        const sql = neon(connection, { authToken });
        assert.deepEqual(await sql`select auth.user_id() as me, current_user as role`, [
          { me: "alice", role: "authenticated" },
        ]);
      }
      assert.deepEqual(await nobody`select auth.user_id() as me, current_user as role`, [
        { me: null, role: "anonymous" },
      ]);
    });

    // docs/migrating-from-neon-rls.md tells of these two, so they have to stay true.
    test("a single query may have a token of its own, a transaction may not", async () => {
      const who = "select auth.user_id() as me";
      assert.deepEqual(await query(nobody, who, [], { authToken: ALICE }), [{ me: "alice" }]);
      const own = await nobody.transaction([query(nobody, who)], { authToken: ALICE });
      assert.deepEqual(own, [[{ me: null }]]);
    });

    test("Pool over fetch sends no token unless fetchFunction adds it", async () => {
      neonConfig.poolQueryViaFetch = true;
      try {
        const pool = new Pool({ connectionString: connection });
        const who = async () => (await pool.query("select auth.user_id() as me")).rows;
        assert.deepEqual(await who(), [{ me: null }]);
        neonConfig.fetchFunction = (url, init) =>
          fetch(url, { ...init, headers: { ...init.headers, Authorization: `Bearer ${BOB}` } });
        assert.deepEqual(await who(), [{ me: "bob" }]);
      } finally {
        neonConfig.poolQueryViaFetch = false;
        neonConfig.fetchFunction = undefined;
      }
    });

    test("parameters of every type survive the round trip", async () => {
      const at = new Date("2026-01-02T03:04:05.678Z");
      const [row] = await alice`
        select ${42}::int4 as four, ${"9007199254740993"}::int8 as big, ${12n}::int8 as huge,
               ${-0.5}::float8 as half, ${NaN}::float8 as nan, ${true}::bool as yes,
               ${false}::bool as no, ${["a", 'b"c\\', null, ""]}::text[] as list,
               ${[[1, 2], [3, 4]]}::int4[] as nested, ${[]}::int4[] as none,
               ${{ a: [1, { b: null }] }}::jsonb as doc, ${at}::timestamptz as at,
               ${null}::text as nothing, ${undefined}::text as missing,
               ${"1.10"}::numeric as price, ${"Zoë 🦉 \n'\"\\"}::text as text,
               ${Buffer.from([0, 255, 16])}::bytea as bytes`;
      assert.deepEqual(row, {
        four: 42,
        big: "9007199254740993",
        huge: "12",
        half: -0.5,
        nan: NaN,
        yes: true,
        no: false,
        list: ["a", 'b"c\\', null, ""],
        nested: [[1, 2], [3, 4]],
        none: [],
        doc: { a: [1, { b: null }] },
        at,
        nothing: null,
        missing: null,
        price: "1.10",
        text: "Zoë 🦉 \n'\"\\",
        bytes: Buffer.from([0, 255, 16]),
      });
    });

    test("rows as objects or arrays, alone or with the full result", async () => {
      const text = "select $1::int4 as n, 'x' as s";
      assert.deepEqual(await query(alice, text, [7]), [{ n: 7, s: "x" }]);
      assert.deepEqual(await query(alice, text, [7], { arrayMode: true }), [[7, "x"]]);
      for (const arrayMode of [true, false]) {
        const result = await query(alice, text, [7], { arrayMode, fullResults: true });
        assert.deepEqual(result.rows, arrayMode ? [[7, "x"]] : [{ n: 7, s: "x" }]);
        assert.equal(result.command, "SELECT");
        assert.equal(result.rowCount, 1);
        assert.equal(result.rowAsArray, arrayMode);
        const fields = result.fields.map((field) => [field.name, field.dataTypeID]);
        assert.deepEqual(fields, [["n", 23], ["s", 25]]);
      }
      const full = neon(connection, { authToken: ALICE, arrayMode: true, fullResults: true });
      const updated = await full`update todos set is_complete = false where task = ${mark}`;
      assert.deepEqual([updated.command, updated.rowCount, updated.rows], ["UPDATE", 1, []]);
    });

    test("parsers of types are the caller's choice", async () => {
      const upper = { getTypeParser: (oid) => (oid === 25 ? (v) => v.toUpperCase() : (v) => v) };
      const text = "select 'abc'::text as t, 1::int4 as n";
      assert.deepEqual(await query(alice, text, [], { types: upper }), [{ t: "ABC", n: "1" }]);
      const parser = types.getTypeParser(types.builtins.INT8);
      types.setTypeParser(types.builtins.INT8, BigInt);
      try {
        assert.deepEqual(await alice`select 9007199254740993::int8 as n`, [{ n: 9007199254740993n }]);
      } finally {
        types.setTypeParser(types.builtins.INT8, parser);
      }
    });

    test("a transaction is all or nothing", async () => {
      const [inserted, counted] = await alice.transaction([
        alice`insert into todos (task) values (${mark}) returning user_id`,
        alice`select count(*)::int4 as n from todos where task = ${mark}`,
      ]);
      assert.deepEqual([inserted, counted], [[{ user_id: "alice" }], [{ n: 2 }]]);
      await assert.rejects(
        alice.transaction([alice`delete from todos where task = ${mark}`, alice`select 1/0`]),
        { name: "NeonDbError", code: "22012" },
      );
      const [{ n }] = await alice`select count(*)::int4 as n from todos where task = ${mark}`;
      assert.equal(n, 2);
    });

    const settings = `select current_setting('transaction_isolation') as isolation,
                             current_setting('transaction_read_only') as read_only,
                             current_setting('transaction_deferrable') as deferrable`;
    for (const [isolationLevel, isolation] of [
      ["ReadUncommitted", "read uncommitted"],
      ["ReadCommitted", "read committed"],
      ["RepeatableRead", "repeatable read"],
      ["Serializable", "serializable"],
    ]) {
      test(`a transaction is ${isolation}, read-only and deferrable when asked`, async () => {
        for (const on of [true, false]) {
          const [rows] = await alice.transaction([query(alice, settings)], {
            isolationLevel,
            readOnly: on,
            deferrable: on,
          });
          const flag = on ? "on" : "off";
          assert.deepEqual(rows, [{ isolation, read_only: flag, deferrable: flag }]);
        }
      });
    }

    test("a transaction in the form of a function, with its own form of results", async () => {
      const build = (txn) => [txn`select 1::int4 as a`, txn`select ${"b"}::text as b`];
      assert.deepEqual(await alice.transaction(build), [[{ a: 1 }], [{ b: "b" }]]);
      assert.deepEqual(await alice.transaction(build, { arrayMode: true }), [[[1]], [["b"]]]);
      const full = await alice.transaction(build, { fullResults: true });
      assert.deepEqual(full.map((result) => [result.command, result.rows]), [
        ["SELECT", [{ a: 1 }]],
        ["SELECT", [{ b: "b" }]],
      ]);
      assert.deepEqual(await alice.transaction([]), []);
      await assert.rejects(
        alice.transaction([alice`delete from todos where task = ${mark}`], { readOnly: true }),
        { code: "25006" },
      );
    });

    test("errors of the database arrive with their members", async () => {
      await assert.rejects(alice`insert into todos (user_id, task) values ('bob', 'x')`, (error) => {
        assert.ok(error instanceof NeonDbError);
        assert.equal(error.code, "42501");
        assert.equal(error.severity, "ERROR");
        assert.match(error.message, /row-level security/);
        return true;
      });
      await assert.rejects(query(alice, "select nosuch"), { code: "42703", position: "8" });
      await assert.rejects(alice`insert into todos (task) values (null)`, {
        code: "23502",
        schema: "public",
        table: "todos",
        column: "task",
      });
      await assert.rejects(alice`select ${"x"}::int4`, { code: "22P02" });
      await assert.rejects(query(alice, "select 1; select 2"), { code: "42601" });
    });

    test("a request that is aborted is cancelled in the database", { timeout: 15_000 }, async () => {
      const key = process.pid;
      const controller = new AbortController();
      const sleeping = query(
        alice,
        "select pg_advisory_xact_lock($1), pg_sleep($2)",
        [key, SLEEP_SECONDS],
        { fetchOptions: { signal: controller.signal } },
      );
      const aborted = assert.rejects(sleeping);
      const isFree = async () => (await alice`select pg_try_advisory_xact_lock(${key}) as free`)[0].free;
      while (await isFree()) await sleep(10);
      controller.abort();
      const began = Date.now();
      await aborted;
      while (!(await isFree())) {
        assert.ok(Date.now() - began < CANCELLED_WITHIN, "the statement still holds its lock");
        await sleep(10);
      }
    });

    test("a token that is not valid is refused readably, not treated as none", async () => {
      const broken = neon(connection, { authToken: `${ALICE}x` });
      await assert.rejects(broken`select 1`, (error) => {
        assert.ok(error instanceof NeonDbError);
        assert.match(error.message, /401.*RG401.*signature/s);
        assert.ok(!error.message.includes(ALICE.slice(0, 20)));
        return true;
      });
    });
  });
}
