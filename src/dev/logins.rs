//! Passwords of the roles that log in, made once and kept in the data directory.
//!
//! Must never show one: they go into connection strings and password files only.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::secret;

/// The passwords for one server.
#[derive(Clone, Serialize, Deserialize)]
pub struct Logins {
    /// For which server they were made: `host:port/database`, or [`PRIVATE`].
    pub server: String,
    /// Of the owner of the private cluster's database.
    pub owner: String,
    /// Of the role `authenticated`.
    pub authenticated: String,
    /// Of the role `anonymous`.
    pub anonymous: String,
}

impl std::fmt::Debug for Logins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logins").field("server", &self.server).finish_non_exhaustive()
    }
}

/// Stands for the private cluster, whose port may change.
pub const PRIVATE: &str = "private";

impl Logins {
    /// The passwords kept in `file`, if they are for `server`.
    pub fn load(file: &Path, server: &str) -> io::Result<Option<Self>> {
        let kept = secret::read(file)?.and_then(|text| serde_json::from_str::<Self>(&text).ok());
        Ok(kept.filter(|logins| logins.server == server))
    }

    /// New passwords for `server`; not kept until [`save`](Self::save)d.
    pub fn generate(server: &str) -> io::Result<Self> {
        Ok(Self {
            server: server.to_owned(),
            owner: secret::random_password()?,
            authenticated: secret::random_password()?,
            anonymous: secret::random_password()?,
        })
    }

    /// Keeps them, in place of those for another server.
    pub fn save(&self, file: &Path) -> io::Result<()> {
        secret::write(file, &serde_json::to_vec(self).map_err(io::Error::from)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_another_server_are_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("logins.json");
        let logins = Logins::generate("db.example:5432/app").unwrap();
        logins.save(&file).unwrap();
        assert!(Logins::load(&file, PRIVATE).unwrap().is_none());
        let kept = Logins::load(&file, "db.example:5432/app").unwrap().unwrap();
        assert_eq!(kept.authenticated, logins.authenticated);
        assert_ne!(kept.authenticated, kept.anonymous);
    }
}
