// A database handle that speaks as one user.
import { neon, neonConfig } from "@neondatabase/serverless";
import { drizzle } from "drizzle-orm/neon-http";
import * as schema from "./schema.js";

neonConfig.fetchEndpoint = `${process.env.ROWGATE_URL ?? "http://127.0.0.1:8787"}/sql`;

/**
 * Make one for each request, from that request's token; it opens no connection and costs nothing.
 * (`db.$withAuth(token)` would keep the token on a handle that requests share.)
 *
 * @param {string | undefined} authToken none: the request is made as `anonymous`
 */
export function database(authToken) {
  // The driver wants a connection string; Rowgate reads only the database's name in it.
  return drizzle(neon("postgresql://user@localhost/app", { authToken }), { schema });
}
