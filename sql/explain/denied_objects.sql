-- Functions and sequences of this name that a role may not use, and schemas that it may not look into, as
-- the GRANT that would change it.  $1: the role.  $2: the name in the server's message.
select pg_catalog.format('grant execute on function %s to %I', p.oid::pg_catalog.regprocedure, $1) as remedy
  from pg_catalog.pg_proc as p
 where p.proname = $2 and not pg_catalog.has_function_privilege($1::pg_catalog.name, p.oid, 'execute')
union all
select pg_catalog.format('grant usage on sequence %I.%I to %I', n.nspname, c.relname, $1)
  from pg_catalog.pg_class as c
  join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
 where c.relname = $2
   and case when c.relkind = 'S'
            then not pg_catalog.has_sequence_privilege($1::pg_catalog.name, c.oid, 'usage') end
union all
select pg_catalog.format('grant usage on schema %I to %I', n.nspname, $1)
  from pg_catalog.pg_namespace as n
 where n.nspname = $2 and not pg_catalog.has_schema_privilege($1::pg_catalog.name, n.oid, 'usage')
order by 1
