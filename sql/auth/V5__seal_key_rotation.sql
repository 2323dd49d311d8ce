-- Several keys over time: adding one, taking one out of use, and keys that bind to no backend.
--
-- The functions below are for the role that migrates, which alone may call them. They run as
-- rowgate_sealer, so that whoever rotates keys needs no right to become it. As in V3, every name in
-- them is qualified, and a key is made inside one statement: it is never a variable, a parameter or a
-- result, and no log of statements, plans or errors can show it.

grant rowgate_sealer to current_user;
grant usage, create on schema auth to rowgate_sealer;
select pg_catalog.set_config('rowgate.migrating_owner', current_user, true);
set local role rowgate_sealer;

-- Behind a pooler that gives out server connections by transaction, a gateway does not know which
-- backend will run a request. A key that is not bound seals for no backend in particular: in place of
-- the pid stands 0. Weaker, because such a seal is worth as much on any other connection.
alter table auth.seal_keys add column bound bool not null default true;

-- Adds a key. Called by the two functions below, which see to it that one comes at a time.
create function auth.add_seal_key(begins pg_catalog.timestamptz, is_bound pg_catalog.bool)
returns pg_catalog.text
language sql volatile parallel unsafe security invoker as $body$
  with
    material as (
      -- 366 random bits, hashed to 256.
      select pg_catalog.sha256(pg_catalog.uuid_send(pg_catalog.gen_random_uuid())
               operator(pg_catalog.||) pg_catalog.uuid_send(pg_catalog.gen_random_uuid())
               operator(pg_catalog.||) pg_catalog.uuid_send(pg_catalog.gen_random_uuid())) as key
    ),
    key_bits as (
      select ('x' operator(pg_catalog.||) pg_catalog.encode(key, 'hex'))::pg_catalog.bit(256) as bits
        from material
    )
  insert into auth.seal_keys (kid, ipad, opad, not_before, bound)
  select case when is_bound then 'k' else 'u' end
           operator(pg_catalog.||) pg_catalog.substr(
             pg_catalog.replace(pg_catalog.gen_random_uuid()::pg_catalog.text, '-', ''), 1, 10),
         -- bit_send() puts four bytes with the length before the bits.
         pg_catalog.substr(pg_catalog.bit_send(bits operator(pg_catalog.#)
             ('x' operator(pg_catalog.||) pg_catalog.repeat('36', 32))::pg_catalog.bit(256)), 5)
           operator(pg_catalog.||) pg_catalog.decode(pg_catalog.repeat('36', 32), 'hex'),
         pg_catalog.substr(pg_catalog.bit_send(bits operator(pg_catalog.#)
             ('x' operator(pg_catalog.||) pg_catalog.repeat('5c', 32))::pg_catalog.bit(256)), 5)
           operator(pg_catalog.||) pg_catalog.decode(pg_catalog.repeat('5c', 32), 'hex'),
         begins, is_bound
    from key_bits
  returning kid
$body$;

-- Adds a key that is believed from `lead_time` on, and lets those of the same kind that are in force go
-- on for `overlap_time` more. Without one in force there is nothing to wait for: it is believed at once.
-- Keys that were to come are replaced; those that ended more than a day ago are deleted. Returns its kid.
create function auth.rotate_seal_key(
  lead_time pg_catalog.interval, overlap_time pg_catalog.interval, is_bound pg_catalog.bool
) returns pg_catalog.text
language sql volatile parallel unsafe security definer as $body$
  lock table auth.seal_keys in share row exclusive mode;
  delete from auth.seal_keys as k
   where (k.bound operator(pg_catalog.=) is_bound
          and k.not_before operator(pg_catalog.>) current_timestamp)
      or k.not_after operator(pg_catalog.<)
           (current_timestamp operator(pg_catalog.-) '1 day'::pg_catalog.interval);
  update auth.seal_keys as k
     set not_after = least(k.not_after, current_timestamp operator(pg_catalog.+) lead_time
                                          operator(pg_catalog.+) overlap_time)
   where k.bound operator(pg_catalog.=) is_bound
     and k.not_after operator(pg_catalog.>) current_timestamp;
  select auth.add_seal_key(
    case when exists (select from auth.seal_keys as k
                       where k.bound operator(pg_catalog.=) is_bound
                         and k.not_after operator(pg_catalog.>) current_timestamp)
         then current_timestamp operator(pg_catalog.+) lead_time
         else current_timestamp end,
    is_bound);
$body$;

-- Takes a key out of use now. If no other key of its kind is in force, a new one takes its place at
-- once: its kid is returned. An unknown key, or one that has ended, is an error.
create function auth.retire_seal_key(retired_kid pg_catalog.text) returns pg_catalog.text
language plpgsql volatile parallel unsafe security definer as $body$
declare
  was_bound pg_catalog.bool;
begin
  lock table auth.seal_keys in share row exclusive mode;
  select k.bound into was_bound
    from auth.seal_keys as k
   where k.kid operator(pg_catalog.=) retired_kid
     and k.not_after operator(pg_catalog.>) current_timestamp;
  if was_bound is null then
    raise exception using
      errcode = '42704',
      message = 'there is no such key in use',
      hint = 'rowgate keys list shows all of them';
  end if;
  -- One that was to come is of no use to anybody.
  delete from auth.seal_keys as k
   where k.kid operator(pg_catalog.=) retired_kid
     and k.not_before operator(pg_catalog.>=) current_timestamp;
  update auth.seal_keys as k set not_after = current_timestamp
   where k.kid operator(pg_catalog.=) retired_kid;
  if exists (select from auth.seal_keys as k
              where k.bound operator(pg_catalog.=) was_bound
                and k.not_before operator(pg_catalog.<=) current_timestamp
                and k.not_after operator(pg_catalog.>) current_timestamp) then
    return null;
  end if;
  return auth.add_seal_key(current_timestamp, was_bound);
end
$body$;

comment on function auth.rotate_seal_key(interval, interval, bool) is 'Used by rowgate keys rotate.';
comment on function auth.retire_seal_key(text) is 'Used by rowgate keys retire.';

revoke all on function auth.add_seal_key(timestamptz, bool),
  auth.rotate_seal_key(interval, interval, bool), auth.retire_seal_key(text) from public;
do $grant$
begin
  execute pg_catalog.format(
    'grant execute on function auth.rotate_seal_key(interval, interval, bool), '
    'auth.retire_seal_key(text) to %I',
    pg_catalog.current_setting('rowgate.migrating_owner'));
end
$grant$;

-- The verification of V3, whose comments hold here as well, with the one difference that a key that is
-- not bound seals for the backend 0.
do $replace$
declare
  body constant text := $body$
declare
  claims pg_catalog.text := pg_catalog.current_setting('request.jwt.claims', true);
  seal pg_catalog.text := pg_catalog.current_setting('rowgate.seal', true);
  genuine pg_catalog.bool;
begin
  select pg_catalog.sha256(pg_catalog.convert_to(
           pg_catalog.encode(
             pg_catalog.sha256(k.opad operator(pg_catalog.||)
               pg_catalog.sha256(k.ipad operator(pg_catalog.||)
                 pg_catalog.convert_to(
                   case when k.bound then pg_catalog.pg_backend_pid() else 0 end::pg_catalog.text
                     operator(pg_catalog.||) pg_catalog.substr(seal, 65)
                     operator(pg_catalog.||) claims,
                   'UTF8'))),
             'hex')
           operator(pg_catalog.||) '.' operator(pg_catalog.||) k.kid
           operator(pg_catalog.||) '.' operator(pg_catalog.||) pg_catalog.right(seal, 10),
           'UTF8'))
         operator(pg_catalog.=) pg_catalog.sha256(pg_catalog.convert_to(seal, 'UTF8'))
         and pg_catalog.right(seal, 10)
           operator(pg_catalog.>)
             pg_catalog.date_part('epoch', current_timestamp)
               ::pg_catalog.int8::pg_catalog.text collate pg_catalog."C"
    into genuine
    from auth.seal_keys as k
   where k.kid operator(pg_catalog.=) pg_catalog.split_part(seal, '.', 2)
     and k.not_before operator(pg_catalog.<=) current_timestamp
     and k.not_after operator(pg_catalog.>) current_timestamp;
  if genuine then
    return %result;
  end if;
  -- A setting that was local to a transaction reads '' afterwards, not null.
  if (claims is null or claims operator(pg_catalog.=) '')
     and (seal is null or seal operator(pg_catalog.=) '') then
    return null;
  end if;
  raise exception using
    errcode = '28000',
    message = 'the claims of this request are not sealed',
    hint = 'Only a gateway sets request.jwt.claims, for one request on one connection.';
end
$body$;
  made record;
begin
  for made in
    select * from (values
      ('session', 'jsonb', 'claims::pg_catalog.jsonb'),
      ('jwt', 'jsonb', 'claims::pg_catalog.jsonb'),
      ('user_id', 'text', 'claims::pg_catalog.jsonb operator(pg_catalog.->>) ''sub''')
    ) as functions (name, type, result)
  loop
    -- Keeps its owner and to whom it was granted.
    execute pg_catalog.format(
      'create or replace function auth.%I() returns pg_catalog.%I '
      'language plpgsql stable parallel restricted security definer as %L',
      made.name, made.type, pg_catalog.replace(body, '%result', made.result));
  end loop;
end
$replace$;

reset role;
revoke create on schema auth from rowgate_sealer;
revoke rowgate_sealer from current_user;
