select n.nspname::text, p.proname::text, p.oid::regprocedure::text as sql_name,
       p.prosecdef, p.provolatile::text, p.proleakproof, l.lanname::text as language,
       -- Names in a body in SQL-standard form are resolved when it is created.
       exists (select from unnest(p.proconfig) as setting where setting ~ '^search_path=')
         or to_jsonb(p) ->> 'prosqlbody' is not null as is_pinned,
       o.rolsuper or o.rolbypassrls as owner_bypasses,
       p.prosrc as source,
       p.prorettype in ('trigger'::regtype, 'event_trigger'::regtype) as is_trigger,
       array(select api.rolname::text from api
              where has_function_privilege(api.oid, p.oid, 'execute')
                and has_schema_privilege(api.oid, p.pronamespace, 'usage')) as callers,
       (select string_agg(distinct pg_describe_object(d.classid, d.objid, d.objsubid), ', ')
          from pg_depend d
         where d.refclassid = 'pg_proc'::regclass and d.refobjid = p.oid
           and d.classid in ('pg_policy'::regclass, 'pg_attrdef'::regclass, 'pg_rewrite'::regclass,
                             'pg_constraint'::regclass, 'pg_class'::regclass)) as needed_by,
       substring(obj_description(p.oid, 'pg_proc') from 'rowgate: exposed[,:]?\s*([^\n]*)') as kept
  from pg_proc p
  join managed n on n.oid = p.pronamespace
  join pg_language l on l.oid = p.prolang
  join pg_roles o on o.oid = p.proowner
 where not exists (select from of_extensions e where e.classid = 'pg_proc'::regclass and e.objid = p.oid)
 order by 1, 3
