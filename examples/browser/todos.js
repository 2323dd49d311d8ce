// A page that speaks SQL: safe, because the database decides what this token's owner may see and do.
import { neon, neonConfig } from "@neondatabase/serverless";

// Its warning is about connection strings with passwords; this one has none.
neonConfig.disableWarningInBrowsers = true;

const [who, add] = [document.forms.who, document.forms.add];
const list = document.getElementById("todos");
const message = document.getElementById("message");

/** A query function that speaks as the token in the form. In your application: your provider's. */
function connect() {
  neonConfig.fetchEndpoint = who.elements.endpoint.value;
  const authToken = who.elements.token.value.trim() || undefined;
  return neon("postgresql://user@localhost/app", { authToken });
}

async function show() {
  const todos = await connect()`select user_id, task, is_complete from todos order by id`;
  list.replaceChildren(
    ...todos.map(({ user_id, task, is_complete }) => {
      const item = document.createElement("li");
      item.textContent = `${user_id}: ${task}${is_complete ? " (done)" : ""}`;
      return item;
    }),
  );
  return `${todos.length} todos`;
}

async function insert() {
  await connect()`insert into todos (task) values (${add.elements.task.value})`;
  add.reset();
  return show();
}

/** Runs an action when its form is sent; the page says what came of it. */
function onSubmit(form, action) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      message.textContent = await action();
    } catch (error) {
      // 400: `code` is PostgreSQL's SQLSTATE. Otherwise the message has status and body, such as 401.
      message.textContent = error.code ? `${error.code}: ${error.message}` : error.message;
    }
  });
}

onSubmit(who, show);
onSubmit(add, insert);
