//! What a login role can do that it must not, and how that is said.

use std::fmt;

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
    /// May become another role that requests of users run as: the authenticated one, or one of `[[role]]`.
    Authenticated,
    /// May become the login of another slot, and so see and end what runs there.
    Slot,
    /// Somebody gave the role this setting, which changes who a session is or what holds in it.
    Setting {
        /// Its name. The value is left out: it may be claims.
        name: String,
        /// What it does.
        harm: &'static str,
    },
    /// There is no such role.
    Missing,
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
                    "runs requests of other users: one of this role's could act as any of them",
                )?;
            }
            Power::Slot => {
                f.write_str("is another slot: what runs there could be seen and ended")?;
            }
            Power::Setting { name, harm } => {
                write!(f, "logs in with a setting of its own for {name}, which {harm}")?;
            }
            Power::Missing => f.write_str("does not exist")?,
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
            Power::Predefined | Power::Authenticated | Power::Slot => {
                "log in as another role".to_owned()
            }
            Power::Setting { name, .. } => format!(
                "alter role {login} reset {name}; alter role {login} in database … reset {name}"
            ),
            Power::Missing => "run `rowgate migrate`, for slots with --slots".to_owned(),
        }
    }
}
