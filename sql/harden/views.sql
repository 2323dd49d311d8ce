  -- Views of PostgreSQL itself and of extensions, named by a pattern ($2).
  found as (
    select c.relowner, array_agg(c.relname::text order by c.relname) as views,
           string_agg(c.oid::regclass::text, E',\n  ' order by c.relname) as relations
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind = 'v' and c.relname ~ $2
       and (n.nspname = 'pg_catalog'
            or ('pg_class'::regclass::oid, c.oid) in (select classid, objid from of_extensions))
       and has_table_privilege('public', c.oid, 'select, update')
     group by c.relowner
  )
select case when cardinality(views) > 6
            then format('%s and %s more', array_to_string(views[:6], ', '), cardinality(views) - 6)
            else array_to_string(views, ', ') end as object,
       concat_ws(E';\n',
         format(E'revoke all on table\n  %s\n  from %s', relations, takers.names),
         format(E'grant select on table\n  %s\n  to %s', relations,
                (select string_agg(quote_ident(rolname), ', ' order by rolname)
                   from (select rolname from keepers union select unnest($3::text[])) as kept))) as statement,
       pg_has_role(relowner, 'usage') as may,
       null::text as kept
  from found, takers
 order by 1
