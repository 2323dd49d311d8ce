select a.defaclrole::regrole::text as creator, quote_ident(n.nspname) as in_schema,
       case a.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'functions'
                            when 'T' then 'types' else 'schemas' end as kind,
       coalesce(quote_ident(api.rolname), 'public') as grantee,
       string_agg(lower(x.privilege_type), ', ' order by x.privilege_type) as privileges
  from pg_default_acl a
 cross join lateral aclexplode(a.defaclacl) x
  left join pg_namespace n on n.oid = a.defaclnamespace
  left join api on api.oid = x.grantee
 where (x.grantee = 0 or api.oid is not null)
   and (a.defaclnamespace = 0 or n.oid in (select oid from managed))
   -- Every type is born with it, and it shows nothing.
   and a.defaclobjtype <> 'T'
 group by 1, 2, 3, 4
 order by 1, 2, 3, 4
