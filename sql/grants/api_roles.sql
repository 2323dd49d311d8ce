-- What the two API roles may do at all, before any table. Edit in place, then run
-- `rowgate policies apply`.
--
-- Each time these files are applied, everything that was ever granted to `authenticated` or
-- `anonymous` in the application's schemas is revoked first: what no file here grants is not granted.

-- Nobody creates or looks into things in this schema unless told that he may.
revoke all on schema public from public;
grant usage on schema public to authenticated, anonymous;

-- Functions that the application creates from now on run only for those to whom they are granted:
-- PostgreSQL would let everyone call them. (Concerns the role that applies these files.)
alter default privileges revoke execute on functions from public;

do $database$
begin
  -- A temporary table or type comes first when a name is looked up, and could stand in for a real
  -- one. No gateway needs them. Without ownership of the database this is a warning, not an error.
  execute format('revoke temporary on database %I from public', current_database());
  execute format('grant connect on database %I to authenticated, anonymous', current_database());
end
$database$;
