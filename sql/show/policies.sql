-- Every policy of the managed schemas, once for each of the roles that it holds for.
-- $1: the roles, by name.  $2: the managed schemas, or null for all but the system's and Rowgate's own.
select n.nspname::text as schema,
       c.relname::text as name,
       role.name as role,
       p.polname::text as policy,
       p.polpermissive as permissive,
       p.polcmd::text as command,
       pg_catalog.pg_get_expr(p.polqual, p.polrelid) as "using",
       pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) as "check"
  from pg_catalog.pg_policy as p
  join pg_catalog.pg_class as c on c.oid = p.polrelid
  join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
 cross join pg_catalog.unnest($1::text[]) as role (name)
  join pg_catalog.pg_roles as r on r.rolname = role.name
 where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'auth', 'rowgate')
   and ($2::text[] is null or n.nspname = any ($2))
   -- As check_role_for_policy (policy.c): a policy holds for whoever has the privileges of one of its roles.
   and exists (select from pg_catalog.unnest(p.polroles) as holder (oid)
                where holder.oid = 0 or pg_catalog.pg_has_role(r.oid, holder.oid, 'usage'))
 order by n.nspname, c.relname, p.polname
