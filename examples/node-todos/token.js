// Where tokens come from. Replace `fetchToken` by what your identity provider offers, such as
// Clerk's `getToken()` or Auth0's `getAccessTokenSilently()`; the rest can stay.
import { execFile } from "node:child_process";
import { promisify } from "node:util";

/** A token is replaced this long before it expires, in seconds. */
const RENEW_BEFORE = 60;

/** A token of the demo issuer of `rowgate dev`. */
async function fetchToken() {
  const rowgate = process.env.ROWGATE_BIN ?? "rowgate";
  const args = ["token", "--sub", process.env.TODOS_USER ?? "alice", "--expires-in", "5m"];
  if (process.env.ROWGATE_DATA_DIR) args.push("--data-dir", process.env.ROWGATE_DATA_DIR);
  const { stdout } = await promisify(execFile)(rowgate, args);
  return stdout.trim();
}

/** The claim `exp`, in seconds since 1970. Only read here; Rowgate verifies. */
const expiry = (token) => JSON.parse(Buffer.from(token.split(".")[1], "base64url")).exp;

let current;

/** A token that is good for a while yet. Called by the driver before each request. */
export async function getToken() {
  if (!current || expiry(await current) - Date.now() / 1000 < RENEW_BEFORE) {
    current = fetchToken();
    // A failure is not kept: the next request tries again.
    current.catch(() => (current = undefined));
  }
  return current;
}
