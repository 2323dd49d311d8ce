-- What every query here begins with. $1: the two roles that requests run as.
--
-- Each query returns one row for each thing that is still to be done, asked of the live catalogue with
-- has_..._privilege, so that an empty answer is the proof that a REVOKE took:
--   object     what it is about, for people
--   statement  what does it; may be several
--   may        whether the current user may run that (REVOKEs by others only warn)
--   kept       why it is left as it is: then nothing is to be done
with
  api as (
    select oid, rolname from pg_roles where rolname = any ($1::text[])
  ),
  -- PUBLIC, of which every role is a part, comes first.
  takers (names) as (
    select 'public, ' || string_agg(quote_ident(rolname), ', ' order by rolname) from api
  ),
  own_schemas as (
    select oid, nspname, nspowner, nspacl from pg_namespace
     where nspname !~ '^pg_' and nspname <> 'information_schema'
  ),
  of_extensions (classid, objid) as (
    select classid, objid from pg_depend where deptype = 'e'
  ),
  -- Who had something through PUBLIC alone, and needs it to keep this database: its owner, and the
  -- owners of what is in it.
  owners (oid) as (
    select datdba from pg_database where datname = current_database()
    union
    select nspowner from own_schemas
    union
    select c.relowner from pg_class c join own_schemas s on s.oid = c.relnamespace
     where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
       and ('pg_class'::regclass::oid, c.oid) not in (select classid, objid from of_extensions)
    union
    select p.proowner from pg_proc p join own_schemas s on s.oid = p.pronamespace
     where ('pg_proc'::regclass::oid, p.oid) not in (select classid, objid from of_extensions)
  ),
  keepers as (
    select r.oid, r.rolname from pg_roles r join owners using (oid)
     where not r.rolsuper and r.rolname !~ '^pg_' and r.oid not in (select oid from api)
  ),
