  -- A session starts with the settings of the role that logs in: those of slots as well.
  logins as (
    select oid, rolname from pg_roles
     where rolname = any ($1::text[])
        or exists (select from api where pg_roles.rolname ~ ('^' || api.rolname || '_s[0-9]+$'))
  ),
  wanted (name, harmless, value) as (
    values ($2::text, $3::text, $4::text)
  ),
  -- The most specific one holds (PostgreSQL, "ALTER ROLE").
  effective as (
    select l.rolname, w.name, w.value, w.harmless,
           coalesce(
             (select substr(entry, length(w.name) + 2)
                from pg_db_role_setting s cross join unnest(s.setconfig) as entry
               where s.setrole in (0, l.oid)
                 and s.setdatabase in (0, (select oid from pg_database where datname = current_database()))
                 and lower(split_part(entry, '=', 1)) = w.name
               order by s.setrole <> 0 and s.setdatabase <> 0 desc, s.setrole <> 0 desc, s.setdatabase <> 0 desc
               limit 1),
             current_setting(w.name, true)) as now
      from logins l cross join wanted w
  )
select format('%s of %I', name, rolname) as object,
       format('alter role %I in database %I set %s = %L', rolname, current_database(), name, value) as statement,
       (select rolsuper from pg_roles where rolname = current_user) as may,
       null::text as kept
  from effective
 where now !~ harmless
 order by 1
