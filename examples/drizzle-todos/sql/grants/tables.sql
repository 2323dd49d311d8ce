-- Who may use tables at all. Which rows: the policies in schema.js. Edit in place, then run
-- `rowgate migrate --from drizzle`.

-- Nobody creates objects that could stand in for others.
revoke all on schema public from public;
grant usage on schema public to authenticated, anonymous;
do $$ begin
  execute format('revoke temporary on database %I from public', current_database());
end $$;

-- Tables that are there, and tables that later migrations make. Without row level security on a
-- table, these grants open all of its rows; Rowgate warns of that.
grant select, insert, update, delete on all tables in schema public to authenticated;
alter default privileges in schema public grant select, insert, update, delete on tables to authenticated;

-- May ask, and gets the rows that a policy shows to `anonymous`.
grant select on all tables in schema public to anonymous;
alter default privileges in schema public grant select on tables to anonymous;
