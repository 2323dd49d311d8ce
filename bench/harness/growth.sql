-- Tables for bench/growth, beside the sample's: the same columns, index and policy, and more or fewer users, rows and
-- policies. Run as the superuser, once, with psql's variables `users`, `policies` (lists with commas) and `rows`.
select pg_catalog.set_config('growth.users', :'users', false),
       pg_catalog.set_config('growth.policies', :'policies', false),
       pg_catalog.set_config('growth.rows', :'rows', false) \g /dev/null

do $make$
declare
  number text;
  made text;
begin
  -- A hundred rows of each user.
  foreach number in array pg_catalog.string_to_array(pg_catalog.current_setting('growth.users'), ',') loop
    made := 'users_' || number;
    execute pg_catalog.format('create table %I (like todos including all)', made);
    execute pg_catalog.format(
      'insert into %I (user_id, task) select ''user'' || i %% %s, ''task number '' || i '
      'from pg_catalog.generate_series(1, 100 * %s) as i', made, number, number);
    execute pg_catalog.format('create policy p1 on %I for select to authenticated '
      'using ((select auth.user_id()) = user_id)', made);
  end loop;

  -- A thousand users, and so many policies that come to the same. Each is written a little differently: PostgreSQL
  -- takes expressions that are equal for one.
  foreach number in array pg_catalog.string_to_array(pg_catalog.current_setting('growth.policies'), ',') loop
    made := 'policies_' || number;
    execute pg_catalog.format('create table %I (like todos including all)', made);
    execute pg_catalog.format('insert into %I select * from todos', made);
    for policy in 1 .. number::int loop
      execute pg_catalog.format('create policy %I on %I for select to authenticated '
        'using ((select auth.user_id()) = user_id and id > %s)', 'p' || policy, made, -policy);
    end loop;
  end loop;

  -- One user with many rows.
  create table many_rows (like todos including all);
  insert into many_rows (user_id, task)
  select 'user1', 'task number ' || i
  from pg_catalog.generate_series(1, pg_catalog.current_setting('growth.rows')::int) as i;
  create policy p1 on many_rows for select to authenticated using ((select auth.user_id()) = user_id);

  for made in
    select c.relname from pg_catalog.pg_class as c
     where c.relnamespace = 'public'::pg_catalog.regnamespace and c.relkind = 'r'
       and c.relname ~ '^(users_|policies_|many_rows)'
  loop
    execute pg_catalog.format('alter table %I enable row level security', made);
    execute pg_catalog.format('grant select on %I to authenticated', made);
  end loop;
end
$make$;

vacuum analyze;
