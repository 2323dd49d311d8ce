//! What policies, grants and row-level-security flags amount to in a database, and how two such
//! states differ. Only reads.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use tokio_postgres::{GenericClient, Transaction};

use super::error::PolicyError;

const STATE: &str = include_str!("../../sql/internal/state.sql");
const WARNINGS: &str = include_str!("../../sql/internal/warnings.sql");

/// So that names inside expressions are printed with their schemas, whoever asks.
const PLAIN_NAMES: &str = "set local search_path to pg_catalog";

const READING: &str = "reading policies and grants";

/// What a line of the state is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A policy of a table.
    Policy,
    /// Whether policies hold for a table, and for its owner.
    RowSecurity,
    /// A privilege of one of the API roles.
    Grant,
}

/// Kind, object and name; and for grants the privilege, so that each is a line of its own.
pub(super) type Key = (Kind, String, String, String);

/// A policy or flag that is not as it was, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The table, with its schema.
    pub table: String,
    /// The policy, or `row level security`.
    pub name: String,
    /// Its definition before; none: it is new.
    pub old: Option<String>,
    /// Its definition now; none: it is gone.
    pub new: Option<String>,
}

/// Grants made and taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GrantChanges {
    /// Privileges that are new.
    pub added: usize,
    /// Privileges that are gone.
    pub removed: usize,
}

/// The state at one moment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct State(BTreeMap<Key, String>);

impl State {
    /// One line of it.
    pub fn get(&self, key: &Key) -> Option<&String> {
        self.0.get(key)
    }

    /// What its lines are about.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.0.keys()
    }

    /// As it is kept in the history: a JSON array with an array for each line.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(&self.0.iter().collect::<Vec<_>>())
    }

    /// What [`Self::to_json`] wrote.
    pub fn from_json(text: &str) -> serde_json::Result<Self> {
        Ok(Self(serde_json::from_str::<Vec<(Key, String)>>(text)?.into_iter().collect()))
    }

    pub async fn read(
        transaction: &Transaction<'_>,
        schemas: Option<&[String]>,
    ) -> Result<Self, PolicyError> {
        let failed = PolicyError::database(READING);
        transaction.batch_execute(PLAIN_NAMES).await.map_err(failed)?;
        let failed = PolicyError::database(READING);
        let roles = api_roles(transaction).await?;
        let rows = transaction.query(STATE, &[&schemas, &roles]).await.map_err(failed)?;
        let lines = rows.iter().map(|row| {
            let kind = match row.get(0) {
                "policy" => Kind::Policy,
                "rls" => Kind::RowSecurity,
                _ => Kind::Grant,
            };
            let definition: String = row.get(3);
            let privilege = if kind == Kind::Grant { definition.clone() } else { String::new() };
            ((kind, row.get(1), row.get(2), privilege), definition)
        });
        Ok(Self(lines.collect()))
    }

    /// A hash of everything in it, in hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        let mut context = digest::Context::new(&digest::SHA256);
        for ((kind, object, name, _), definition) in &self.0 {
            let kind = format!("{kind:?}");
            for text in [&kind, object, name, definition] {
                context.update(&(text.len() as u64).to_be_bytes());
                context.update(text.as_bytes());
            }
        }
        hex::encode(context.finish())
    }

    /// Policies and flags that differ in `later`.
    pub fn changes(&self, later: &Self) -> Vec<Change> {
        let mut keys: Vec<&Key> = self.0.keys().chain(later.0.keys()).collect();
        keys.sort_by_key(|(kind, table, name, _)| (table, *kind != Kind::RowSecurity, name));
        keys.dedup();
        keys.into_iter()
            .filter(|key| key.0 != Kind::Grant && self.0.get(*key) != later.0.get(*key))
            .map(|key| Change {
                table: key.1.clone(),
                name: key.2.clone(),
                old: self.0.get(key).cloned(),
                new: later.0.get(key).cloned(),
            })
            .collect()
    }

    /// How many privileges differ in `later`.
    pub fn grant_changes(&self, later: &Self) -> GrantChanges {
        let missing_in = |one: &Self, other: &Self| {
            let grants = one.0.keys().filter(|key| key.0 == Kind::Grant);
            grants.filter(|key| !other.0.contains_key(*key)).count()
        };
        GrantChanges { added: missing_in(later, self), removed: missing_in(self, later) }
    }
}

/// The roles that requests run as: the two that every database has, and those of `auth.api_roles`, which
/// one that was migrated by an older version does not have.
///
/// # Errors
///
/// The database refuses.
pub async fn api_roles(client: &impl GenericClient) -> Result<Vec<String>, PolicyError> {
    const DOING: &str = "reading auth.api_roles";
    const IS_THERE: &str = "select pg_catalog.to_regclass('auth.api_roles') is not null";
    // One that was dropped has nothing any more.
    const NAMES: &str = "select r.rolname::pg_catalog.text \
                           from auth.api_roles as a join pg_catalog.pg_roles as r on r.rolname = a.role_name \
                          order by 1";
    let mut roles = vec!["authenticated".to_owned(), "anonymous".to_owned()];
    let row = client.query_one(IS_THERE, &[]).await.map_err(PolicyError::database(DOING))?;
    if row.get(0) {
        let rows = client.query(NAMES, &[]).await.map_err(PolicyError::database(DOING))?;
        roles.extend(rows.iter().map(|row| row.get::<_, String>(0)));
    }
    Ok(roles)
}

/// What callers may do although no policy guards it, one sentence each.
pub(super) async fn warnings(
    transaction: &Transaction<'_>,
    schemas: Option<&[String]>,
) -> Result<Vec<String>, PolicyError> {
    let failed = PolicyError::database(READING);
    let roles = api_roles(transaction).await?;
    let rows = transaction.query(WARNINGS, &[&schemas, &roles]).await.map_err(failed)?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
