-- What every query here begins with. $1: the roles that requests run as.
--
-- Only reads, and only the catalogue. What belongs to an extension, to PostgreSQL or to Rowgate itself is
-- left out: nobody who reads the findings could change it.
with
  api as (
    select oid, rolname from pg_roles where rolname = any ($1::text[])
  ),
  managed as (
    select oid, nspname, nspowner, nspacl from pg_namespace
     where nspname !~ '^pg_' and nspname not in ('information_schema', 'auth', 'rowgate')
  ),
  of_extensions (classid, objid) as (
    select classid, objid from pg_depend where deptype = 'e'
  ),
  relations as (
    select c.*, n.nspname
      from pg_class c join managed n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
       and not exists (select from of_extensions e where e.classid = 'pg_class'::regclass and e.objid = c.oid)
  )
