//! Policies with one thing changed: what a test suite that is worth something notices.

use serde::Serialize;
use tokio_postgres::{Row, Transaction};

use crate::policy::{PolicyError, api_roles};
use crate::show::is_own_rows;

const POLICIES: &str = include_str!("../../sql/internal/tested_policies.sql");

/// Tables with policies that somebody who calls may use at all.
const TABLES: &str = "\
    select c.oid::pg_catalog.regclass::text \
      from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid = c.relnamespace \
     where c.relrowsecurity and pg_catalog.pg_has_role(c.relowner, 'usage') \
       and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'auth', 'rowgate') \
       and exists (select from pg_catalog.pg_roles as r \
                    where r.rolname = any ($1::text[]) \
                      and (pg_catalog.has_table_privilege(r.oid, c.oid, 'select, insert, update, delete') \
                           or pg_catalog.has_any_column_privilege(r.oid, c.oid, 'select, insert, update'))) \
     order by 1";

/// A part of a policy's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Branch {
    /// USING lets a row through.
    RowLetThrough,
    /// USING keeps a row out.
    RowKeptOut,
    /// WITH CHECK accepts a row.
    WriteAccepted,
    /// WITH CHECK refuses a row.
    WriteRefused,
}

/// A policy or table with one thing changed.
#[derive(Clone, Debug)]
pub(super) struct Mutant {
    pub table: String,
    /// None: the table's switch.
    pub policy: Option<String>,
    /// What is different, in a few words.
    pub what: &'static str,
    /// What makes the difference.
    pub sql: String,
    /// The branch that is exercised if a test's statement has another outcome.
    pub branch: Option<Branch>,
    /// Whether a test must fail.
    pub is_judged: bool,
}

/// A change that no test could notice, and why.
#[derive(Clone, Debug, Serialize)]
pub struct Equivalent {
    /// The table.
    pub table: String,
    /// The policy.
    pub policy: String,
    /// What would be different.
    pub what: &'static str,
    /// Why nobody could tell.
    pub reason: String,
}

struct Policy {
    table: String,
    quoted: String,
    name: String,
    permissive: bool,
    command: String,
    roles: String,
    qual: Option<String>,
    check: Option<String>,
    others: Vec<String>,
}

impl From<&Row> for Policy {
    fn from(row: &Row) -> Self {
        Self {
            table: row.get("relation"),
            quoted: row.get("quoted"),
            name: row.get("name"),
            permissive: row.get("permissive"),
            command: row.get("command"),
            roles: row.get("roles"),
            qual: row.get("qual"),
            check: row.get("with_check"),
            others: row.get("others"),
        }
    }
}

/// All of them for the database as it is in `transaction`.
pub(super) async fn read(
    transaction: &Transaction<'_>,
) -> Result<(Vec<Mutant>, Vec<Equivalent>), PolicyError> {
    const DOING: &str = "reading the policies that are tested";
    let failed = || PolicyError::database(DOING);
    let roles = api_roles(transaction).await?;
    let sql = "set local search_path to pg_catalog";
    transaction.batch_execute(sql).await.map_err(failed())?;
    let schemas: Option<&[String]> = None;
    let rows = transaction.query(POLICIES, &[&schemas, &roles]).await.map_err(failed())?;
    let (mut mutants, mut equivalent) = (Vec::new(), Vec::new());
    for policy in rows.iter().map(Policy::from) {
        policy.mutants(&mut mutants, &mut equivalent);
    }
    let tables = transaction.query(TABLES, &[&roles]).await.map_err(failed())?;
    mutants.extend(tables.iter().map(|row| {
        let table: String = row.get(0);
        Mutant {
            sql: format!("alter table {table} disable row level security"),
            table,
            policy: None,
            what: "row level security off",
            branch: None,
            is_judged: true,
        }
    }));
    Ok((mutants, equivalent))
}

impl Policy {
    fn mutants(&self, mutants: &mut Vec<Mutant>, equivalent: &mut Vec<Equivalent>) {
        let altered = |how: String| format!("alter policy {} on {} {how}", self.quoted, self.table);
        let mut add = |what, sql, branch, is_judged| {
            let (table, policy) = (self.table.clone(), Some(self.name.clone()));
            mutants.push(Mutant { table, policy, what, sql, branch, is_judged });
        };
        if let Some(qual) = &self.qual {
            // What may be written stays as it is.
            let check = self.effective_check();
            let rest = check.map_or_else(String::new, |check| format!(" with check ({check})"));
            for (value, what, branch, judged) in [
                ("true", "USING → true", Branch::RowKeptOut, true),
                ("false", "USING → false", Branch::RowLetThrough, false),
            ] {
                if qual != value {
                    add(what, altered(format!("using ({value}){rest}")), Some(branch), judged);
                }
            }
        }
        if let Some(check) = self.effective_check() {
            for (value, what, branch, judged) in [
                ("true", "WITH CHECK → true", Branch::WriteRefused, true),
                ("false", "WITH CHECK → false", Branch::WriteAccepted, false),
            ] {
                if check != value {
                    add(what, altered(format!("with check ({value})")), Some(branch), judged);
                }
            }
        }
        if let (Some(qual), Some(check)) = (&self.qual, &self.check)
            && qual != check
        {
            add("WITH CHECK dropped", self.without_check(qual), None, true);
        }
        add("policy removed", format!("drop policy {} on {}", self.quoted, self.table), None, true);
        if self.permissive && self.roles != "public" {
            match self.nobody_else() {
                None => add("TO public", altered("to public".to_owned()), None, true),
                Some(reason) => equivalent.push(Equivalent {
                    table: self.table.clone(),
                    policy: self.name.clone(),
                    what: "TO public",
                    reason,
                }),
            }
        }
    }

    /// What rows that are written must fulfil; none where nothing is.
    fn effective_check(&self) -> Option<&str> {
        match self.command.as_str() {
            "select" | "delete" => None,
            "insert" => self.check.as_deref(),
            _ => self.check.as_deref().or(self.qual.as_deref()),
        }
    }

    fn without_check(&self, qual: &str) -> String {
        let Self { table, quoted, command, roles, .. } = self;
        let kind = if self.permissive { "permissive" } else { "restrictive" };
        format!(
            "drop policy {quoted} on {table}; \
             create policy {quoted} on {table} as {kind} for {command} to {roles} using ({qual})"
        )
    }

    /// Why it makes no difference whether the policy holds for everybody.
    fn nobody_else(&self) -> Option<String> {
        if self.others.is_empty() {
            return Some(format!(
                "no other role of requests has the privilege for {}",
                self.command
            ));
        }
        let own = |expression: &Option<String>| expression.as_deref().is_none_or(is_own_rows);
        if self.others == ["anonymous"] && own(&self.qual) && own(&self.check) {
            return Some("who has no token has no id, and so no rows of his own".to_owned());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(command: &str, qual: Option<&str>, check: Option<&str>) -> Policy {
        Policy {
            table: "public.t".to_owned(),
            quoted: "p".to_owned(),
            name: "p".to_owned(),
            permissive: true,
            command: command.to_owned(),
            roles: "authenticated".to_owned(),
            qual: qual.map(str::to_owned),
            check: check.map(str::to_owned),
            others: vec!["anonymous".to_owned()],
        }
    }

    fn judged(policy: &Policy) -> Vec<String> {
        let (mut mutants, mut equivalent) = (Vec::new(), Vec::new());
        policy.mutants(&mut mutants, &mut equivalent);
        mutants.into_iter().filter(|m| m.is_judged).map(|m| m.sql).collect()
    }

    #[test]
    fn each_half_of_a_policy_is_weakened_alone() {
        assert_eq!(
            judged(&policy("update", Some("mine"), None)),
            [
                "alter policy p on public.t using (true) with check (mine)",
                "alter policy p on public.t with check (true)",
                "drop policy p on public.t",
                "alter policy p on public.t to public",
            ]
        );
        let differing = judged(&policy("update", Some("mine"), Some("other")));
        assert!(
            differing[2].ends_with("as permissive for update to authenticated using (mine)"),
            "{differing:?}"
        );
        assert_eq!(
            judged(&policy("select", Some("true"), None)).len(),
            2,
            "true is as weak as can be"
        );
    }

    #[test]
    fn own_rows_of_nobody_are_none() {
        let own = "(( SELECT auth.user_id() AS user_id) = user_id)";
        assert!(policy("select", Some(own), None).nobody_else().is_some());
        assert!(policy("select", Some("is_public"), None).nobody_else().is_none());
        assert!(policy("all", Some(own), Some("true")).nobody_else().is_none());
    }
}
