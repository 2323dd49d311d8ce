-- What callers could reach: every relation of the managed schemas, how it is guarded, and what each role may
-- do with it. One row for each relation and role. Only reads the catalogue.
-- $1: the roles, by name.  $2: the managed schemas, or null for all but the system's and Rowgate's own.
select n.nspname::text as schema,
       c.relname::text as name,
       c.relkind::text as kind,
       c.relrowsecurity as guarded,
       c.relforcerowsecurity as forced,
       c.relkind = 'v' and coalesce('security_invoker=true' = any (c.reloptions)
                                    or 'security_invoker=on' = any (c.reloptions), false) as invoker,
       role.name as role,
       r.rolsuper or r.rolbypassrls as bypasses,
       pg_catalog.pg_has_role(r.oid, c.relowner, 'usage') as owns,
       pg_catalog.has_schema_privilege(r.oid, n.oid, 'usage') as reaches,
       pg_catalog.has_table_privilege(r.oid, c.oid, 'select') as may_select,
       pg_catalog.has_table_privilege(r.oid, c.oid, 'insert') as may_insert,
       pg_catalog.has_table_privilege(r.oid, c.oid, 'update') as may_update,
       pg_catalog.has_table_privilege(r.oid, c.oid, 'delete') as may_delete,
       columns.readable, columns.insertable, columns.updatable
  from pg_catalog.pg_class as c
  join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
 cross join pg_catalog.unnest($1::text[]) with ordinality as role (name, position)
  join pg_catalog.pg_roles as r on r.rolname = role.name
 cross join lateral (
   -- Privileges on single columns; only asked for where some were granted.
   select pg_catalog.array_agg(a.attname::text order by a.attnum)
            filter (where pg_catalog.has_column_privilege(r.oid, c.oid, a.attnum, 'select')) as readable,
          pg_catalog.array_agg(a.attname::text order by a.attnum)
            filter (where pg_catalog.has_column_privilege(r.oid, c.oid, a.attnum, 'insert')) as insertable,
          pg_catalog.array_agg(a.attname::text order by a.attnum)
            filter (where pg_catalog.has_column_privilege(r.oid, c.oid, a.attnum, 'update')) as updatable
     from pg_catalog.pg_attribute as a
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attacl is not null
 ) as columns
 where c.relkind in ('r', 'p', 'v', 'm', 'f')
   and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'auth', 'rowgate')
   and ($2::text[] is null or n.nspname = any ($2))
   and not exists (select from pg_catalog.pg_depend as d
                    where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = c.oid
                      and d.deptype = 'e')
 order by n.nspname, c.relname, role.position
