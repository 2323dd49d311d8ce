// The tables, and who may see and change which of their rows.
import { relations, sql } from "drizzle-orm";
import { anonymousRole, authenticatedRole, authUid, crudPolicy } from "drizzle-orm/neon";
import { bigint, boolean, pgPolicy, pgTable, text, timestamp } from "drizzle-orm/pg-core";

const owner = () => text("user_id").notNull().default(sql`(auth.user_id())`);

export const todos = pgTable(
  "todos",
  {
    id: bigint({ mode: "number" }).primaryKey().generatedByDefaultAsIdentity(),
    userId: owner(),
    task: text().notNull(),
    isComplete: boolean("is_complete").notNull().default(false),
    insertedAt: timestamp("inserted_at", { withTimezone: true }).notNull().defaultNow(),
  },
  (table) => [
    // Users see and change their own todos.
    crudPolicy({
      role: authenticatedRole,
      read: authUid(table.userId),
      modify: authUid(table.userId),
    }),
    // Everyone sees what is done.
    pgPolicy("todos-completed", { for: "select", to: anonymousRole, using: sql`is_complete` }),
  ],
);

export const notes = pgTable(
  "notes",
  {
    id: bigint({ mode: "number" }).primaryKey().generatedByDefaultAsIdentity(),
    todoId: bigint("todo_id", { mode: "number" })
      .notNull()
      .references(() => todos.id, { onDelete: "cascade" }),
    userId: owner(),
    body: text().notNull(),
  },
  (table) => [
    crudPolicy({
      role: authenticatedRole,
      read: authUid(table.userId),
      // A foreign key is checked without policies: whose todo it is must be said here.
      modify: sql`((select auth.user_id()) = user_id and exists (
        select from todos where todos.id = todo_id))`,
    }),
    crudPolicy({ role: anonymousRole, read: false, modify: false }),
  ],
);

export const todosRelations = relations(todos, ({ many }) => ({ notes: many(notes) }));
export const notesRelations = relations(notes, ({ one }) => ({
  todo: one(todos, { fields: [notes.todoId], references: [todos.id] }),
}));
