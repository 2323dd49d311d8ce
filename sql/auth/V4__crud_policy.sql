-- auth.crud_policy(table, role, read, modify): the usual policies of one role on one table.
--
--   select auth.crud_policy('todos', 'authenticated',
--                           read => '(select auth.user_id()) = user_id',
--                           modify => '(select auth.user_id()) = user_id');
--   select auth.crud_policy('todos', 'anonymous', read => 'is_complete', modify => false);
--
-- enables row level security on the table and makes
--
--   crud_<role>_select   for select  using (read)
--   crud_<role>_insert   for insert  with check (modify)
--   crud_<role>_update   for update  using (modify) with check (modify)
--   crud_<role>_delete   for delete  using (modify)
--
-- `read` and `modify` are each `true` (every row), `false` (no row), an expression over the table's
-- columns, or null (no such policy). Calling it again replaces what it made before for this table
-- and role. Privileges are not its business: without a grant, no policy is ever looked at.
--
-- It has no rights of its own and belongs to the role that migrates, which alone may call it; the
-- expressions are that role's SQL, and names in them are looked up as in `create policy`: by the
-- search path of the caller. All names in the bodies below are qualified, so that nothing which the
-- search path finds first can stand in for them.

create function auth.crud_policy(
  table_name pg_catalog.regclass, role_name pg_catalog.name,
  read pg_catalog.text, modify pg_catalog.text
) returns void
language plpgsql volatile parallel unsafe security invoker as $body$
declare
  target pg_catalog.text;
  grantee pg_catalog.text;
  made record;
begin
  if table_name is null or role_name is null then
    raise exception using
      errcode = '22004',
      message = 'auth.crud_policy needs a table and a role',
      hint = 'select auth.crud_policy(''todos'', ''authenticated'', true, false)';
  end if;
  select pg_catalog.format('%I.%I', n.nspname, c.relname) into target
    from pg_catalog.pg_class as c
    join pg_catalog.pg_namespace as n on n.oid operator(pg_catalog.=) c.relnamespace
   where c.oid operator(pg_catalog.=) table_name;
  grantee := case when role_name operator(pg_catalog.=) 'public' then 'public'
                  else pg_catalog.format('%I', role_name) end;
  execute pg_catalog.format('alter table %s enable row level security', target);
  for made in
    select pg_catalog.concat('crud_', role_name, '_', commands.name) as policy, commands.*
      from (values
        ('select', case when read is not null then pg_catalog.format(E'using (%s\n)', read) end),
        ('insert', case when modify is not null then pg_catalog.format(E'with check (%s\n)', modify) end),
        ('update', case when modify is not null then
                     pg_catalog.format(E'using (%s\n) with check (%s\n)', modify, modify) end),
        ('delete', case when modify is not null then pg_catalog.format(E'using (%s\n)', modify) end)
      ) as commands (name, condition)
  loop
    -- Cut off to the length of a name, two policies could become one.
    if pg_catalog.octet_length(made.policy) operator(pg_catalog.>) 63 then
      raise exception using
        errcode = '42622',
        message = pg_catalog.format('"%s" is too long for the name of a policy', made.policy),
        hint = 'Write the policies of a role with so long a name with "create policy".';
    end if;
    if exists (select from pg_catalog.pg_policy as p
                where p.polrelid operator(pg_catalog.=) table_name::pg_catalog.oid
                  and p.polname operator(pg_catalog.=) made.policy::pg_catalog.name) then
      execute pg_catalog.format('drop policy %I on %s', made.policy, target);
    end if;
    if made.condition is not null then
      execute pg_catalog.format('create policy %I on %s for %s to %s %s',
                                made.policy, target, made.name, grantee, made.condition);
    end if;
  end loop;
end
$body$;

-- An expression is text, `true` and `false` need no quotes; hence one function for each mixture.
do $create$
declare
  mixture record;
begin
  for mixture in
    select * from (values ('bool', 'bool'), ('bool', 'text'), ('text', 'bool')) as types (read, modify)
  loop
    execute pg_catalog.format(
      'create function auth.crud_policy('
      '  table_name pg_catalog.regclass, role_name pg_catalog.name,'
      '  read pg_catalog.%I, modify pg_catalog.%I) returns void '
      'language sql volatile parallel unsafe security invoker as '
      '$sql$ select auth.crud_policy($1, $2, $3::pg_catalog.text, $4::pg_catalog.text) $sql$',
      mixture.read, mixture.modify);
  end loop;
end
$create$;

do $secure$
declare
  made pg_catalog.regprocedure;
begin
  for made in
    select p.oid from pg_catalog.pg_proc as p
     where p.pronamespace = 'auth'::pg_catalog.regnamespace and p.proname = 'crud_policy'
  loop
    execute pg_catalog.format('revoke all on function %s from public', made);
    execute pg_catalog.format(
      'comment on function %s is %L', made,
      'The usual policies of a role on a table: crud_<role>_select, _insert, _update, _delete.');
  end loop;
end
$secure$;
