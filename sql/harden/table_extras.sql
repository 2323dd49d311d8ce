  found as (
    select c.oid, c.relowner
      from pg_class c join own_schemas s on s.oid = c.relnamespace
     where c.relkind in ('r', 'p') and c.relrowsecurity
       and ('pg_class'::regclass::oid, c.oid) not in (select classid, objid from of_extensions)
       and exists (
             select from api
              where has_table_privilege(api.oid, c.oid, 'truncate, references, trigger')
                 or has_any_column_privilege(api.oid, c.oid, 'references')
                 -- VACUUM, ANALYZE, LOCK and so on; since PostgreSQL 17, and unknown by name before.
                 or exists (select from aclexplode(c.relacl) a
                             where a.privilege_type = 'MAINTAIN' and a.grantee in (0, api.oid)))
  )
select format('table %s', oid::regclass) as object,
       format('revoke truncate, references, trigger%s on table %s from %s',
              case when current_setting('server_version_num')::int >= 170000 then ', maintain' else '' end,
              oid::regclass, names) as statement,
       pg_has_role(relowner, 'usage') as may,
       null::text as kept
  from found, takers
 order by 1
