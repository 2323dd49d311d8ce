-- Which rows of `user_messages` a request sees and changes. How such a file works: see todos.sql.

alter table user_messages enable row level security;
alter table user_messages force row level security;

create policy user_messages_select on user_messages for select to authenticated
  using ((select auth.user_id()) = user_id);

create policy user_messages_insert on user_messages for insert to authenticated
  with check ((select auth.user_id()) = user_id);

create policy user_messages_update on user_messages for update to authenticated
  using ((select auth.user_id()) = user_id)
  with check ((select auth.user_id()) = user_id);

create policy user_messages_delete on user_messages for delete to authenticated
  using ((select auth.user_id()) = user_id);
