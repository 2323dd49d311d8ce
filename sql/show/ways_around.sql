-- What no policy decides about, in words: functions that run with their owner's rights, and emptying tables.
-- $1: the roles, by name.  $2: the managed schemas, or null for all but the system's and Rowgate's own.
with
  managed as (
    select oid from pg_catalog.pg_namespace
     where nspname !~ '^pg_' and nspname not in ('information_schema', 'auth', 'rowgate')
       and ($2::text[] is null or nspname = any ($2))
  ),
  roles as (
    select r.oid, r.rolname from pg_catalog.unnest($1::text[]) as role (name)
      join pg_catalog.pg_roles as r on r.rolname = role.name
  )
select roles.rolname::text as role,
       pg_catalog.format('may call %s, which runs with the rights of %I',
                         p.oid::pg_catalog.regprocedure, o.rolname) as what
  from pg_catalog.pg_proc as p
  join managed on managed.oid = p.pronamespace
  join pg_catalog.pg_roles as o on o.oid = p.proowner
 cross join roles
 where p.prosecdef
   and p.prorettype not in ('pg_catalog.trigger'::pg_catalog.regtype,
                            'pg_catalog.event_trigger'::pg_catalog.regtype)
   and pg_catalog.has_schema_privilege(roles.oid, p.pronamespace, 'usage')
   and pg_catalog.has_function_privilege(roles.oid, p.oid, 'execute')
union all
select roles.rolname::text,
       pg_catalog.format('may empty %s with TRUNCATE, whatever the policies say', c.oid::pg_catalog.regclass)
  from pg_catalog.pg_class as c
  join managed on managed.oid = c.relnamespace
 cross join roles
 where c.relkind in ('r', 'p')
   and pg_catalog.has_schema_privilege(roles.oid, c.relnamespace, 'usage')
   and pg_catalog.has_table_privilege(roles.oid, c.oid, 'truncate')
 order by 2, 1
