  found as (
    select f.srvname, f.srvowner, 'server' as kind, 'usage' as privilege
      from pg_foreign_server f
     where exists (select from api where has_server_privilege(api.oid, f.oid, 'usage'))
    union all
    select w.fdwname, w.fdwowner, 'data wrapper', 'usage'
      from pg_foreign_data_wrapper w
     where exists (select from api where has_foreign_data_wrapper_privilege(api.oid, w.oid, 'usage'))
  )
select format('foreign %s %I', kind, srvname) as object,
       format('revoke all on foreign %s %I from %s', kind, srvname, names) as statement,
       pg_has_role(srvowner, 'usage') as may,
       null::text as kept
  from found, takers
 order by 1
