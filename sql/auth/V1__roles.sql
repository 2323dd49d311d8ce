-- The roles that Rowgate works with. They belong to the whole cluster, so a database that is not
-- the first one finds them there; what exists is left as it is.
--
--   authenticated   login of requests with a verified token
--   anonymous       login of requests without a token
--   rowgate_sealer  owns the seal keys and what may read them; nobody logs in as it
--
-- No passwords here: `rowgate migrate --login-passwords`, or the platform's own means, sets them.

do $create$
declare
  wanted record;
begin
  for wanted in
    select * from (values ('authenticated', 'login'),
                          ('anonymous', 'login'),
                          ('rowgate_sealer', 'nologin')) as roles (name, attribute)
  loop
    continue when exists (select from pg_catalog.pg_roles where rolname = wanted.name);
    begin
      execute pg_catalog.format('create role %I %s', wanted.name, wanted.attribute);
    exception
      -- Another database of this cluster was migrated at the same moment.
      when duplicate_object or unique_violation then null;
    end;
  end loop;
end
$create$;
