-- Who may use the table at all. Which rows: policies/todos.sql.
grant select, insert, update, delete on todos to authenticated;

-- May ask, and gets no rows until a policy shows some to `anonymous`.
grant select on todos to anonymous;
