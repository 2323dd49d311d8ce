-- Functions that may give another result, or do something, each time they are called.
select distinct n.nspname::text, p.proname::text
  from pg_proc p join pg_namespace n on n.oid = p.pronamespace
 where p.provolatile = 'v' and p.prokind = 'f'
   and (n.nspname = 'pg_catalog' or n.oid in (select oid from managed)
        or ('pg_proc'::regclass::oid, p.oid) in (select classid, objid from of_extensions))
