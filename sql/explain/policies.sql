-- The policies of a table that hold for a role, in the order in which the server asks them.
-- $1: the table.  $2: the role.
select p.polname::text as policy,
       p.polpermissive as permissive,
       p.polcmd::text as command,
       pg_catalog.pg_get_expr(p.polqual, p.polrelid) as "using",
       pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) as "check"
  from pg_catalog.pg_policy as p
 where p.polrelid = $1
   -- As check_role_for_policy (policy.c): a policy holds for whoever has the privileges of one of its roles.
   and exists (select from pg_catalog.unnest(p.polroles) as holder (oid)
                where holder.oid = 0
                   or pg_catalog.pg_has_role($2::pg_catalog.name, holder.oid, 'usage'))
 order by p.polpermissive desc, p.polname
