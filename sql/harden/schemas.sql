  found as (
    select s.oid, s.nspname, s.nspowner from own_schemas s
     where exists (select from api where has_schema_privilege(api.oid, s.oid, 'create'))
        or (s.nspname = 'public' and has_schema_privilege('public', s.oid, 'usage, create'))
  )
select format('schema %I', nspname) as object,
       concat_ws(E';\n',
         format('revoke all on schema %I from %s', nspname, names),
         -- Back to those who had it, by name.
         (select format('grant usage on schema %I to %s', nspname,
                        string_agg(quote_ident(api.rolname), ', ' order by api.rolname))
            from api where has_schema_privilege(api.oid, found.oid, 'usage') having count(*) > 0),
         (select format('grant usage, create on schema %I to %s', nspname,
                        string_agg(quote_ident(k.rolname), ', ' order by k.rolname))
            from keepers k
           where has_schema_privilege(k.oid, found.oid, 'create') and not pg_has_role(k.oid, nspowner, 'usage')
          having count(*) > 0)) as statement,
       pg_has_role(nspowner, 'usage') as may,
       null::text as kept
  from found, takers
 order by 1
