//! The database of a server that somebody else runs.

use tokio_postgres::config::Host;

use super::{Database, DatabaseError, LOGIN_ROLES};
use crate::config::DatabaseUrls;
use crate::dev::home::Home;
use crate::dev::logins::Logins;
use crate::pg::control;
use crate::pg::url::ConnectUrl;

/// How to log in on a server that exists.
#[derive(Debug)]
pub struct Existing {
    owner: ConnectUrl,
    /// `authenticated` and `anonymous`, if the user knows their passwords.
    logins: Option<[ConnectUrl; 2]>,
}

impl Existing {
    /// Takes the connections that flags and environment name: the owner's, and both logins' or neither's.
    pub fn new(urls: DatabaseUrls) -> Result<Self, DatabaseError> {
        let owner = urls.owner.ok_or(DatabaseError::NoUrl)?;
        let logins = match [urls.authenticated, urls.anonymous] {
            [Some(authenticated), Some(anonymous)] => Some([authenticated, anonymous]),
            [None, None] => None,
            _ => return Err(DatabaseError::HalfOfLogins),
        };
        Ok(Self { owner, logins })
    }
}

/// Checks the server and decides how the login roles log in.
pub(super) async fn open(home: &Home, existing: Existing) -> Result<Database, DatabaseError> {
    let Existing { owner, logins: given } = existing;
    let client = control::connect(&owner).await?;
    let version: String =
        client.query_one("select pg_catalog.current_setting('server_version')", &[]).await?.get(0);
    let description = format!("PostgreSQL {version}, {owner}");
    let (authenticated, anonymous, logins) = if let Some([authenticated, anonymous]) = given {
        (authenticated, anonymous, None)
    } else {
        let logins = logins_for(home, &owner, &client).await?;
        let [authenticated, anonymous] = LOGIN_ROLES;
        (
            owner.with_login(authenticated, logins.authenticated.as_bytes()),
            owner.with_login(anonymous, logins.anonymous.as_bytes()),
            Some(logins),
        )
    };
    Ok(Database { owner, authenticated, anonymous, description, cluster: None, logins })
}

/// The passwords set in an earlier run, or new ones if nobody logs in as these roles yet.
async fn logins_for(
    home: &Home,
    owner: &ConnectUrl,
    client: &tokio_postgres::Client,
) -> Result<Logins, DatabaseError> {
    let server = name_of(owner);
    if let Some(logins) = Logins::load(&home.logins(), &server)? {
        return Ok(logins);
    }
    let can_log_in =
        "select rolname from pg_catalog.pg_roles where rolname = any($1) and rolcanlogin";
    if let Some(row) = client.query(can_log_in, &[&LOGIN_ROLES.as_slice()]).await?.first() {
        return Err(DatabaseError::ForeignLogin(row.get(0)));
    }
    Ok(Logins::generate(&server)?)
}

/// `host:port/database`, under which passwords are remembered.
fn name_of(url: &ConnectUrl) -> String {
    let hosts: Vec<String> = url
        .hosts()
        .map(|(host, port)| match host {
            Host::Tcp(name) => format!("{name}:{port}"),
            Host::Unix(path) => format!("{}:{port}", path.display()),
        })
        .collect();
    format!("{}/{}", hosts.join(","), url.database())
}
