//! Whether a login role is harmless enough to run strangers' statements.
//!
//! Row-level security holds only for roles that cannot step around it. Asks the catalogue about the
//! role and about every role it is a member of, directly or not, inherited or not: a caller's
//! `SET ROLE` reaches them all. Asks as well which settings the role logs in with ([`settings`]).

mod fault;
pub mod settings;
mod standing;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use super::{control, slots};
pub use fault::{Fault, Power};
use settings::{Effect, effect_of};
pub use standing::Standing;

/// Objects that a complaint names at most.
const NAMED_OBJECTS: i64 = 3;

/// Its members read `auth.revoked`.
const REVOCATION_READERS: &str = "rowgate_revocations";

/// Makes sure that nobody's operators, functions or relations stand in for the catalogue's.
/// In a transaction that leaves no setting behind: the backend may be another client's next.
const BEGIN: &str = "begin read only; set local search_path to pg_catalog, pg_temp";

/// One row for the role itself and for each role that it is a member of, with the membership of its own
/// that leads there. What PostgreSQL's own roles are members of is left out: they are bad enough.
/// Objects of temporary schemas do not count as owned; those of other databases are invisible from here.
const REACHABLE_ROLES: &str = "\
    with recursive reachable (oid, through) as (
        select oid, null::oid from pg_roles where rolname = $3::text
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
           r.rolname = $3::text as is_self,
           r.rolname = any ($1::text[]) as is_authenticated,
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
    select has_database_privilege($1::text::name, current_database(), 'temporary'),
           array(
               select nspname::text from pg_namespace
               where nspname !~ '^pg_' and nspname <> 'information_schema'
                 and has_schema_privilege($1::text::name, oid, 'create')
               order by 1
           )";

/// What the role's sessions start with, here and in every database, but for what a connection sets itself.
const SETTINGS: &str = "\
    select unnest(s.setconfig)
    from pg_db_role_setting s
    where s.setrole = (select oid from pg_roles where rolname = $1::text)
      and s.setdatabase in (0, (select oid from pg_database where datname = current_database()))
    order by 1";

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

/// A role that logs in, and what it may be a member of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The role.
    pub name: String,
    /// For the role of a slot: the role as which its requests run.
    pub base: Option<String>,
}

/// Examines the role that `client` is logged in as. `of_users` are the logins of requests with a
/// token: no other login may be a member of one. Works in a transaction of its own.
///
/// # Errors
///
/// Only if the catalogue cannot be asked; what it says is in the report.
pub async fn verify_login_role(
    client: &Client,
    of_users: &[String],
) -> Result<RoleReport, RoleError> {
    let row = client.query_typed_one("select session_user::pg_catalog.text", &[]).await?;
    verify_role(client, &Login { name: row.get(0), base: None }, of_users).await
}

/// As [`verify_login_role`], for any role, whoever `client` is logged in as.
///
/// # Errors
///
/// Only if the catalogue cannot be asked.
pub async fn verify_role(
    client: &Client,
    login: &Login,
    of_users: &[String],
) -> Result<RoleReport, RoleError> {
    client.batch_execute(BEGIN).await?;
    let report = examine(client, login, of_users).await;
    client.batch_execute("rollback").await?;
    report
}

/// Without named statements: there may be a pooler on the way.
async fn examine(
    client: &Client,
    login: &Login,
    of_users: &[String],
) -> Result<RoleReport, RoleError> {
    let name = &login.name;
    let values: [(&(dyn ToSql + Sync), Type); 3] =
        [(&of_users, Type::TEXT_ARRAY), (&NAMED_OBJECTS, Type::INT8), (name, Type::TEXT)];
    let roles = client.query_typed(REACHABLE_ROLES, &values).await?;
    let mut report = RoleReport { login: name.clone(), ..RoleReport::default() };
    if roles.is_empty() {
        report.faults.push(own_fault(name, Power::Missing));
        return Ok(report);
    }
    report.faults = roles.iter().flat_map(|row| faults(login, row)).collect();
    let privileges = client.query_typed_one(PRIVILEGES, &[(name, Type::TEXT)]).await?;
    report.warnings = warnings(name, privileges.get(0), privileges.get(1));
    report.warnings.extend(roles.iter().filter_map(|row| revocation_reader(login, row)));
    for row in client.query_typed(SETTINGS, &[(name, Type::TEXT)]).await? {
        note_setting(&mut report, login, row.get(0));
    }
    Ok(report)
}

/// What a setting of the role's own (`name=value`) means for its sessions.
fn note_setting(report: &mut RoleReport, login: &Login, entry: &str) {
    let (setting, value) = entry.split_once('=').unwrap_or((entry, ""));
    match effect_of(setting, value, login.base.is_some()) {
        Effect::Expected => {}
        Effect::Warning(text) => report.warnings.push(format!(
            "role {:?} logs in with a setting of its own for {setting}, which {text}; \
             unless you made it, find out who did (a role may change its own settings)",
            login.name
        )),
        Effect::Harm(harm) => report
            .faults
            .push(own_fault(&login.name, Power::Setting { name: setting.to_owned(), harm })),
    }
}

/// Not harmful to anybody's rows, but what the list says is nobody's business who sends requests.
fn revocation_reader(login: &Login, row: &Row) -> Option<String> {
    let (login, holder, through) =
        (&login.name, row.get::<_, &str>("name"), row.get::<_, &str>("through"));
    (holder == REVOCATION_READERS && !through.is_empty()).then(|| {
        format!(
            "role {login:?} is a member of {holder:?}, so that every caller can read who was revoked; \
             revoke {through} from {login}"
        )
    })
}

fn own_fault(login: &str, power: Power) -> Fault {
    Fault { login: login.to_owned(), holder: login.to_owned(), through: String::new(), power }
}

fn faults(login: &Login, row: &Row) -> Vec<Fault> {
    let (holder, through): (String, String) = (row.get("name"), row.get("through"));
    let is_self: bool = row.get("is_self");
    let owned: Vec<String> = row.get("owned");
    let is_base = login.base.as_ref() == Some(&holder);
    let powers = [
        (row.get("rolsuper"), Power::Superuser),
        (row.get("rolbypassrls"), Power::BypassRls),
        (row.get("rolcreaterole"), Power::CreateRole),
        (row.get("rolcreatedb"), Power::CreateDb),
        (row.get("rolreplication"), Power::Replication),
        (!owned.is_empty(), Power::Owner(owned)),
        (!is_self && row.get("is_predefined"), Power::Predefined),
        (!is_self && !is_base && row.get("is_authenticated"), Power::Authenticated),
        (!is_self && slots::is_slot(&holder), Power::Slot),
    ];
    let held = powers.into_iter().filter(|(has, _)| *has).map(|(_, power)| power);
    let fault = |power| Fault {
        login: login.name.clone(),
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
