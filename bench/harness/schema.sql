-- The table that bench/run measures with, for another server's database: as Rowgate's sample has it, with the same rows,
-- index and policies. Printed by `bench/run --schema`; run it as the database's owner, once.
--
-- Policies ask auth.user_id(). If the database has no such function yet, one is made that reads the claims where PostgREST
-- and others put them; replace it if your server keeps them elsewhere. Your server must run requests as `authenticated`.

do $roles$
begin
  if to_regrole('authenticated') is null then create role authenticated nologin; end if;
  if to_regrole('anonymous') is null then create role anonymous nologin; end if;
end
$roles$;

create schema if not exists auth;
grant usage on schema auth to authenticated, anonymous;

do $user_id$
begin
  if to_regprocedure('auth.user_id()') is null then
    create function auth.user_id() returns text language sql stable
      as $body$ select nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub' $body$;
    grant execute on function auth.user_id() to authenticated, anonymous;
  end if;
end
$user_id$;

