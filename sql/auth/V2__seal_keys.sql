-- The keys that seal claims. A gateway that knows a key can speak for every user, so the table
-- belongs to a role that nobody is a member of; besides it only the role that migrates reads it:
-- gateways fetch their key over the owner's connection when they start.

-- To create something that belongs to another role, one must be able to become that role, and it
-- must be allowed to create in the schema. Both last until the end of this file.
grant rowgate_sealer to current_user;
grant usage, create on schema auth to rowgate_sealer;

-- To whom the key is readable, once the role has been changed.
select pg_catalog.set_config('rowgate.migrating_owner', current_user, true);
set local role rowgate_sealer;

create table auth.seal_keys (
  -- Names the key inside a seal.
  kid        text collate "C" primary key check (kid ~ '^[0-9a-z]{1,16}$'),
  -- RFC 2104: the key, filled up with zeros to the 64 bytes of a SHA-256 block, xor 0x36 and 0x5c.
  -- Kept instead of the key, because two calls of sha256() then make an HMAC.
  ipad       bytea not null check (octet_length(ipad) = 64),
  opad       bytea not null check (octet_length(opad) = 64),
  not_before timestamptz not null default now(),
  not_after  timestamptz not null default 'infinity',
  check (not_before < not_after)
);
-- Two small columns for each request; the pads must not be moved out of line or compressed.
alter table auth.seal_keys
  alter column ipad set storage plain, alter column opad set storage plain,
  -- Statistics are samples of the values.
  alter column ipad set statistics 0, alter column opad set statistics 0;
revoke all on auth.seal_keys from public;

do $grant$
begin
  execute pg_catalog.format('grant select on auth.seal_keys to %I',
                            pg_catalog.current_setting('rowgate.migrating_owner'));
end
$grant$;

-- The first key is made here and never travels: 366 random bits, hashed to 256.
with
  material as (
    select pg_catalog.sha256(pg_catalog.uuid_send(pg_catalog.gen_random_uuid())
                             || pg_catalog.uuid_send(pg_catalog.gen_random_uuid())
                             || pg_catalog.uuid_send(pg_catalog.gen_random_uuid())) as key
  ),
  key_bits as (
    select ('x' || pg_catalog.encode(key, 'hex'))::bit(256) as bits from material
  )
insert into auth.seal_keys (kid, ipad, opad)
select 'k' || pg_catalog.substr(pg_catalog.replace(pg_catalog.gen_random_uuid()::text, '-', ''), 1, 10),
       -- bit_send() puts four bytes with the length before the bits.
       pg_catalog.substr(pg_catalog.bit_send(bits # ('x' || pg_catalog.repeat('36', 32))::bit(256)), 5)
         || pg_catalog.decode(pg_catalog.repeat('36', 32), 'hex'),
       pg_catalog.substr(pg_catalog.bit_send(bits # ('x' || pg_catalog.repeat('5c', 32))::bit(256)), 5)
         || pg_catalog.decode(pg_catalog.repeat('5c', 32), 'hex')
  from key_bits;

-- So that the planner knows how small the table is, and reads it without the index.
analyze auth.seal_keys;

reset role;
revoke create on schema auth from rowgate_sealer;
revoke rowgate_sealer from current_user;
