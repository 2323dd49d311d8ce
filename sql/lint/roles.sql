,
  -- Whom each of them may become. Since PostgreSQL 16 a membership may come without SET ROLE.
  reached (api, role) as (
    with recursive steps (api, role) as (
      select oid, oid from api
      union
      select s.api, m.roleid
        from steps s join pg_auth_members m on m.member = s.role
       where coalesce((to_jsonb(m) ->> 'set_option')::bool, true)
          or coalesce((to_jsonb(m) ->> 'inherit_option')::bool, true)
    )
    select api, role from steps
  )
select r.rolname::text, quote_ident(r.rolname) as sql_name, api.oid is not null as is_api,
       array(select b.rolname::text from reached x join pg_roles b on b.oid = x.role
              where x.api = r.oid and x.role <> r.oid order by 1) as reaches,
       r.rolsuper, r.rolbypassrls, r.rolcanlogin, r.rolcreaterole,
       exists (select from relations c where c.relowner = r.oid) as owns_relations
  from pg_roles r left join api on api.oid = r.oid
 where r.rolname !~ '^pg_' or r.oid in (select role from reached)
 order by 1
