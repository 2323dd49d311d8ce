  found as (
    select p.oid, p.proowner,
           coalesce(
             substring(obj_description(p.oid, 'pg_proc') from 'rowgate: exposed[,:]?\s*([^\n]*)'),
             -- Whoever reads a table must be able to call what its policies, defaults and so on call.
             (select 'needed by ' || string_agg(distinct pg_describe_object(d.classid, d.objid, d.objsubid), ', ')
                from pg_depend d
               where d.refclassid = 'pg_proc'::regclass and d.refobjid = p.oid
                 and d.classid in ('pg_policy'::regclass, 'pg_attrdef'::regclass, 'pg_rewrite'::regclass,
                                   'pg_constraint'::regclass, 'pg_class'::regclass))) as kept
      from pg_proc p join own_schemas s on s.oid = p.pronamespace
     where p.prosecdef
       and p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)
       and ('pg_proc'::regclass::oid, p.oid) not in (select classid, objid from of_extensions)
       -- The readers of claims.
       and not (s.nspname = 'auth' and p.proowner = to_regrole('rowgate_sealer'))
       and exists (select from api where has_function_privilege(api.oid, p.oid, 'execute'))
  )
select format('function %s', oid::regprocedure) as object,
       format('revoke execute on routine %s from %s', oid::regprocedure, names) as statement,
       pg_has_role(proowner, 'usage') as may,
       kept
  from found, takers
 order by 1
