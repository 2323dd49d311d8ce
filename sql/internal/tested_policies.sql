-- The policies that tests of policies are measured by, as `create policy` would be given them.
-- $1, $2: as in state.sql.
-- `others`: roles of requests for which the policy does not hold, but which may run its command.
select c.oid::regclass::text as relation,
       pg_catalog.quote_ident(p.polname) as quoted,
       p.polname::text as name,
       p.polpermissive as permissive,
       case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update'
                     when 'd' then 'delete' else 'all' end as command,
       (select pg_catalog.string_agg(case role when 0 then 'public' else role::regrole::text end, ', '
                                     order by role)
          from pg_catalog.unnest(p.polroles) as roles (role)) as roles,
       pg_catalog.pg_get_expr(p.polqual, p.polrelid) as qual,
       pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) as with_check,
       array(select r.rolname::text
               from pg_catalog.pg_roles as r
              where r.rolname = any ($2::text[])
                and not 0 = any (p.polroles)
                and not exists (select from pg_catalog.unnest(p.polroles) as roles (role)
                                 where pg_catalog.pg_has_role(r.oid, role, 'usage'))
                and exists (
                  select from (values ('r', 'select'), ('a', 'insert'), ('w', 'update'), ('d', 'delete'))
                           as commands (letter, privilege)
                   where p.polcmd::text in (letter, '*')
                     and (pg_catalog.has_table_privilege(r.oid, c.oid, privilege)
                          or privilege <> 'delete'
                             and pg_catalog.has_any_column_privilege(r.oid, c.oid, privilege)))
              order by r.rolname) as others
  from pg_catalog.pg_policy as p
  join pg_catalog.pg_class as c on c.oid = p.polrelid
  join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
 where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'auth', 'rowgate')
   and ($1::text[] is null or n.nspname = any ($1))
   and c.relrowsecurity and pg_catalog.pg_has_role(c.relowner, 'usage')
 order by 1, 3
