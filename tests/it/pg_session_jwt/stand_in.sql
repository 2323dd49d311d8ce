-- A stand-in for the extension pg_session_jwt, for servers that do not have it: the same functions and
-- settings, written for these tests in SQL and PL/pgSQL, as members of an extension of that name. It checks
-- what the extension checks, signatures (Ed25519, RFC 8032) included, at a thousandth of its speed.
--
-- What it cannot do: keep the last jti where a caller's SQL and a rollback do not reach it, and forbid
-- callers to set the key after the start. Run as a superuser.

create schema auth;
create schema stand_in;

-- The field's prime, 2^255 - 19.
create function stand_in.p() returns numeric language sql immutable
return 57896044618658097711785492504343953926634992332820282019728792003956564819949;

-- A number whose bytes come the lowest first.
create function stand_in.number(bytes bytea) returns numeric language plpgsql immutable as $$
declare
  n numeric := 0;
begin
  for i in reverse octet_length(bytes) - 1 .. 0 loop
    n := n * 256 + get_byte(bytes, i);
  end loop;
  return n;
end $$;

create function stand_in.power(base numeric, exponent numeric) returns numeric
language plpgsql immutable as $$
declare
  p constant numeric := stand_in.p();
  result numeric := 1;
begin
  while exponent > 0 loop
    if exponent % 2 = 1 then
      result := result * base % p;
    end if;
    base := base * base % p;
    exponent := div(exponent, 2);
  end loop;
  return result;
end $$;

-- The bits of a number below 2^253, the lowest first.
create function stand_in.bits(n numeric) returns int[] language plpgsql immutable as $$
declare
  bits int[] := '{}';
begin
  for i in 1 .. 253 loop
    bits := bits || (n % 2)::int;
    n := div(n, 2);
  end loop;
  return bits;
end $$;

-- A point as {X, Y, Z, T}; null if these 32 bytes are none (section 5.1.3).
create function stand_in.point(bytes bytea) returns numeric[] language plpgsql immutable as $$
declare
  p constant numeric := stand_in.p();
  d constant numeric := 37095705934669439343138083508754565189542113879843219016388785533085940283555;
  root constant numeric := 19681161376707505956807079304988542015446066515923890162744021073123829784752;
  odd constant int := get_byte(bytes, 31) / 128;
  y constant numeric := stand_in.number(set_byte(bytes, 31, get_byte(bytes, 31) % 128));
  u constant numeric := (y * y + p - 1) % p;
  v constant numeric := (d * y * y + 1) % p;
  x numeric;
begin
  x := u * stand_in.power(v, 3) * stand_in.power(u * stand_in.power(v, 7), div(p - 5, 8)) % p;
  if v * x * x % p = (p - u) % p then
    x := x * root % p;
  end if;
  if v * x * x % p <> u then
    return null;
  end if;
  if x % 2 <> odd then
    x := p - x;
  end if;
  return array[x, y, 1, x * y % p];
end $$;

-- The sum of two points, which may be the same (section 5.1.4).
create function stand_in.sum(one numeric[], two numeric[]) returns numeric[]
language plpgsql immutable as $$
declare
  p constant numeric := stand_in.p();
  d constant numeric := 37095705934669439343138083508754565189542113879843219016388785533085940283555;
  a constant numeric := (one[2] - one[1] + p) * (two[2] - two[1] + p) % p;
  b constant numeric := (one[2] + one[1]) * (two[2] + two[1]) % p;
  c constant numeric := 2 * d * one[4] % p * two[4] % p;
  e constant numeric := 2 * one[3] * two[3] % p;
begin
  return array[(b - a + p) * (e - c + p) % p, (e + c) * (b + a) % p,
               (e - c + p) * (e + c) % p, (b - a + p) * (b + a) % p];
end $$;

-- Whether the signature of the message is good under the public key (section 5.1.7).
create function stand_in.verifies(key bytea, message bytea, signature bytea) returns bool
language plpgsql immutable as $$
declare
  p constant numeric := stand_in.p();
  l constant numeric := 7237005577332262213973186563042994240857116359379907606001950938285454250989;
  base constant numeric[] := array[
    15112221349535400772501151409588531511454012693041857206046113283949847762202,
    46316835694926478169428394003475163141307993866256225615783033603165251855960, 1,
    15112221349535400772501151409588531511454012693041857206046113283949847762202
      * 46316835694926478169428394003475163141307993866256225615783033603165251855960 % p];
  a numeric[] := stand_in.point(key);
  r constant numeric[] := stand_in.point(substr(signature, 1, 32));
  s constant numeric := stand_in.number(substr(signature, 33));
  s_bits int[];
  k_bits int[];
  found numeric[] := array[0, 1, 1, 0];
begin
  if a is null or r is null or s >= l then
    return false;
  end if;
  -- [s]base must be r + [k]a: both are added up at once, with -a.
  a := array[(p - a[1]) % p, a[2], 1, (p - a[4]) % p];
  s_bits := stand_in.bits(s);
  k_bits := stand_in.bits(stand_in.number(sha512(substr(signature, 1, 32) || key || message)) % l);
  for i in reverse 253 .. 1 loop
    found := stand_in.sum(found, found);
    if s_bits[i] = 1 then
      found := stand_in.sum(found, base);
    end if;
    if k_bits[i] = 1 then
      found := stand_in.sum(found, a);
    end if;
  end loop;
  return (found[1] - r[1] * found[3]) % p = 0 and (found[2] - r[2] * found[3]) % p = 0;
end $$;

create function stand_in.bytes(base64url text) returns bytea language sql immutable
return decode(translate(base64url, '-_', '+/') || repeat('=', -length(base64url) & 3), 'base64');

create function stand_in.setting(name text) returns text language sql stable
return nullif(current_setting(name, true), '');

-- The public key of this session.
create function stand_in.key() returns bytea language plpgsql stable as $$
declare
  jwk constant jsonb := stand_in.setting('pg_session_jwt.jwk')::jsonb;
begin
  if jwk is null then
    raise exception using errcode = '02000', message = 'stand-in: there is no pg_session_jwt.jwk';
  end if;
  if jwk ->> 'kty' <> 'OKP' or jwk ->> 'crv' <> 'Ed25519'
     or octet_length(stand_in.bytes(jwk ->> 'x')) is distinct from 32 then
    raise exception using errcode = '42804', message = 'stand-in: the key is no Ed25519 key';
  end if;
  return stand_in.bytes(jwk ->> 'x');
end $$;

create function auth.init() returns void language plpgsql as $$
begin
  perform stand_in.key();
end $$;

create function auth.session() returns jsonb language plpgsql stable as $$
declare
  jwt constant text := stand_in.setting('pg_session_jwt.jwt');
  parts constant text[] := string_to_array(jwt, '.');
  claims jsonb;
begin
  -- As the extension does from version 0.3 on.
  if stand_in.setting('pg_session_jwt.jwk') is null then
    return coalesce(stand_in.setting('request.jwt.claims')::jsonb, 'null');
  end if;
  if jwt is null then
    return 'null';
  end if;
  if cardinality(parts) <> 3 then
    raise exception using errcode = '42804', message = 'stand-in: no JWT';
  end if;
  claims := convert_from(stand_in.bytes(parts[2]), 'UTF8')::jsonb;
  -- What was verified before is believed as long as it is the last.
  if jwt is not distinct from stand_in.setting('stand_in.jwt') then
    return claims;
  end if;
  if not stand_in.verifies(stand_in.key(), convert_to(parts[1] || '.' || parts[2], 'UTF8'),
                           stand_in.bytes(parts[3])) then
    raise exception using errcode = '23514', message = 'stand-in: bad signature';
  end if;
  if jsonb_typeof(claims -> 'jti') is distinct from 'number'
     or (claims ->> 'jti')::int8 <= coalesce(stand_in.setting('stand_in.jti')::int8, 0) then
    raise exception using errcode = '23514', message = 'stand-in: jti does not rise';
  end if;
  if (claims ->> 'exp')::int8 + 60 < extract(epoch from now())
     or (claims ->> 'nbf')::int8 > extract(epoch from now()) + 60 then
    raise exception using errcode = '23514', message = 'stand-in: not now';
  end if;
  perform set_config('stand_in.jti', claims ->> 'jti', false), set_config('stand_in.jwt', jwt, false);
  return claims;
end $$;

create function auth.user_id() returns text language sql stable
return auth.session() ->> 'sub';

create function auth.jwt_session_init(jwt text) returns void language plpgsql as $$
begin
  perform set_config('pg_session_jwt.jwt', jwt, false), auth.session();
end $$;

-- All of it becomes an extension's. `create extension` would need files in a directory that belongs to root.
insert into pg_catalog.pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
select pg_catalog.pg_nextoid('pg_catalog.pg_extension', 'oid', 'pg_catalog.pg_extension_oid_index'),
       'pg_session_jwt', r.oid, 'public'::regnamespace, false, 'stand-in'
  from pg_catalog.pg_roles as r where r.rolname = current_user;

do $$
declare
  member text;
begin
  for member in
    select p.oid::regprocedure::text from pg_catalog.pg_proc as p
     where p.pronamespace in ('auth'::regnamespace, 'stand_in'::regnamespace)
  loop
    execute format('alter extension pg_session_jwt add function %s', member);
  end loop;
end $$;
alter extension pg_session_jwt add schema auth;
alter extension pg_session_jwt add schema stand_in;
grant usage on schema stand_in to public;
