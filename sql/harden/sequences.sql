  -- An identity column counts without any privilege; the default of a serial column needs USAGE.
  found as (
    select c.oid, c.relowner,
           exists (select from pg_depend d
                    where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'i') as is_identity,
           substring(obj_description(c.oid, 'pg_class') from 'rowgate: exposed[,:]?\s*([^\n]*)') as kept
      from pg_class c join own_schemas s on s.oid = c.relnamespace
     where c.relkind = 'S'
       and ('pg_class'::regclass::oid, c.oid) not in (select classid, objid from of_extensions)
  )
select format('sequence %s', oid::regclass) as object,
       concat_ws(E';\n',
         format('revoke %s on sequence %s from %s',
                case when is_identity then 'all' else 'select, update' end, oid::regclass, names),
         (select format('grant usage on sequence %s to %s', found.oid::regclass,
                        string_agg(quote_ident(api.rolname), ', ' order by api.rolname))
            from api
           where not is_identity and has_sequence_privilege(api.oid, found.oid, 'update')
             and not has_sequence_privilege(api.oid, found.oid, 'usage')
          having count(*) > 0)) as statement,
       pg_has_role(relowner, 'usage') as may,
       kept
  from found, takers
 where exists (
         select from api
          where has_sequence_privilege(api.oid, found.oid,
                  case when is_identity then 'select, update, usage' else 'select, update' end))
 order by 1
