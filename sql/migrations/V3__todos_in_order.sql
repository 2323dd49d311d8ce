-- A user's todos in the order of their ids. With `user_id` alone, `order by id limit 10` reads and sorts every row
-- of the user's to give ten of them; from this index it reads ten, however many there are (bench/DATABASE.md).
-- It serves the policies as well: what they compare, `user_id`, comes first.
create index todos_user_id_id_idx on todos (user_id, id);
drop index todos_user_id_idx;
