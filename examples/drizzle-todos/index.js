// Adds a todo with two notes, then shows what its owner sees, and what everyone else does.
import { eq } from "drizzle-orm";
import { database } from "./db.js";
import { notes, todos } from "./schema.js";

const mine = database(process.env.ALICE);
const everyone = database();

// Nobody says whose it is: the column's default is auth.user_id().
const [todo] = await mine.insert(todos).values({ task: "Water the plants" }).returning();

// One transaction: all of it happens, or nothing.
await mine.batch([
  mine.insert(notes).values({ todoId: todo.id, body: "The fern too" }),
  mine.insert(notes).values({ todoId: todo.id, body: "Not the cactus" }),
  mine.update(todos).set({ isComplete: true }).where(eq(todos.id, todo.id)),
]);

const withNotes = await mine.query.todos.findMany({
  with: { notes: { columns: { body: true }, orderBy: notes.id } },
  orderBy: todos.id,
});
for (const { userId, task, notes } of withNotes) {
  console.log(`${userId}: ${task} (${notes.map((note) => note.body).join(", ")})`);
}

const done = await everyone.select({ task: todos.task }).from(todos);
console.log(`Everyone sees ${done.length} completed: ${done.map((row) => row.task).join(", ")}`);

await mine.delete(todos).where(eq(todos.id, todo.id));
