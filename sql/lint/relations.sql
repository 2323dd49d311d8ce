select r.oid, r.nspname::text, r.relname::text, format('%I.%I', r.nspname, r.relname) as sql_name,
       r.relkind::text, r.relrowsecurity, r.relforcerowsecurity, r.relispartition,
       array(select i.inhparent from pg_inherits i where i.inhrelid = r.oid) as parents,
       exists (select from pg_options_to_table(r.reloptions)
                where option_name = 'security_invoker' and option_value::bool) as is_invoker,
       -- Whether a view reads anything but itself.
       exists (select from pg_rewrite w join pg_depend d
                   on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid
                where w.ev_class = r.oid and d.refclassid = 'pg_class'::regclass
                  and d.refobjid <> r.oid) as reads_relations,
       array(select lower(a.privilege_type) from aclexplode(r.relacl) a
              where a.grantee = 0 order by 1) as to_public,
       substring(obj_description(r.oid, 'pg_class') from 'rowgate: exposed[,:]?\s*([^\n]*)') as kept
  from relations r
 order by r.nspname, r.relname
