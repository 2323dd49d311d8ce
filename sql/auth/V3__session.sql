-- auth.session(), auth.jwt(), auth.user_id(), auth.uid(): who is asking.
--
-- The gateway puts two settings into the transaction of each request:
--
--   request.jwt.claims   the verified claims as JSON text, an object in ASCII
--   rowgate.seal         <hmac as 64 hex digits>.<kid>.<exp>
--   hmac               = HMAC-SHA256(key[kid], <backend's pid>.<kid>.<exp><claims>)
--
-- A caller may run `set_config`, but cannot compute the hmac. The pid makes a seal worthless on
-- any other connection, exp (seconds since 1970) a moment after the request.
--
-- Neither setting is there: null, there is no request. Anything else that is not a good seal of
-- exactly these claims: an exception with SQLSTATE 28000.
--
-- What the body of a function here must keep to, because the caller chooses the session's settings
-- and may create objects of his own:
--   * every function, operator, type and collation is schema-qualified, and no `set search_path`
--     clause is used: it would cost as much as a fourth of the whole function;
--   * the key stays a column inside one statement and never becomes a variable;
--   * no backslash, no reliance on DateStyle, TimeZone, bytea_output or the like;
--   * before the hmac has been verified, nothing is cast that could fail with another SQLSTATE;
--   * the comparison is blinded: the caller may take times, and learns about hashes only.

grant rowgate_sealer to current_user;
grant usage, create on schema auth to rowgate_sealer;
select pg_catalog.set_config('rowgate.migrating_owner', current_user, true);
set local role rowgate_sealer;

-- Three functions with the same body and different results: calling one from the other would cost
-- each request a function call more.
do $create$
declare
  body constant text := $body$
declare
  claims pg_catalog.text := pg_catalog.current_setting('request.jwt.claims', true);
  seal pg_catalog.text := pg_catalog.current_setting('rowgate.seal', true);
  genuine pg_catalog.bool;
begin
  -- The seal as it must read, compared with the seal as it reads. The hmac is over what follows the
  -- 64 digits; that this is '.<kid>.<exp>' and nothing else is part of what is compared. exp is the
  -- last ten digits (until the year 2286), so that its boundary with the claims cannot be moved,
  -- and can be compared as text.
  select pg_catalog.sha256(pg_catalog.convert_to(
           pg_catalog.encode(
             pg_catalog.sha256(k.opad operator(pg_catalog.||)
               pg_catalog.sha256(k.ipad operator(pg_catalog.||)
                 pg_catalog.convert_to(
                   pg_catalog.pg_backend_pid()::pg_catalog.text
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
    execute pg_catalog.format(
      'create function auth.%I() returns pg_catalog.%I '
      'language plpgsql stable parallel restricted security definer as %L',
      made.name, made.type, pg_catalog.replace(body, '%result', made.result));
  end loop;
end
$create$;

-- Needs no rights of its own. A regular expression rather than an exception handler: that would
-- need a subtransaction, which parallel plans do not allow.
create function auth.uid() returns pg_catalog.uuid
language plpgsql stable parallel restricted security invoker as $body$
declare
  sub pg_catalog.text := auth.user_id();
begin
  if sub operator(pg_catalog.~*) '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'
       collate pg_catalog."C" then
    return sub::pg_catalog.uuid;
  end if;
  return null;
end
$body$;

comment on function auth.session() is 'The verified claims of the current request; null outside of one.';
comment on function auth.jwt() is 'The same as auth.session().';
comment on function auth.user_id() is 'The claim sub of the current request; null outside of one.';
comment on function auth.uid() is 'The claim sub of the current request as uuid; null if it is none.';

revoke all on function auth.session(), auth.jwt(), auth.user_id(), auth.uid() from public;
grant execute on function auth.session(), auth.jwt(), auth.user_id(), auth.uid()
  to authenticated, anonymous;
-- Column defaults of the application's tables call them as well, when their owner inserts.
do $grant$
begin
  execute pg_catalog.format(
    'grant execute on function auth.session(), auth.jwt(), auth.user_id(), auth.uid() to %I',
    pg_catalog.current_setting('rowgate.migrating_owner'));
end
$grant$;

reset role;
revoke create on schema auth from rowgate_sealer;
revoke rowgate_sealer from current_user;

revoke all on schema auth from public;
grant usage on schema auth to authenticated, anonymous;
