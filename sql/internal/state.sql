-- What policies and grants amount to in the managed schemas, one line each. Rowgate compares two
-- such lists to say what an apply changed, and their hash to notice changes by other hands.
-- $1: the managed schemas, or null for every schema that is not the system's or Rowgate's own.
-- $2: the roles that requests run as.
with
  managed as (
    select oid, nspname, nspowner, nspacl from pg_catalog.pg_namespace
     where nspname !~ '^pg_' and nspname not in ('information_schema', 'auth', 'rowgate')
       and ($1::text[] is null or nspname = any ($1))
  ),
  grants (kind, object, acl) as (
    select 'schema', pg_catalog.quote_ident(nspname), nspacl from managed
    union all
    select case c.relkind when 'S' then 'sequence' else 'table' end, c.oid::regclass::text, c.relacl
      from pg_catalog.pg_class as c join managed as n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
    union all
    select 'column', pg_catalog.format('%s.%I', c.oid::regclass, a.attname), a.attacl
      from pg_catalog.pg_attribute as a
      join pg_catalog.pg_class as c on c.oid = a.attrelid
      join managed as n on n.oid = c.relnamespace
     where a.attacl is not null and not a.attisdropped
    union all
    select 'routine', p.oid::regprocedure::text, p.proacl
      from pg_catalog.pg_proc as p join managed as n on n.oid = p.pronamespace
    union all
    select 'type', pg_catalog.format_type(t.oid, null), t.typacl
      from pg_catalog.pg_type as t join managed as n on n.oid = t.typnamespace
     where t.typacl is not null
    union all
    select 'default', pg_catalog.format('%s %s in %s', d.defaclrole::regrole, d.defaclobjtype,
                                        coalesce(n.nspname, '*')), d.defaclacl
      from pg_catalog.pg_default_acl as d left join managed as n on n.oid = d.defaclnamespace
     where d.defaclnamespace = 0 or n.oid is not null
  )
select 'policy' as kind,
       c.oid::regclass::text as object,
       p.polname::text as name,
       pg_catalog.concat_ws(' ',
         case p.polpermissive when true then null else 'restrictive' end,
         case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update'
                       when 'd' then 'delete' else 'all' end,
         'to ' || (select pg_catalog.string_agg(
                            case role when 0 then 'public' else role::regrole::text end, ', '
                            order by role)
                     from pg_catalog.unnest(p.polroles) as roles (role)),
         'using ' || pg_catalog.pg_get_expr(p.polqual, p.polrelid),
         'with check ' || pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid)) as definition
  from pg_catalog.pg_policy as p
  join pg_catalog.pg_class as c on c.oid = p.polrelid
  join managed as n on n.oid = c.relnamespace
union all
select 'rls', c.oid::regclass::text, 'row level security',
       case when c.relforcerowsecurity then 'enabled, forced' else 'enabled' end
  from pg_catalog.pg_class as c join managed as n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p') and c.relrowsecurity
union all
select 'grant', g.kind || ' ' || g.object, coalesce(r.rolname, 'public'),
       pg_catalog.lower(a.privilege_type) || case when a.is_grantable then ' with grant option' else '' end
  from grants as g
 cross join lateral pg_catalog.aclexplode(g.acl) as a
  left join pg_catalog.pg_roles as r on r.oid = a.grantee
 where r.rolname = any ($2::text[])
    or a.grantee = 0 and g.kind in ('schema', 'table', 'sequence', 'column')
