  found as (
    select d.datname, d.datdba from pg_database d
     where d.datname = current_database()
       and exists (select from api where has_database_privilege(api.oid, d.oid, 'temporary, create'))
  )
select format('database %I', datname) as object,
       format('revoke temporary, create on database %I from %s', datname, names) as statement,
       pg_has_role(datdba, 'usage') as may,
       null::text as kept
  from found, takers
