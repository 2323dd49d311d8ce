  creators as (
    select oid, rolname from pg_roles
     where oid in (select oid from owners) and rolname !~ '^pg_' and rolname <> 'rowgate_sealer'
       and oid not in (select oid from api)
  ),
  -- Without an entry of its own for all schemas, a role's new functions are everybody's.
  functions as (
    select c.oid, c.rolname, null::text as in_schema, 'functions' as kind
      from creators c
     where not exists (
             select from pg_default_acl d
              where d.defaclrole = c.oid and d.defaclnamespace = 0 and d.defaclobjtype = 'f'
                and not exists (select from aclexplode(d.defaclacl) a where a.grantee = 0))
  ),
  tables as (
    select c.oid, c.rolname, n.nspname::text as in_schema,
           case d.defaclobjtype when 'r' then 'tables' else 'functions' end as kind
      from pg_default_acl d
      join creators c on c.oid = d.defaclrole
      left join pg_namespace n on n.oid = d.defaclnamespace
     where (d.defaclobjtype = 'r' or (d.defaclobjtype = 'f' and d.defaclnamespace <> 0))
       and exists (select from aclexplode(d.defaclacl) a
                    where a.grantee = 0 or (d.defaclobjtype = 'r' and a.grantee in (select oid from api)))
  )
select format('new %s of %I%s', kind, rolname, ' in schema ' || quote_ident(in_schema)) as object,
       format('alter default privileges for role %I%s revoke %s on %s from %s', rolname,
              ' in schema ' || quote_ident(in_schema),
              case kind when 'tables' then 'all' else 'execute' end, kind,
              case kind when 'tables' then names else 'public' end) as statement,
       pg_has_role(oid, 'usage') as may,
       null::text as kept
  from (select * from functions union all select * from tables) as found, takers
 order by 1
