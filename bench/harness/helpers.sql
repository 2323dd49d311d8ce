-- Rows to measure with, and a function that seals for pgbench. Run as the superuser, with psql's variables
-- `users` and `rows`; can be run again.
truncate todos restart identity;

-- Every user's rows lie apart from each other, as they would if users wrote in turn.
insert into todos (user_id, task, is_complete)
select 'user' || i % :users, 'task number ' || i, i % 3 = 0
from generate_series(1, :rows) i;

create schema if not exists bench;
grant usage on schema bench to authenticated;

-- The seal of these claims for this connection, as a gateway would compute it.
create or replace function bench.seal(claims text) returns text
language sql volatile security definer
begin atomic
  select pg_catalog.encode(pg_catalog.sha256(k.opad || pg_catalog.sha256(k.ipad || pg_catalog.convert_to(
           m.prefix || claims, 'UTF8'))), 'hex') || '.' || k.kid || '.' || m.exp
  from auth.seal_keys k,
       lateral (select x.exp, pg_catalog.pg_backend_pid() || '.' || k.kid || '.' || x.exp as prefix
                from (select extract(epoch from pg_catalog.now())::int8 + 30 as exp) x) m
  limit 1;
end;

vacuum analyze todos;
