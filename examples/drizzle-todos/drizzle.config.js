import { defineConfig } from "drizzle-kit";

export default defineConfig({
  dialect: "postgresql",
  schema: "./schema.js",
  out: "./drizzle",
  // `authenticated` and `anonymous` are Rowgate's; drizzle-kit neither makes nor drops them.
  entities: { roles: { provider: "neon" } },
});
