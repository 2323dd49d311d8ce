  exposed as (
    select c.oid, c.relkind, c.relowner, c.relispartition,
           substring(obj_description(c.oid, 'pg_class') from 'rowgate: exposed[,:]?\s*([^\n]*)') as kept
      from pg_class c join own_schemas s on s.oid = c.relnamespace
     where (c.relkind in ('m', 'f')
            or (c.relkind in ('r', 'p') and not c.relrowsecurity)
            or (c.relkind = 'v' and not exists (
                  select from pg_options_to_table(c.reloptions)
                   where option_name = 'security_invoker' and option_value::bool)))
       and ('pg_class'::regclass::oid, c.oid) not in (select classid, objid from of_extensions)
       and exists (
             select from api
              where has_table_privilege(api.oid, c.oid,
                      'select, insert, update, delete, truncate, references, trigger')
                 or has_any_column_privilege(api.oid, c.oid, 'select, insert, update, references'))
  )
select format('%s %s',
         case relkind when 'v' then 'view' when 'm' then 'materialized view'
                      when 'f' then 'foreign table' else 'table' end, oid::regclass)
       || case
            when relkind = 'v' then ' (without security_invoker: reads with its owner''s rights)'
            when relkind = 'm' then ' (a copy of rows, and policies do not reach it)'
            when relkind = 'f' then ' (policies do not reach it)'
            when relispartition then ' (a partition: the policies of its parent do not hold for it)'
            else ' (row-level security is off)'
          end as object,
       format('revoke all on table %s from %s', oid::regclass, names) as statement,
       pg_has_role(relowner, 'usage') as may,
       kept
  from exposed, takers
 order by 1
