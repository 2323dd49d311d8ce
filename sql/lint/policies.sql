select p.polrelid, p.polname::text, quote_ident(p.polname) as sql_name,
       case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update'
                     when 'd' then 'delete' else 'all' end as command,
       p.polpermissive,
       array(select coalesce(a.rolname::text, 'public')
               from unnest(p.polroles) as roles (oid) left join pg_roles a on a.oid = roles.oid
              order by 1) as roles,
       pg_get_expr(p.polqual, p.polrelid) as using, pg_get_expr(p.polwithcheck, p.polrelid) as with_check
  from pg_policy p join relations r on r.oid = p.polrelid
 order by p.polrelid, p.polname
