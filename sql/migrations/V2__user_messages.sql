-- One message of each user. The primary key is also the index that the policies use.
create table user_messages (
  user_id   text primary key default auth.user_id(),
  create_ts timestamp not null default now(),
  message   text not null
);
