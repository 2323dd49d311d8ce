-- The statements that take back every policy, and every privilege of the API roles, in the
-- managed schemas: what the policy and grant files do not say shall not be there. PUBLIC, of which they
-- are a part, loses its privileges on tables and sequences, but not those on functions and types that
-- every object is born with.
-- Only for objects that the current role may alter; no policy on an extension's own table, and none
-- that another tool's migrations made: no file of ours could bring it back.
-- $1, $2: as in state.sql.
with
  managed as (
    select oid, nspname, nspowner, nspacl from pg_catalog.pg_namespace
     where nspname !~ '^pg_' and nspname not in ('information_schema', 'auth', 'rowgate')
       and ($1::text[] is null or nspname = any ($1))
  ),
  api as (
    select oid, oid::regrole::text as name from pg_catalog.pg_roles
     where rolname = any ($2::text[])
  ),
  relations as (
    select c.oid, c.oid::regclass::text as name, c.relkind, c.relacl,
           exists (select from pg_catalog.pg_depend as d
                    where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid
                      and d.deptype = 'e') as of_extension
      from pg_catalog.pg_class as c join managed as n on n.oid = c.relnamespace
     where pg_catalog.pg_has_role(c.relowner, 'usage')
  ),
  granted (what, acl) as (
    select pg_catalog.format('schema %I', nspname), nspacl
      from managed where pg_catalog.pg_has_role(nspowner, 'usage')
    union all
    select case relkind when 'S' then 'sequence ' else 'table ' end || name, relacl from relations
    union all
    -- Taking back a table's privileges takes back those of its columns.
    select 'table ' || r.name, a.attacl
      from pg_catalog.pg_attribute as a join relations as r on r.oid = a.attrelid
     where a.attacl is not null and not a.attisdropped
    union all
    select 'routine ' || p.oid::regprocedure::text, p.proacl
      from pg_catalog.pg_proc as p join managed as n on n.oid = p.pronamespace
     where pg_catalog.pg_has_role(p.proowner, 'usage')
    union all
    select 'type ' || pg_catalog.format_type(t.oid, null), t.typacl
      from pg_catalog.pg_type as t join managed as n on n.oid = t.typnamespace
     where t.typacl is not null and pg_catalog.pg_has_role(t.typowner, 'usage')
  )
select pg_catalog.format('drop policy %I on %s', p.polname, r.name)
  from pg_catalog.pg_policy as p
  join relations as r on r.oid = p.polrelid
 where not r.of_extension
   and not exists (select from rowgate.foreign_policies as f
                    where f.table_name = p.polrelid and f.policy = p.polname)
union all
select distinct pg_catalog.format('revoke all on %s %s from public',
         case r.relkind when 'S' then 'sequence' else 'table' end, r.name)
  from relations as r
 cross join lateral (
   select a.grantee from pg_catalog.aclexplode(r.relacl) as a
   union
   select a.grantee
     from pg_catalog.pg_attribute as c
    cross join lateral pg_catalog.aclexplode(c.attacl) as a
    where c.attrelid = r.oid and c.attacl is not null and not c.attisdropped
 ) as holder
 where holder.grantee = 0 and not r.of_extension
union all
select distinct pg_catalog.format('revoke all on %s from %s', g.what, api.name)
  from granted as g
 cross join lateral pg_catalog.aclexplode(g.acl) as a
  join api on api.oid = a.grantee
union all
select distinct pg_catalog.format('alter default privileges for role %s%s revoke all on %s from %s',
         d.defaclrole::regrole, ' in schema ' || pg_catalog.quote_ident(n.nspname),
         case d.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'routines'
                              when 'T' then 'types' when 'n' then 'schemas' end,
         api.name)
  from pg_catalog.pg_default_acl as d
  left join managed as n on n.oid = d.defaclnamespace
 cross join lateral pg_catalog.aclexplode(d.defaclacl) as a
  join api on api.oid = a.grantee
 where (d.defaclnamespace = 0 or n.oid is not null)
   and d.defaclobjtype in ('r', 'S', 'f', 'T', 'n')
   and pg_catalog.pg_has_role(d.defaclrole, 'usage')
