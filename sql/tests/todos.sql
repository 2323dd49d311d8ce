-- What users may do with `todos`, as tests: `rowgate policies test` runs them as these users, with the policies and
-- grants of the files beside it, and undoes everything. `--mutate` weakens each policy in turn and tells
-- which of them no test here would miss. How such a file works: docs/policy-tests.md.
--
-- Write statements without a `where` that chooses the caller's rows: the policy is to choose them.

-- given: rows of two users, and nothing that was in the table before
truncate todos restart identity cascade;
insert into todos (user_id, task, is_complete) values
  ('alice', 'write', false),
  ('alice', 'test', true),
  ('bob', 'read', true);

-- test: alice sees her own todos and no others
-- as: alice
select user_id, task from todos order by task;
-- returns:
--  user_id | task
-- ---------+-------
--  alice   | test
--  alice   | write

-- test: a user without todos sees none
-- as: carol
select * from todos;
-- rows: 0

-- test: without a token nobody sees any
-- anonymous
select * from todos;
-- rows: 0

-- test: a new todo belongs to its author
-- as: bob
insert into todos (task) values ('rest') returning user_id;
-- returns: {"user_id": "bob"}

-- test: bob writes no todos in alice's name
-- as: bob
insert into todos (user_id, task) values ('alice', 'pay bob');
-- denied: 42501
-- message: row-level security

-- test: bob changes his own todos and no others
-- as: bob
update todos set is_complete = true;
-- changes: 1

-- test: bob gives no todo away
-- as: bob
update todos set user_id = 'alice';
-- denied: 42501
-- message: row-level security

-- test: bob deletes his own todos and no others
-- as: bob
delete from todos;
-- changes: 1

-- test: without a token nobody adds a todo
-- anonymous
insert into todos (user_id, task) values ('alice', 'x');
-- denied: 42501
-- message: permission denied

-- test: nobody empties the table
-- as: alice
truncate todos;
-- denied: 42501
