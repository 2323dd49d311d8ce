//! Whether a login role is harmless enough to run strangers' statements.
//!
//! Row-level security holds only for roles that cannot step around it. Asks the catalogue about the
//! role that is logged in and about every role it is a member of, directly or not, inherited or not: a
//! caller's `SET ROLE` reaches them all.

use std::fmt;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use super::control;

/// Objects that a complaint names at most.
const NAMED_OBJECTS: i64 = 3;

/// Makes sure that nobody's operators, functions or relations stand in for the catalogue's.
/// In a transaction that leaves no setting behind: the backend may be another client's next.
const BEGIN: &str = "begin read only; set local search_path to pg_catalog, pg_temp";

/// One row for the role itself and for each role that it is a member of, with the membership of its own
/// that leads there. What PostgreSQL's own roles are members of is left out: they are bad enough.
/// Objects of temporary schemas do not count as owned; those of other databases are invisible from here.
const REACHABLE_ROLES: &str = "\
    with recursive reachable (oid, through) as (
        select oid, null::oid from pg_roles where rolname = session_user
        union
        select m.roleid, coalesce(r.through, m.roleid)
        from pg_auth_members m join reachable r on r.oid = m.member
        where pg_get_userbyid(r.oid) not like 'pg\\_%'
    ),
    held (oid, through) as (
        select distinct on (oid) oid, pg_get_userbyid(through)::text from reachable
        order by oid, through nulls first
    )
    select r.rolname::text as name,
           coalesce(held.through, '') as through,
           r.rolname = session_user as is_self,
           r.rolname = $1::text as is_authenticated,
           r.rolsuper, r.rolbypassrls, r.rolcreaterole, r.rolcreatedb, r.rolreplication,
           r.rolname like 'pg\\_%' as is_predefined,
           array(
               select pg_describe_object(d.classid, d.objid, d.objsubid)
               from pg_shdepend d
               left join pg_class c on d.classid = 'pg_class'::regclass and c.oid = d.objid
               where d.refclassid = 'pg_authid'::regclass and d.refobjid = r.oid and d.deptype = 'o'
                 and d.dbid in (0, (select oid from pg_database where datname = current_database()))
                 and c.relpersistence is distinct from 't'
               order by 1
               limit $2
           ) as owned
    from held join pg_roles r using (oid)
    order by is_self desc, name";

/// What is no reason to refuse, but gives a caller more room than needed.
const PRIVILEGES: &str = "\
    select has_database_privilege(current_database(), 'temporary'),
           array(
               select nspname::text from pg_namespace
               where nspname !~ '^pg_' and nspname <> 'information_schema'
                 and has_schema_privilege(oid, 'create')
               order by 1
           )";

/// Why a login role could not be found harmless.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// The catalogue could not be asked.
    #[error("the catalogue could not be asked about the login role: {}", control::reason(.0))]
    Catalogue(#[from] tokio_postgres::Error),
    /// The role could do what no caller may do.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Harmful(Vec<Fault>),
}

/// What a login role can do that it must not be able to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The role that logs in.
    pub login: String,
    /// The role that has the power: the same, or one that it is a member of.
    pub holder: String,
    /// The role to revoke from the login so that it is no longer such a member; empty for the login.
    pub through: String,
    /// The power.
    pub power: Power,
}

/// A power that steps around row-level security, or around the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Power {
    /// SUPERUSER.
    Superuser,
    /// BYPASSRLS.
    BypassRls,
    /// CREATEROLE.
    CreateRole,
    /// CREATEDB.
    CreateDb,
    /// REPLICATION.
    Replication,
    /// Owns these objects (the first few).
    Owner(Vec<String>),
    /// One of PostgreSQL's own `pg_…` roles.
    Predefined,
    /// The anonymous role may become the authenticated one.
    Authenticated,
}

/// What was found about a login role.
#[derive(Clone, Debug, Default)]
pub struct RoleReport {
    /// The role.
    pub login: String,
    /// Why it must not serve.
    pub faults: Vec<Fault>,
    /// What would better be taken from it.
    pub warnings: Vec<String>,
}

impl RoleReport {
    /// An error if there is a fault.
    ///
    /// # Errors
    ///
    /// [`RoleError::Harmful`] with all of them.
    pub fn into_result(self) -> Result<(), RoleError> {
        if self.faults.is_empty() { Ok(()) } else { Err(RoleError::Harmful(self.faults)) }
    }
}

/// Examines the role that `client` is logged in as. `authenticated` is the login of requests with a
/// token: no other login may be a member of it. Works in a transaction of its own.
///
/// # Errors
///
/// Only if the catalogue cannot be asked; what it says is in the report.
pub async fn verify_login_role(
    client: &Client,
    authenticated: &str,
) -> Result<RoleReport, RoleError> {
    client.batch_execute(BEGIN).await?;
    let report = examine(client, authenticated).await;
    client.batch_execute("rollback").await?;
    report
}

async fn examine(client: &Client, authenticated: &str) -> Result<RoleReport, RoleError> {
    // Without named statements: there may be a pooler on the way.
    let values: [(&(dyn ToSql + Sync), Type); 2] =
        [(&authenticated, Type::TEXT), (&NAMED_OBJECTS, Type::INT8)];
    let roles = client.query_typed(REACHABLE_ROLES, &values).await?;
    let login: String = roles.first().map(|row| row.get("name")).unwrap_or_default();
    let faults = roles.iter().flat_map(|row| faults(&login, row)).collect();
    let privileges = client.query_typed_one(PRIVILEGES, &[]).await?;
    let warnings = warnings(&login, privileges.get(0), privileges.get(1));
    Ok(RoleReport { login, faults, warnings })
}

fn faults(login: &str, row: &Row) -> Vec<Fault> {
    let (holder, through): (String, String) = (row.get("name"), row.get("through"));
    let is_self: bool = row.get("is_self");
    let owned: Vec<String> = row.get("owned");
    let powers = [
        (row.get("rolsuper"), Power::Superuser),
        (row.get("rolbypassrls"), Power::BypassRls),
        (row.get("rolcreaterole"), Power::CreateRole),
        (row.get("rolcreatedb"), Power::CreateDb),
        (row.get("rolreplication"), Power::Replication),
        (!owned.is_empty(), Power::Owner(owned)),
        (!is_self && row.get("is_predefined"), Power::Predefined),
        (!is_self && row.get("is_authenticated"), Power::Authenticated),
    ];
    let held = powers.into_iter().filter(|(has, _)| *has).map(|(_, power)| power);
    let fault = |power| Fault {
        login: login.to_owned(),
        holder: holder.clone(),
        through: through.clone(),
        power,
    };
    // A superuser has every power: naming the others, too, would only distract.
    let is_superuser = row.get("rolsuper");
    held.map(fault).take(if is_superuser { 1 } else { usize::MAX }).collect()
}

fn warnings(login: &str, temporary: bool, creatable: Vec<String>) -> Vec<String> {
    let mut warnings: Vec<String> = creatable
        .into_iter()
        .map(|schema| {
            format!(
                "role {login:?} may create objects in schema {schema:?} and so plant functions that \
                 others call; revoke create on schema {schema} from public, {login}"
            )
        })
        .collect();
    if temporary {
        warnings.push(format!(
            "role {login:?} may create temporary objects, whose names hide real ones; \
             revoke temporary on database … from public, {login}"
        ));
    }
    warnings
}

/// A sentence: who, what, why that matters, what to do.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { login, holder, through, power } = self;
        write!(f, "role {login:?} ")?;
        let is_self = login == holder;
        if !is_self {
            write!(f, "is a member of {holder:?}, which ")?;
        }
        match power {
            Power::Superuser => f.write_str("is a superuser: no policy holds for it")?,
            Power::BypassRls => f.write_str("has BYPASSRLS: no policy holds for it")?,
            Power::CreateRole => {
                f.write_str("has CREATEROLE: it can give itself other roles' rights")?;
            }
            Power::CreateDb => f.write_str("has CREATEDB: callers could fill the server")?,
            Power::Replication => {
                f.write_str("has REPLICATION: it can read every table's changes")?;
            }
            Power::Owner(objects) => write!(
                f,
                "owns {}: an owner passes its policies and can change them",
                objects.join(", ")
            )?,
            Power::Predefined => {
                f.write_str("is one of PostgreSQL's own roles with rights beyond tables")?;
            }
            Power::Authenticated => {
                f.write_str(
                    "runs the requests of users: one without a token could act as any of them",
                )?;
            }
        }
        if is_self {
            write!(f, "; {}", self.remedy())
        } else {
            write!(f, "; revoke {through} from {login}")
        }
    }
}

impl Fault {
    fn remedy(&self) -> String {
        let login = &self.login;
        match &self.power {
            Power::Superuser => {
                "let requests log in as a plain role of their own (`rowgate migrate` creates \
                 authenticated and anonymous)"
                    .to_owned()
            }
            Power::BypassRls => format!("alter role {login} nobypassrls"),
            Power::CreateRole => format!("alter role {login} nocreaterole"),
            Power::CreateDb => format!("alter role {login} nocreatedb"),
            Power::Replication => format!("alter role {login} noreplication"),
            Power::Owner(_) => {
                format!(
                    "reassign owned by {login} to another role, or log in as one that owns nothing"
                )
            }
            Power::Predefined | Power::Authenticated => "log in as another role".to_owned(),
        }
    }
}
