-- What is open to a gateway's callers although no policy guards it, in words.
-- $1, $2: as in state.sql.
with
  managed as (
    select oid, nspname from pg_catalog.pg_namespace
     where nspname !~ '^pg_' and nspname not in ('information_schema', 'auth', 'rowgate')
       and ($1::text[] is null or nspname = any ($1))
  ),
  api as (
    select oid, rolname from pg_catalog.pg_roles where rolname = any ($2::text[])
  )
select pg_catalog.format('%s may use all rows of %s: row level security is not enabled on it',
                         api.rolname, c.oid::regclass)
  from pg_catalog.pg_class as c
  join managed as n on n.oid = c.relnamespace
 cross join api
 where c.relkind in ('r', 'p') and not c.relrowsecurity
   and pg_catalog.has_any_column_privilege(api.oid, c.oid, 'select, insert, update')
   and not exists (select from pg_catalog.pg_depend as d
                    where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid
                      and d.deptype = 'e')
union all
select pg_catalog.format('%s may create objects in schema %I: have its owner revoke create on it from public',
                         api.rolname, n.nspname)
  from managed as n cross join api
 where pg_catalog.has_schema_privilege(api.oid, n.oid, 'create')
union all
select pg_catalog.format('%s may create temporary objects: have the owner of the database revoke temporary on it from public',
                         api.rolname)
  from api
 where pg_catalog.has_database_privilege(api.oid, pg_catalog.current_database(), 'temporary')
 order by 1
