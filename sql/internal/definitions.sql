-- What admission needs to know of this database: which functions the server has, and the code that the
-- application attached to its own objects. One row for each object:
--
--   kind       builtin | codec | sequence | function | trigger | relation | type | implicit
--   name       without its schema
--   language   of a function; else ''
--   volatile   of a function; else false
--   extension  that a function belongs to; else ''
--   code       text in which the names of whatever it calls or touches stand
--
-- Readable by every role. Reads no row of the application's.

select 'builtin' as kind, p.proname::text as name, '' as language,
       pg_catalog.bool_or(p.provolatile = 'v') as volatile, '' as extension, '' as code
  from pg_catalog.pg_proc as p
 where p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace
   -- These no statement can call, and their names (system, bernoulli) may well be a column's.
   and p.prorettype not in (
         'pg_catalog.trigger'::pg_catalog.regtype, 'pg_catalog.event_trigger'::pg_catalog.regtype,
         'pg_catalog.internal'::pg_catalog.regtype, 'pg_catalog.tsm_handler'::pg_catalog.regtype,
         'pg_catalog.index_am_handler'::pg_catalog.regtype,
         'pg_catalog.table_am_handler'::pg_catalog.regtype,
         'pg_catalog.language_handler'::pg_catalog.regtype,
         'pg_catalog.fdw_handler'::pg_catalog.regtype)
 group by p.proname

union all
-- Reading and printing values of some types (regclass, aclitem) looks names up; nobody calls these by name.
select distinct 'codec', p.proname::text, '', false, '', ''
  from pg_catalog.pg_proc as p
 where p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace
   -- As one list: joining with six columns would look into the index six times for each type.
   and p.oid in (
         select pg_catalog.unnest(array[t.typinput, t.typoutput, t.typreceive, t.typsend, t.typmodin,
                                        t.typmodout]::pg_catalog.oid[])
           from pg_catalog.pg_type as t)

union all
select 'sequence', c.relname::text, '', false, '', ''
  from pg_catalog.pg_class as c
 where c.relkind = 'S'

union all
-- Rowgate's own read settings and keys, and change nothing: they count as having no code.
select 'function', p.proname::text, l.lanname::text, p.provolatile = 'v', coalesce(x.extname::text, ''),
       case when n.nspname = 'auth' and p.proname in ('session', 'jwt', 'user_id', 'uid') then ''
       else pg_catalog.concat_ws(' ',
         coalesce(pg_catalog.pg_get_function_sqlbody(p.oid), p.prosrc),
         pg_catalog.pg_get_expr(p.proargdefaults, 0),
         (select pg_catalog.string_agg(t.typname, ' ')
            from pg_catalog.pg_type as t
           where t.oid in (select pg_catalog.unnest(p.proargtypes) union all select p.prorettype)
             and t.typnamespace <> 'pg_catalog'::pg_catalog.regnamespace),
         (select pg_catalog.concat_ws(' ', a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn,
                                      a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn)
            from pg_catalog.pg_aggregate as a
           where a.aggfnoid = p.oid))
       end
  from pg_catalog.pg_proc as p
  join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
  join pg_catalog.pg_language as l on l.oid = p.prolang
  left join pg_catalog.pg_depend as d
    on d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass and d.objid = p.oid and d.deptype = 'e'
  left join pg_catalog.pg_extension as x on x.oid = d.refobjid
 where n.nspname not in ('pg_catalog', 'information_schema')

union all
-- What writing into a relation sets off: its own triggers with their conditions, checks, expressions in indexes
-- and partition keys; and the same of the relations that foreign keys cascade to and that rows are routed to.
select 'trigger', 'trigger$' || c.relname, '', false, '',
       pg_catalog.concat_ws(' ',
         (select pg_catalog.string_agg(pg_catalog.pg_get_triggerdef(t.oid), ' ')
            from pg_catalog.pg_trigger as t
           where t.tgrelid = c.oid and not t.tgisinternal),
         (select pg_catalog.string_agg(pg_catalog.pg_get_expr(k.conbin, k.conrelid), ' ')
            from pg_catalog.pg_constraint as k
           where k.conrelid = c.oid and k.contype = 'c'),
         (select pg_catalog.string_agg(pg_catalog.pg_get_indexdef(i.indexrelid), ' ')
            from pg_catalog.pg_index as i
           where i.indrelid = c.oid and (i.indexprs is not null or i.indpred is not null)),
         case when c.relkind = 'p' then pg_catalog.pg_get_partkeydef(c.oid) end,
         (select pg_catalog.string_agg('trigger$' || child.relname, ' ')
            from pg_catalog.pg_constraint as f
            join pg_catalog.pg_class as child on child.oid = f.conrelid
           where f.confrelid = c.oid and f.contype = 'f'),
         (select pg_catalog.string_agg('trigger$' || child.relname, ' ')
            from pg_catalog.pg_inherits as i
            join pg_catalog.pg_class as child on child.oid = i.inhrelid
           where i.inhparent = c.oid))
  from pg_catalog.pg_class as c
  join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p', 'v', 'f') and n.nspname not in ('pg_catalog', 'information_schema')

union all
select 'relation', c.relname::text, '', false, '',
       pg_catalog.concat_ws(' ',
         'trigger$' || c.relname,
         (select pg_catalog.string_agg(pg_catalog.concat_ws(' ',
                   pg_catalog.pg_get_expr(p.polqual, p.polrelid),
                   pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid)), ' ')
            from pg_catalog.pg_policy as p
           where p.polrelid = c.oid),
         (select pg_catalog.string_agg(pg_catalog.pg_get_expr(a.adbin, a.adrelid), ' ')
            from pg_catalog.pg_attrdef as a
           where a.adrelid = c.oid),
         (select pg_catalog.string_agg(pg_catalog.pg_get_ruledef(r.oid), ' ')
            from pg_catalog.pg_rewrite as r
           where r.ev_class = c.oid),
         (select pg_catalog.string_agg(t.typname, ' ')
            from pg_catalog.pg_attribute as a
            join pg_catalog.pg_type as t on t.oid = a.atttypid
           where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
             and t.typnamespace <> 'pg_catalog'::pg_catalog.regnamespace))
  from pg_catalog.pg_class as c
  join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname not in ('pg_catalog', 'information_schema')
   and n.nspname !~ '^pg_'

union all
-- Domains have checks; arrays, composite types and ranges have parts that may be domains.
select 'type', t.typname::text, '', false, '',
       pg_catalog.concat_ws(' ', t.typdefault,
         (select pg_catalog.string_agg(pg_catalog.pg_get_expr(k.conbin, 0), ' ')
            from pg_catalog.pg_constraint as k
           where k.contypid = t.oid),
         (select part.typname from pg_catalog.pg_type as part where part.oid in (t.typelem, t.typbasetype) limit 1),
         (select part.typname
            from pg_catalog.pg_range as r
            join pg_catalog.pg_type as part on part.oid = r.rngsubtype
           where r.rngtypid = t.oid),
         (select pg_catalog.string_agg(part.typname, ' ')
            from pg_catalog.pg_attribute as a
            join pg_catalog.pg_type as part on part.oid = a.atttypid
           where a.attrelid = t.typrelid and t.typrelid <> 0 and a.attnum > 0 and not a.attisdropped))
  from pg_catalog.pg_type as t
  join pg_catalog.pg_namespace as n on n.oid = t.typnamespace
 where (t.typtype in ('d', 'c', 'r', 'm') or t.typelem <> 0)
   and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_'

union all
-- Code that runs without being named: operators' symbols are no words, casts have no name at all.
select 'implicit', '', '', false, '', p.proname::text
  from pg_catalog.pg_operator as o
  join pg_catalog.pg_namespace as n on n.oid = o.oprnamespace
  join pg_catalog.pg_proc as p on p.oid = o.oprcode
 where n.nspname not in ('pg_catalog', 'information_schema')

union all
select 'implicit', '', '', false, '', p.proname::text
  from pg_catalog.pg_cast as c
  join pg_catalog.pg_proc as p on p.oid = c.castfunc
 where p.pronamespace <> 'pg_catalog'::pg_catalog.regnamespace
