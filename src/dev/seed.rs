//! A few rows, so that the first `select` shows something.
//!
//! Must only ever be used on the private cluster, and once.

use tokio_postgres::Client;

use super::database::DatabaseError;

/// Nothing happens where the project has other tables, or rows already.
const SEED: &str = "
insert into public.todos (user_id, task, is_complete)
select sample.user_id, sample.task, sample.is_complete
from (values
    ('alice', 'Read sql/policies/todos.sql', true),
    ('alice', 'Add a policy and save the file', false),
    ('bob', 'Ask alice what she has done', false)
) as sample (user_id, task, is_complete)
where not exists (select from public.todos)";

/// Whether the sample table is there, with the columns that it comes with.
const HAS_TODOS: &str = "
select count(*) = 3
from pg_catalog.pg_attribute
where attrelid = pg_catalog.to_regclass('public.todos')
  and attname in ('user_id', 'task', 'is_complete')
  and not attisdropped";

/// Adds todos for alice and bob. `client` must not be subject to policies.
pub(super) async fn seed(client: &Client) -> Result<(), DatabaseError> {
    if client.query_one(HAS_TODOS, &[]).await?.get(0) {
        client.batch_execute(SEED).await?;
    }
    Ok(())
}
