//! What rules look at: relations with their columns, indexes, policies and privileges, functions, roles,
//! defaults. Read from the catalogue of one transaction.
//!
//! Must never read a row of the application's, nor lock more than reading does.

#![allow(clippy::struct_excessive_bools, reason = "attributes, as the catalogue has them")]

use std::collections::{HashMap, HashSet};

use tokio_postgres::{Row, Transaction};

use super::LintError;
use super::tree::{self, Expr};
use crate::policy;

const COMMON: &str = include_str!("../../sql/lint/common.sql");

/// Names are then printed with their schemas, whoever asks.
const PLAIN_NAMES: &str = "set local search_path to pg_catalog, pg_temp";

/// A query of `sql/lint`, after what all of them begin with.
macro_rules! query {
    ($name:literal) => {
        include_str!(concat!("../../sql/lint/", $name, ".sql"))
    };
}

/// What a role may do with a relation whose schema it may use.
#[derive(Debug)]
pub struct Access {
    /// The role that requests run as.
    pub role: String,
    /// Privileges on the whole, in lower case.
    pub of_table: Vec<String>,
    /// Privileges on at least one column.
    pub of_columns: Vec<String>,
}

impl Access {
    /// Whether the privilege is there, be it for one column.
    #[must_use]
    pub fn has(&self, privilege: &str) -> bool {
        self.of_table.iter().chain(&self.of_columns).any(|one| one == privilege)
    }
}

/// A column.
#[derive(Debug)]
pub struct Column {
    /// Its number in the table.
    pub number: i16,
    /// Its name.
    pub name: String,
    /// Its name as SQL wants it.
    pub sql: String,
    /// Its type in words.
    pub type_name: String,
    /// Whether it refuses nulls.
    pub not_null: bool,
    /// Whether it has a default or an identity.
    pub has_default: bool,
    /// The API roles that may read it.
    pub readers: Vec<String>,
}

/// An index.
#[derive(Debug)]
pub struct Index {
    /// Its name as SQL wants it.
    pub sql: String,
    /// Whether it keeps values apart.
    pub is_unique: bool,
    /// Whether it belongs to the primary key.
    pub is_primary: bool,
    /// The numbers of its columns; 0 stands for an expression.
    pub keys: Vec<i16>,
    /// What is indexed, in words.
    pub expressions: Vec<String>,
    /// Whether it leaves rows out.
    pub is_partial: bool,
    /// Whether a condition that a caller writes may use it on a table with policies.
    pub is_leakproof: bool,
    /// The operator class of its first column.
    pub operators: String,
}

/// A policy.
#[derive(Debug)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Its name as SQL wants it.
    pub sql: String,
    /// `select`, `insert`, `update`, `delete` or `all`.
    pub command: String,
    /// Whether it adds rows (or else takes some away).
    pub is_permissive: bool,
    /// Whom it is for; `public` stands for everybody.
    pub roles: Vec<String>,
    /// USING, as `PostgreSQL` prints it.
    pub using_text: Option<String>,
    /// WITH CHECK, as `PostgreSQL` prints it.
    pub check_text: Option<String>,
    /// USING as a tree.
    pub using: Option<Expr>,
    /// WITH CHECK as a tree.
    pub check: Option<Expr>,
}

impl Policy {
    /// Whether it has a say in this command.
    #[must_use]
    pub fn concerns(&self, command: &str) -> bool {
        self.command == command || self.command == "all"
    }

    /// Its conditions, with the clause that each stands in.
    pub fn conditions(&self) -> impl Iterator<Item = (&'static str, &Expr, &str)> {
        let using = self.using.as_ref().zip(self.using_text.as_deref());
        let check = self.check.as_ref().zip(self.check_text.as_deref());
        let using = using.map(|(tree, text)| ("using", tree, text));
        using.into_iter().chain(check.map(|(tree, text)| ("with check", tree, text)))
    }

    /// What a new row must satisfy: USING stands in for a missing WITH CHECK
    /// (`PostgreSQL`, rowsecurity.c: `QUAL_FOR_WCO`).
    #[must_use]
    pub fn effective_check(&self) -> Option<&Expr> {
        self.check.as_ref().or(self.using.as_ref())
    }
}

/// A foreign key.
#[derive(Debug)]
pub struct ForeignKey {
    /// Its name.
    pub name: String,
    /// Its name as SQL wants it.
    pub sql: String,
    /// The table that it refers to.
    pub parent: u32,
    /// The numbers of its columns.
    pub columns: Vec<i16>,
}

/// A table, view, materialized view, foreign table or sequence.
#[derive(Debug)]
pub struct Relation {
    /// Its number in the catalogue.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Both, as SQL wants them.
    pub sql: String,
    /// `pg_class.relkind`.
    pub kind: char,
    /// Whether row-level security is enabled.
    pub has_rls: bool,
    /// Whether its owner is subject to it.
    pub is_forced: bool,
    /// Whether it is a partition.
    pub is_partition: bool,
    /// The tables that it inherits from, or is a partition of.
    pub parents: Vec<u32>,
    /// Of a view: whether it reads with its caller's rights.
    pub is_invoker: bool,
    /// Of a view: whether it reads another relation.
    pub reads_relations: bool,
    /// Privileges of everybody.
    pub to_public: Vec<String>,
    /// Why its comment says that it is open on purpose.
    pub kept: Option<String>,
    /// What the API roles may do.
    pub access: Vec<Access>,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its indexes.
    pub indexes: Vec<Index>,
    /// Its policies.
    pub policies: Vec<Policy>,
    /// Its foreign keys.
    pub foreign_keys: Vec<ForeignKey>,
}

impl Relation {
    /// Whether it is a table that can have policies.
    #[must_use]
    pub fn is_table(&self) -> bool {
        matches!(self.kind, 'r' | 'p')
    }

    /// The API roles that have one of these privileges, in their order.
    #[must_use]
    pub fn roles_with(&self, privileges: &[&str]) -> Vec<&str> {
        let holds = |access: &&Access| privileges.iter().any(|privilege| access.has(privilege));
        self.access.iter().filter(holds).map(|access| access.role.as_str()).collect()
    }

    /// The column of this name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// A function or procedure of the application.
#[derive(Debug)]
pub struct Function {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// With schema and arguments, as SQL wants it.
    pub sql: String,
    /// Whether it has its owner's rights.
    pub is_definer: bool,
    /// `pg_proc.provolatile`.
    pub volatility: char,
    /// Whether it is believed to show nothing of its arguments.
    pub is_leakproof: bool,
    /// Its language.
    pub language: String,
    /// Whether the names in its body mean the same for every caller.
    pub is_pinned: bool,
    /// Whether no policy binds its owner.
    pub owner_bypasses: bool,
    /// Its body.
    pub source: String,
    /// Whether only a trigger can call it.
    pub is_trigger: bool,
    /// The API roles that may call it.
    pub callers: Vec<String>,
    /// Policies, defaults and so on that call it.
    pub needed_by: Option<String>,
    /// Why its comment says that it is open on purpose.
    pub kept: Option<String>,
}

/// Privileges that new objects are born with.
#[derive(Debug)]
pub struct DefaultPrivilege {
    /// Who creates the objects, as SQL wants it.
    pub creator: String,
    /// Where, as SQL wants it; none: anywhere.
    pub schema: Option<String>,
    /// `tables`, `sequences`, `functions` or `schemas`.
    pub kind: String,
    /// Who gets them, as SQL wants it.
    pub grantee: String,
    /// Which.
    pub privileges: String,
}

/// A schema.
#[derive(Debug)]
pub struct Schema {
    /// Its name.
    pub name: String,
    /// Its name as SQL wants it.
    pub sql: String,
    /// The API roles that may create in it.
    pub creators: Vec<String>,
    /// Whether everybody may.
    pub is_open: bool,
}

/// A role.
#[derive(Debug)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// Its name as SQL wants it.
    pub sql: String,
    /// Whether requests run as it.
    pub is_api: bool,
    /// Of an API role: whose rights it has or may take.
    pub reaches: Vec<String>,
    /// Whether it is a superuser.
    pub is_super: bool,
    /// Whether no policy binds it.
    pub bypasses: bool,
    /// Whether it may log in.
    pub can_login: bool,
    /// Whether it may make and change roles.
    pub can_create_roles: bool,
    /// Whether tables and so on are its own.
    pub owns_relations: bool,
}

/// Everything, at one moment.
#[derive(Debug)]
pub struct Catalogue {
    /// The server's version, as in 150018.
    pub version: i32,
    /// Relations, by schema and name.
    pub relations: Vec<Relation>,
    /// Where in `relations` each is.
    by_oid: HashMap<u32, usize>,
    by_name: HashMap<(String, String), usize>,
    /// Functions of the application.
    pub functions: Vec<Function>,
    /// Schema and name of every volatile function.
    pub volatile: HashSet<(String, String)>,
    /// Default privileges that everybody or an API role has.
    pub defaults: Vec<DefaultPrivilege>,
    /// The application's schemas.
    pub schemas: Vec<Schema>,
    /// All roles but `PostgreSQL`'s own.
    pub roles: Vec<Role>,
}

impl Catalogue {
    /// Reads it, for the roles that requests of this database run as.
    ///
    /// # Errors
    ///
    /// A catalogue that cannot be read.
    pub async fn read(transaction: &Transaction<'_>) -> Result<Self, LintError> {
        let api = policy::api_roles(transaction).await?;
        transaction.batch_execute(PLAIN_NAMES).await?;
        let version = transaction
            .query_one("select current_setting('server_version_num')::int4", &[])
            .await?
            .get(0);
        let rows = async |sql: &str| transaction.query(&format!("{COMMON}{sql}"), &[&api]).await;
        let mut relations: Vec<Relation> =
            rows(query!("relations")).await?.iter().map(relation).collect();
        let by_oid: HashMap<u32, usize> =
            relations.iter().enumerate().map(|(at, relation)| (relation.oid, at)).collect();
        let mut each = |rows: Vec<Row>, add: fn(&mut Relation, &Row)| {
            for row in &rows {
                if let Some(at) = by_oid.get(&row.get::<_, u32>(0)) {
                    add(&mut relations[*at], row);
                }
            }
        };
        each(rows(query!("access")).await?, |to, row| to.access.push(access(row)));
        each(rows(query!("columns")).await?, |to, row| to.columns.push(column(row)));
        each(rows(query!("policies")).await?, |to, row| to.policies.push(policy(row)));
        each(rows(query!("indexes")).await?, |to, row| to.indexes.push(index(row)));
        each(rows(query!("foreign_keys")).await?, |to, row| to.foreign_keys.push(foreign_key(row)));
        let by_name = relations
            .iter()
            .enumerate()
            .map(|(at, relation)| ((relation.schema.clone(), relation.name.clone()), at))
            .collect();
        Ok(Self {
            version,
            relations,
            by_oid,
            by_name,
            functions: rows(query!("functions")).await?.iter().map(function).collect(),
            volatile: rows(query!("volatile"))
                .await?
                .iter()
                .map(|row| (row.get(0), row.get(1)))
                .collect(),
            defaults: rows(query!("defaults")).await?.iter().map(default).collect(),
            schemas: rows(query!("schemas")).await?.iter().map(schema).collect(),
            roles: rows(query!("roles")).await?.iter().map(role).collect(),
        })
    }

    /// Parses the policies' conditions. Recurses as deeply as they nest, so it wants a large stack.
    pub fn parse(&mut self) {
        for policy in self.relations.iter_mut().flat_map(|relation| &mut relation.policies) {
            policy.using = policy.using_text.as_deref().and_then(tree::condition);
            policy.check = policy.check_text.as_deref().and_then(tree::condition);
        }
    }

    /// The relation with this number.
    #[must_use]
    pub fn relation(&self, oid: u32) -> Option<&Relation> {
        self.by_oid.get(&oid).map(|at| &self.relations[*at])
    }

    /// The relation of this name.
    #[must_use]
    pub fn named(&self, schema: &str, name: &str) -> Option<&Relation> {
        let key = (schema.to_owned(), name.to_owned());
        self.by_name.get(&key).map(|at| &self.relations[*at])
    }

    /// Tables that can have policies.
    pub fn tables(&self) -> impl Iterator<Item = &Relation> {
        self.relations.iter().filter(|relation| relation.is_table())
    }

    /// Policies with their tables.
    pub fn policies(&self) -> impl Iterator<Item = (&Relation, &Policy)> {
        self.relations
            .iter()
            .flat_map(|relation| relation.policies.iter().map(move |p| (relation, p)))
    }

    /// The roles that requests run as.
    pub fn api_roles(&self) -> impl Iterator<Item = &Role> {
        self.roles.iter().filter(|role| role.is_api)
    }

    /// The API roles that a policy is for.
    #[must_use]
    pub fn subjects(&self, policy: &Policy) -> Vec<&str> {
        let is_for = |role: &&Role| {
            policy
                .roles
                .iter()
                .any(|name| name == "public" || *name == role.name || role.reaches.contains(name))
        };
        self.api_roles().filter(is_for).map(|role| role.name.as_str()).collect()
    }

    /// The function of the application of this name; of several, any.
    #[must_use]
    pub fn function(&self, schema: &str, name: &str) -> Option<&Function> {
        self.functions.iter().find(|function| function.schema == schema && function.name == name)
    }
}

fn letter(row: &Row, name: &str) -> char {
    row.get::<_, &str>(name).chars().next().unwrap_or(' ')
}

fn relation(row: &Row) -> Relation {
    Relation {
        oid: row.get(0),
        schema: row.get(1),
        name: row.get(2),
        sql: row.get("sql_name"),
        kind: letter(row, "relkind"),
        has_rls: row.get("relrowsecurity"),
        is_forced: row.get("relforcerowsecurity"),
        is_partition: row.get("relispartition"),
        parents: row.get("parents"),
        is_invoker: row.get("is_invoker"),
        reads_relations: row.get("reads_relations"),
        to_public: row.get("to_public"),
        kept: row.get("kept"),
        access: Vec::new(),
        columns: Vec::new(),
        indexes: Vec::new(),
        policies: Vec::new(),
        foreign_keys: Vec::new(),
    }
}

fn access(row: &Row) -> Access {
    Access { role: row.get(1), of_table: row.get(2), of_columns: row.get(3) }
}

fn column(row: &Row) -> Column {
    Column {
        number: row.get(1),
        name: row.get(2),
        sql: row.get(3),
        type_name: row.get(4),
        not_null: row.get(5),
        has_default: row.get(6),
        readers: row.get(7),
    }
}

fn policy(row: &Row) -> Policy {
    Policy {
        name: row.get(1),
        sql: row.get(2),
        command: row.get(3),
        is_permissive: row.get(4),
        roles: row.get(5),
        using_text: row.get(6),
        check_text: row.get(7),
        using: None,
        check: None,
    }
}

fn index(row: &Row) -> Index {
    Index {
        sql: row.get(1),
        is_unique: row.get(2),
        is_primary: row.get(3),
        keys: row.get(4),
        expressions: row.get(5),
        is_partial: row.get(6),
        is_leakproof: row.get(7),
        operators: row.get(8),
    }
}

fn foreign_key(row: &Row) -> ForeignKey {
    ForeignKey { name: row.get(1), sql: row.get(2), parent: row.get(3), columns: row.get(4) }
}

fn function(row: &Row) -> Function {
    Function {
        schema: row.get(0),
        name: row.get(1),
        sql: row.get(2),
        is_definer: row.get("prosecdef"),
        volatility: letter(row, "provolatile"),
        is_leakproof: row.get("proleakproof"),
        language: row.get("language"),
        is_pinned: row.get("is_pinned"),
        owner_bypasses: row.get("owner_bypasses"),
        source: row.get("source"),
        is_trigger: row.get("is_trigger"),
        callers: row.get("callers"),
        needed_by: row.get("needed_by"),
        kept: row.get("kept"),
    }
}

fn default(row: &Row) -> DefaultPrivilege {
    DefaultPrivilege {
        creator: row.get(0),
        schema: row.get(1),
        kind: row.get(2),
        grantee: row.get(3),
        privileges: row.get(4),
    }
}

fn schema(row: &Row) -> Schema {
    Schema { name: row.get(0), sql: row.get(1), creators: row.get(2), is_open: row.get(3) }
}

fn role(row: &Row) -> Role {
    Role {
        name: row.get(0),
        sql: row.get(1),
        is_api: row.get(2),
        reaches: row.get(3),
        is_super: row.get(4),
        bypasses: row.get(5),
        can_login: row.get(6),
        can_create_roles: row.get(7),
        owns_relations: row.get(8),
    }
}
