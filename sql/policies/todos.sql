-- Which rows of `todos` a request sees and changes. Edit in place, then run
-- `rowgate policies apply`: all policies are dropped and made anew from these files, in one
-- transaction. A mistake is reported with its line and changes nothing.
--
-- `using` chooses the rows that a command can see, `with check` the rows that it may leave behind.
-- Write `(select auth.user_id())` with the parentheses: it is then evaluated once for a statement,
-- not once for each row.

-- `force`: the table's owner sees rows by the same rules. Superusers and roles with BYPASSRLS do not.
alter table todos enable row level security;
alter table todos force row level security;

create policy todos_select on todos for select to authenticated
  using ((select auth.user_id()) = user_id);

create policy todos_insert on todos for insert to authenticated
  with check ((select auth.user_id()) = user_id);

-- Both: only own rows are changed, and none is given away.
create policy todos_update on todos for update to authenticated
  using ((select auth.user_id()) = user_id)
  with check ((select auth.user_id()) = user_id);

create policy todos_delete on todos for delete to authenticated
  using ((select auth.user_id()) = user_id);

-- Policies for the same command add up. To show completed todos to everyone, with or without a token:
--
-- create policy todos_select_completed on todos for select to authenticated, anonymous
--   using (is_complete);
