-- auth.api_roles: roles besides `authenticated` and `anonymous` that requests may run as ([[role]] in the
-- gateway's configuration; docs/roles.md). Being listed here means two things: the role may read the claims
-- of its own requests, and `rowgate policies apply` takes back what no file of the project grants to it.
--
-- The functions are for the role that migrates, which alone may call them.

create table auth.api_roles (
  role_name name primary key,
  added_at  timestamptz not null default now()
);
alter table auth.api_roles enable row level security;
revoke all on auth.api_roles from public, authenticated, anonymous;
comment on table auth.api_roles is 'Further roles that requests run as; see auth.add_api_role().';

grant rowgate_sealer to current_user;
grant usage, create on schema auth to rowgate_sealer;
select pg_catalog.set_config('rowgate.migrating_owner', current_user, true);
set local role rowgate_sealer;

-- The functions that read claims belong to rowgate_sealer, which alone can grant them.
create function auth.let_read_claims(role_name pg_catalog.name, may pg_catalog.bool) returns void
language plpgsql volatile parallel unsafe security definer as $body$
begin
  execute pg_catalog.format(
    '%s execute on function auth.session(), auth.jwt(), auth.user_id(), auth.uid() %s %I',
    case when may then 'grant' else 'revoke' end, case when may then 'to' else 'from' end, role_name);
end
$body$;
revoke all on function auth.let_read_claims(name, bool) from public;
do $grant$
begin
  execute pg_catalog.format('grant execute on function auth.let_read_claims(name, bool) to %I',
                            pg_catalog.current_setting('rowgate.migrating_owner'));
end
$grant$;

reset role;
revoke create on schema auth from rowgate_sealer;
revoke rowgate_sealer from current_user;

-- Lets requests run as a role that exists. Calling it again does no harm.
create function auth.add_api_role(role_name pg_catalog.name) returns void
language plpgsql volatile parallel unsafe security invoker as $body$
begin
  if not exists (select from pg_catalog.pg_roles as r where r.rolname operator(pg_catalog.=) $1) then
    raise exception using
      errcode = '42704',
      message = pg_catalog.format('there is no role %I', $1),
      hint = pg_catalog.format('create role %I login password ''...''', $1);
  end if;
  if exists (select from pg_catalog.pg_roles as r
              where r.rolname operator(pg_catalog.=) $1 and (r.rolsuper or r.rolbypassrls)) then
    raise exception using
      errcode = '42501',
      message = pg_catalog.format('no policy holds for the role %I', $1),
      hint = 'Requests run as plain roles that own nothing.';
  end if;
  -- Those of Rowgate's own have what they need, and removing them would take it away.
  if $1 operator(pg_catalog.=) any ('{authenticated,anonymous,rowgate_sealer,rowgate_revocations}'::pg_catalog.name[]) then
    raise exception using
      errcode = '42939',
      message = pg_catalog.format('%I is one of Rowgate''s own roles', $1);
  end if;
  -- Policies need not hold for owners, and an apply would take back what they granted themselves.
  if exists (select from pg_catalog.pg_roles as r
              where r.rolname operator(pg_catalog.=) $1
                and (exists (select from pg_catalog.pg_class as c where c.relowner operator(pg_catalog.=) r.oid)
                  or exists (select from pg_catalog.pg_namespace as n where n.nspowner operator(pg_catalog.=) r.oid)
                  or exists (select from pg_catalog.pg_database as d where d.datdba operator(pg_catalog.=) r.oid))) then
    raise exception using
      errcode = '42501',
      message = pg_catalog.format('the role %I owns something in this database', $1),
      hint = 'Requests run as plain roles that own nothing.';
  end if;
  insert into auth.api_roles (role_name) values ($1) on conflict do nothing;
  execute pg_catalog.format('grant usage on schema auth to %I', $1);
  perform auth.let_read_claims($1, true);
end
$body$;

-- The opposite. What the role was granted on the application's tables stays until it is revoked.
create function auth.remove_api_role(role_name pg_catalog.name) returns void
language plpgsql volatile parallel unsafe security invoker as $body$
begin
  delete from auth.api_roles as a where a.role_name operator(pg_catalog.=) $1;
  -- It may have been dropped.
  if found and exists (select from pg_catalog.pg_roles as r where r.rolname operator(pg_catalog.=) $1) then
    perform auth.let_read_claims($1, false);
    execute pg_catalog.format('revoke usage on schema auth from %I', $1);
  end if;
end
$body$;

comment on function auth.add_api_role(name) is 'Lets requests run as this role ([[role]]).';
comment on function auth.remove_api_role(name) is 'Takes back what auth.add_api_role() gave.';
revoke all on function auth.add_api_role(name), auth.remove_api_role(name) from public;
