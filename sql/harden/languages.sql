  found as (
    select l.lanname, l.lanowner from pg_language l
     where l.lanpltrusted and exists (select from api where has_language_privilege(api.oid, l.oid, 'usage'))
  )
select format('language %I', lanname) as object,
       concat_ws(E';\n',
         format('revoke usage on language %I from %s', lanname, names),
         format('grant usage on language %I to ', lanname)
           || (select string_agg(quote_ident(rolname), ', ' order by rolname) from keepers)) as statement,
       pg_has_role(lanowner, 'usage') as may,
       null::text as kept
  from found, takers
 order by 1
