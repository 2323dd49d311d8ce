-- What users may do with `user_messages`, as tests. How such a file works: todos.sql.

-- given: one message of each of two users
truncate user_messages;
insert into user_messages (user_id, message) values ('alice', 'hello'), ('bob', 'bye');

-- test: alice sees her own message and no other
-- as: alice
select user_id, message from user_messages;
-- returns: {"user_id": "alice", "message": "hello"}

-- test: without a token nobody sees any message
-- anonymous
select * from user_messages;
-- rows: 0

-- test: a message belongs to its author
-- as: carol
insert into user_messages (message) values ('hi') returning user_id;
-- returns: {"user_id": "carol"}

-- test: carol writes no message in dave's name
-- as: carol
insert into user_messages (user_id, message) values ('dave', 'forged');
-- denied: 42501
-- message: row-level security

-- test: alice changes her own message and no other
-- as: alice
update user_messages set message = 'changed';
-- changes: 1

-- test: alice gives her message to nobody
-- as: alice
update user_messages set user_id = 'dave';
-- denied: 42501
-- message: row-level security

-- test: alice deletes her own message and no other
-- as: alice
delete from user_messages;
-- changes: 1

-- test: without a token nobody writes a message
-- anonymous
insert into user_messages (user_id, message) values ('dave', 'x');
-- denied: 42501
-- message: permission denied
