-- The relations that a statement touches, those below its views included, and as whom.
-- $1: their names, quoted.  $2: what is done with each: select, insert, update, delete.
-- $3: whether its rows are read as well.  $4: whether they are locked.  $5: the role that asks.
-- Runs as that role: names are looked up as it would.
with recursive
  named as (
    select pg_catalog.to_regclass(n.name)::pg_catalog.oid as relid, n.command, n.also_reads, n.locks
      from rows from (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]),
                      pg_catalog.unnest($3::bool[]), pg_catalog.unnest($4::bool[]))
             as n (name, command, also_reads, locks)
  ),
  touched as (
    select n.relid, n.command, n.also_reads, n.locks, r.oid as as_role, null::oid as via
      from named as n
      join pg_catalog.pg_roles as r on r.rolname = $5
     where n.relid is not null
    union
    -- A view reads with its owner's rights, or with those of whoever asks (security_invoker).
    select below.relid,
           case when below.many then 'select' else t.command end,
           t.also_reads and not below.many, t.locks,
           case when c.reloptions && array['security_invoker=true', 'security_invoker=on',
                                           'security_invoker=1', 'security_invoker=yes']
                then t.as_role else c.relowner end,
           t.relid
      from touched as t
      join pg_catalog.pg_class as c on c.oid = t.relid and c.relkind = 'v'
     cross join lateral (
       select d.refobjid as relid, pg_catalog.count(*) over () > 1 as many
         from pg_catalog.pg_rewrite as w
         join pg_catalog.pg_depend as d
           on d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and d.objid = w.oid
          and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid <> t.relid
        where w.ev_class = t.relid and w.rulename = '_RETURN'
        group by d.refobjid
     ) as below
  )
select t.relid, n.nspname::text as schema, c.relname::text as name, c.relkind::text as kind,
       t.command, t.also_reads, t.locks, r.rolname::text as as_role,
       v.relname::text as via,
       c.relrowsecurity as guarded, c.relforcerowsecurity as forced,
       r.rolsuper or r.rolbypassrls as bypasses,
       pg_catalog.pg_has_role(r.oid, c.relowner, 'usage') as owns,
       o.rolname::text as owner,
       c.reltuples::float8 as estimate,
       pg_catalog.has_schema_privilege(r.oid, n.oid, 'usage') as reaches,
       pg_catalog.has_table_privilege(r.oid, c.oid, t.command) as may,
       not (t.also_reads or t.locks)
         or pg_catalog.has_table_privilege(r.oid, c.oid, 'select') as may_read,
       not t.locks or pg_catalog.has_table_privilege(r.oid, c.oid, 'update') as may_lock,
       array(select a.attname::text from pg_catalog.pg_attribute as a
              where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attacl is not null
                and t.command <> 'delete'
                and pg_catalog.has_column_privilege(r.oid, c.oid, a.attnum,
                      case t.command when 'delete' then 'select' else t.command end)
              order by a.attnum) as columns
  from touched as t
  join pg_catalog.pg_class as c on c.oid = t.relid and c.relkind in ('r', 'p', 'v', 'm', 'f')
  join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
  join pg_catalog.pg_roles as r on r.oid = t.as_role
  join pg_catalog.pg_roles as o on o.oid = c.relowner
  left join pg_catalog.pg_class as v on v.oid = t.via
 where n.nspname not in ('pg_catalog', 'information_schema')
 order by n.nspname, c.relname, t.command
