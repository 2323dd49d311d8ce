  -- Functions of PostgreSQL itself and of extensions, named by a pattern ($2). What a role was granted
  -- by name is meant to be: only what everybody may run is looked for.
  everyones as (
    select p.oid, p.proname, p.proowner
      from pg_proc p join pg_namespace n on n.oid = p.pronamespace
     where p.proname ~ $2
       and p.provolatile <> 'i'
       and (n.nspname = 'pg_catalog'
            or ('pg_proc'::regclass::oid, p.oid) in (select classid, objid from of_extensions))
       and p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype, 'internal'::regtype)
       and has_function_privilege('public', p.oid, 'execute')
  ),
  -- A trigger or function of the application runs with its caller's rights, and may call one of them.
  called as (
    select e.oid, string_agg(distinct p.oid::regprocedure::text, ', ') as by
      from everyones e
      join pg_proc p on p.prosrc ~* ('\m' || e.proname || '\M') and not p.prosecdef
      join own_schemas s on s.oid = p.pronamespace
     where s.nspname not in ('auth', 'rowgate')
       and ('pg_proc'::regclass::oid, p.oid) not in (select classid, objid from of_extensions)
     group by e.oid
  ),
  found as (
    select e.proowner, c.by,
           array_agg(distinct e.proname::text) as names,
           string_agg(e.oid::regprocedure::text, E',\n  ' order by e.oid::regprocedure::text) as signatures
      from everyones e left join called c using (oid)
     group by e.proowner, c.by
  )
select case when cardinality(found.names) > 6
            then format('%s and %s more', array_to_string(found.names[:6], ', '), cardinality(found.names) - 6)
            else array_to_string(found.names, ', ') end as object,
       concat_ws(E';\n',
         format(E'revoke execute on function\n  %s\n  from %s', signatures, takers.names),
         format(E'grant execute on function\n  %s\n  to %s', signatures,
                (select string_agg(quote_ident(rolname), ', ' order by rolname)
                   from (select rolname from keepers union select unnest($3::text[])) as kept))) as statement,
       pg_has_role(proowner, 'usage') as may,
       'called by ' || found.by as kept
  from found, takers
 order by 1
