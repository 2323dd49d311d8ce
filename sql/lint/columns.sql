select a.attrelid, a.attnum, a.attname::text, quote_ident(a.attname) as sql_name,
       format_type(a.atttypid, null) as type, a.attnotnull,
       a.atthasdef or a.attidentity <> '' as is_generated,
       array(select api.rolname::text from api
              where has_any_column_privilege(api.oid, r.oid, 'select')
                and has_column_privilege(api.oid, r.oid, a.attnum, 'select')) as readers
  from relations r join pg_attribute a on a.attrelid = r.oid
 where r.relkind in ('r', 'p', 'v', 'm', 'f') and a.attnum > 0 and not a.attisdropped
 order by a.attrelid, a.attnum
