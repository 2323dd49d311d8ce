-- Who may use the table at all. Which rows: policies/user_messages.sql.
grant select, insert, update, delete on user_messages to authenticated;

-- May ask, and gets no rows until a policy shows some to `anonymous`.
grant select on user_messages to anonymous;
