select r.oid, api.rolname::text,
       array(select p
               from unnest(case r.relkind when 'S' then '{usage,select,update}'::text[]
                           else '{select,insert,update,delete,truncate,references,trigger}'::text[] end) p
              where case r.relkind when 'S' then has_sequence_privilege(api.oid, r.oid, p)
                    else has_table_privilege(api.oid, r.oid, p) end
             union all
             -- Since PostgreSQL 17, and unknown by name before.
             select 'maintain' from aclexplode(r.relacl) a
              where a.privilege_type = 'MAINTAIN' and a.grantee in (0, api.oid)) as of_table,
       case when r.relkind = 'S' then '{}' else
         array(select p from unnest('{select,insert,update}'::text[]) p
                where has_any_column_privilege(api.oid, r.oid, p)) end as of_columns
  from relations r cross join api
 where has_schema_privilege(api.oid, r.relnamespace, 'usage')
