-- auth.revoked: tokens that shall not count any more although they have not ended. The owner writes it;
-- gateways with `revocation.enabled = true` read it every few seconds (docs/revocation.md).
--
-- A row is about one token (issuer, jti), or about all tokens of a user that were issued before a time
-- (issuer, sub, issued_before). It belongs to the role that migrates. The roles that requests run as can
-- neither read nor write it: nothing is granted to them, and row level security shows them nothing should
-- somebody grant it. auth.session() does not look here: that would cost every policy of every request a
-- look-up, for what the gateway has found out before it sends anything.

-- Logins that are members of this role read the list and nothing else of Rowgate's: for gateways that are
-- not given the owner's connection (database.revocation_url).
do $create$
begin
  if not exists (select from pg_catalog.pg_roles where rolname = 'rowgate_revocations') then
    create role rowgate_revocations nologin;
  end if;
exception
  -- Another database of this cluster was migrated at the same moment.
  when duplicate_object or unique_violation then null;
end
$create$;

create table auth.revoked (
  -- `iss` of the tokens, byte for byte.
  issuer        text not null check (issuer <> ''),
  -- One token: its `jti`.
  jti           text check (jti <> ''),
  -- All tokens of a user: the claim that identifies users (`sub`) …
  sub           text check (sub <> ''),
  -- … whose `iat` is before this; those without `iat` count as older. 'infinity': also all that are to come.
  issued_before timestamptz check (issued_before > '-infinity'),
  -- From when on the row is not needed, because the tokens have ended by themselves.
  expires_at    timestamptz not null default 'infinity',
  reason        text,
  revoked_at    timestamptz not null default now(),
  -- The transaction that wrote the row last: gateways ask for what has changed since they looked.
  changed_in    xid8 not null default pg_catalog.pg_current_xact_id(),
  check ((jti is not null and sub is null and issued_before is null)
         or (jti is null and sub is not null and issued_before is not null)),
  unique (issuer, jti),
  unique (issuer, sub)
);
create index revoked_changed_in on auth.revoked (changed_in);

create function auth.note_change() returns trigger
language plpgsql security invoker as $body$
begin
  new.changed_in := pg_catalog.pg_current_xact_id();
  return new;
end
$body$;
create trigger note_change before insert or update on auth.revoked
  for each row execute function auth.note_change();
-- Where rows arrive by logical replication, too.
alter table auth.revoked enable always trigger note_change;

alter table auth.revoked enable row level security;
create policy gateways_read on auth.revoked for select to rowgate_revocations using (true);
revoke all on auth.revoked from public, authenticated, anonymous;
grant usage on schema auth to rowgate_revocations;
grant select on auth.revoked to rowgate_revocations;

-- One token. `until`: its `exp`, so that the row can be cleaned away.
create function auth.revoke_token(
  issuer pg_catalog.text, jti pg_catalog.text,
  until pg_catalog.timestamptz default 'infinity', reason pg_catalog.text default null
) returns void
language sql volatile parallel unsafe security invoker as $body$
  insert into auth.revoked as r (issuer, jti, expires_at, reason) values ($1, $2, $3, $4)
  on conflict (issuer, jti) do update
     set expires_at = greatest(r.expires_at, excluded.expires_at),
         reason = coalesce(excluded.reason, r.reason);
$body$;

-- All tokens of a user that were issued before now, or before another time. `until`: when the last of them
-- has ended, at the latest. A user who is to stay out: issued_before => 'infinity'.
create function auth.revoke_user(
  issuer pg_catalog.text, sub pg_catalog.text,
  issued_before pg_catalog.timestamptz default pg_catalog.now(),
  until pg_catalog.timestamptz default 'infinity', reason pg_catalog.text default null
) returns void
language sql volatile parallel unsafe security invoker as $body$
  insert into auth.revoked as r (issuer, sub, issued_before, expires_at, reason)
  values ($1, $2, $3, $4, $5)
  on conflict (issuer, sub) do update
     set issued_before = greatest(r.issued_before, excluded.issued_before),
         expires_at = greatest(r.expires_at, excluded.expires_at),
         reason = coalesce(excluded.reason, r.reason);
$body$;

-- Deletes rows that are no longer needed; returns how many. An hour late, because issuers' clocks and a
-- gateway's leeway let a token live a little longer than its `exp`.
create function auth.clean_revoked() returns pg_catalog.int8
language sql volatile parallel unsafe security invoker as $body$
  with gone as (
    delete from auth.revoked as r
     where r.expires_at operator(pg_catalog.<)
             (pg_catalog.now() operator(pg_catalog.-) '1 hour'::pg_catalog.interval)
    returning 1
  )
  select pg_catalog.count(*) from gone
$body$;

comment on table auth.revoked is 'Tokens that no longer count; written by the owner, read by gateways.';
comment on function auth.revoke_token(text, text, timestamptz, text) is 'Revokes one token.';
comment on function auth.revoke_user(text, text, timestamptz, timestamptz, text) is
  'Revokes all tokens of a user that were issued before a time.';
comment on function auth.clean_revoked() is 'Deletes the rows of auth.revoked that have expired.';
revoke all on function auth.note_change(), auth.revoke_token(text, text, timestamptz, text),
  auth.revoke_user(text, text, timestamptz, timestamptz, text), auth.clean_revoked() from public;
