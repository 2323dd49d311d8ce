// The examples that people copy, against the running gateway. (drizzle-todos: drizzle.test.mjs,
// browser: browser.test.mjs.)
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { copyExample, here, root, run } from "./support.mjs";

const json = (path) => JSON.parse(readFileSync(path, "utf8"));

describe("the example node-todos", () => {
  const { dir, remove } = copyExample("node-todos");
  const todos = (user, ...args) =>
    run(process.execPath, ["index.js", ...args], {
      cwd: dir,
      env: { ...process.env, TODOS_USER: user },
    });
  after(() => {
    remove();
  });

  test("adds, lists, finishes and clears, for its user alone", () => {
    const task = `example ${process.pid}`;
    const [, id] = todos("carol", "add", task).match(/^(\d+) \[ \] example/);
    assert.match(todos("carol"), new RegExp(`^${id} \\[ \\] ${task}$`, "m"));
    assert.equal(todos("dave"), "");
    assert.equal(todos("dave", "done", id), "");
    assert.match(todos("carol", "done", id), new RegExp(`^${id} \\[x\\] ${task}$`, "m"));
    assert.equal(todos("carol", "clear"), "");
  });

  test("says what went wrong", () => {
    assert.throws(() => todos("carol", "done", "three"), /22P02: invalid input syntax/);
    assert.throws(() => todos("carol", "nosuch"), /unknown command/);
  });
});

describe("the examples", () => {
  test("name the versions that are tested", () => {
    const tested = json(join(here, "package.json")).devDependencies;
    for (const example of ["node-todos", "drizzle-todos", "browser"]) {
      const { dependencies, devDependencies } = json(join(root, "examples", example, "package.json"));
      for (const [name, version] of Object.entries({ ...dependencies, ...devDependencies })) {
        assert.equal(version, tested[name], `${name} in ${example}`);
      }
    }
  });
});

describe("the commands in curl.md", () => {
  const text = readFileSync(join(root, "examples/curl.md"), "utf8");
  const blocks = [...text.matchAll(/```sh\n(.*?)```\n(?:```json\n(.*?)```\n)?/gs)];
  const [setUp, ...calls] = blocks;

  test("there are some, and each says what it prints", () => {
    assert.ok(calls.length >= 7);
    assert.ok(calls.every(([, , expected]) => expected));
  });

  for (const [index, [, command, expected]] of calls.entries()) {
    test(`command ${index + 1} prints what is shown`, () => {
      const script = `set -euo pipefail\n${setUp[1]}\n${command}`;
      const printed = JSON.parse(run("bash", ["-c", script]));
      // The number of a table is different in each database.
      for (const field of printed.fields ?? []) field.tableID = 0;
      assert.deepEqual(printed, JSON.parse(expected));
    });
  }
});
