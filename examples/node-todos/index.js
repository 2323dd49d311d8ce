// A list of todos for the command line:
//
//   node index.js                    shows the list
//   node index.js add "Buy milk"     adds a todo
//   node index.js done 3             marks one as done
//   node index.js clear              deletes what is done
import { neon, neonConfig, NeonDbError } from "@neondatabase/serverless";
import { getToken } from "./token.js";

neonConfig.fetchEndpoint = `${process.env.ROWGATE_URL ?? "http://127.0.0.1:8787"}/sql`;

// The driver wants a connection string; Rowgate reads only the database's name in it.
const sql = neon("postgresql://user@localhost/app", { authToken: getToken });

const commands = {
  // No `where user_id = …` anywhere: the policies of the table see to that.
  list: () => sql`select id, task, is_complete from todos order by id`,

  add: (task) => sql`insert into todos (task) values (${task}) returning id, task, is_complete`,

  done: (id) => sql`
    update todos set is_complete = true where id = ${id} returning id, task, is_complete`,

  // One transaction: what is shown is what is left when the deletion is done.
  clear: async () => {
    const [, left] = await sql.transaction((txn) => [
      txn`delete from todos where is_complete`,
      txn`select id, task, is_complete from todos order by id`,
    ]);
    return left;
  },
};

const [command = "list", argument] = process.argv.slice(2);
try {
  if (!Object.hasOwn(commands, command)) throw new Error(`unknown command: ${command}`);
  for (const { id, task, is_complete } of await commands[command](argument)) {
    console.log(`${id} [${is_complete ? "x" : " "}] ${task}`);
  }
} catch (error) {
  // `code` is PostgreSQL's SQLSTATE; without one, the message has Rowgate's answer.
  console.error(error instanceof NeonDbError && error.code ? `${error.code}: ${error.message}` : error.message);
  process.exitCode = 1;
}
