select n.nspname::text, quote_ident(n.nspname) as sql_name,
       array(select api.rolname::text from api where has_schema_privilege(api.oid, n.oid, 'create')) as creators,
       coalesce((select bool_or(a.grantee = 0 and a.privilege_type = 'CREATE') from aclexplode(n.nspacl) a),
                false) as to_public
  from managed n
 order by 1
