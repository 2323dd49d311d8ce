// What the tests share: where the gateway is, and whose tokens there are. scripts/test sets the
// environment.
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const { ROWGATE_URL, ROWGATE_BIN, ALICE, BOB } = process.env;
export const here = dirname(fileURLToPath(import.meta.url));
export const root = join(here, "..", "..");

/** The driver wants a connection string; the gateway takes nothing but the database's name from it. */
export const connection = "postgresql://authenticated@localhost/app";

/** Runs a program; its standard output. What it says otherwise is part of the error. */
export function run(program, args, options = {}) {
  return execFileSync(program, args, { encoding: "utf8", stdio: "pipe", ...options });
}

/** A token of the demo issuer that belongs to a data directory. */
export function token(sub, dataDir) {
  return run(ROWGATE_BIN, ["token", "--sub", sub, "--data-dir", dataDir]).trim();
}

/** A copy of an example, as a user makes one. It finds the packages that are installed here. */
export function copyExample(name) {
  const work = join(here, ".work");
  mkdirSync(work, { recursive: true });
  const dir = mkdtempSync(join(work, `${name}-`));
  cpSync(join(root, "examples", name), dir, {
    recursive: true,
    filter: (path) => !path.includes("node_modules"),
  });
  return { dir, remove: () => rmSync(dir, { recursive: true, force: true }) };
}
