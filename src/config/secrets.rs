//! Values that must not be seen: connection URLs, the seal key, secrets shared with issuers.
//!
//! They come from the environment or from files of their own. One that stands in `rowgate.toml` or on
//! the command line is refused, and no complaint shows a value.

use std::path::{Path, PathBuf};

use super::error::Origin;
use super::file::Raw;
use super::layers::{Found, variable};
use super::reader::Reader;
use super::values;
use super::{SealKeyConfig, SharedSecret};
use crate::pg::url::ConnectUrl;

/// The names under which one secret may be given.
pub(super) struct Secret {
    /// The key that holds it.
    pub(super) key: &'static str,
    /// The key that names a file which holds it.
    pub(super) file_key: &'static str,
    /// The variables that users know it by: holding it, and naming a file.
    pub(super) aliases: Option<(&'static str, &'static str)>,
}

pub(super) const OWNER: Secret = Secret {
    key: "database.owner_url",
    file_key: "database.owner_url_file",
    aliases: Some(("DATABASE_URL", "DATABASE_URL_FILE")),
};

pub(super) const AUTHENTICATED: Secret = Secret {
    key: "database.authenticated_url",
    file_key: "database.authenticated_url_file",
    aliases: Some(("DATABASE_AUTHENTICATED_URL", "DATABASE_AUTHENTICATED_URL_FILE")),
};

pub(super) const ANONYMOUS: Secret = Secret {
    key: "database.anonymous_url",
    file_key: "database.anonymous_url_file",
    aliases: Some(("DATABASE_ANONYMOUS_URL", "DATABASE_ANONYMOUS_URL_FILE")),
};

pub(super) const SUPERUSER: Secret = Secret {
    key: "database.superuser_url",
    file_key: "database.superuser_url_file",
    aliases: Some(("DATABASE_SUPERUSER_URL", "DATABASE_SUPERUSER_URL_FILE")),
};

pub(super) const REVOCATION: Secret = Secret {
    key: "database.revocation_url",
    file_key: "database.revocation_url_file",
    aliases: Some(("DATABASE_REVOCATION_URL", "DATABASE_REVOCATION_URL_FILE")),
};

/// The login of one of several roles: its variables are named after the role.
const ROLE: Secret = Secret { key: "role.url", file_key: "role.url_file", aliases: None };

/// The seal key's value may stand in a variable (`ROWGATE_SEAL_KEY`), but in no key of the file.
pub(super) const SEAL: Secret =
    Secret { key: "seal.key", file_key: "seal.key_file", aliases: None };

/// Likewise `ROWGATE_ISSUER_SECRET`.
pub(super) const ISSUER_SECRET: Secret =
    Secret { key: "issuer.secret", file_key: "issuer.secret_file", aliases: None };

/// A secret's text, where it came from, and whether that is a place for secrets.
struct Revealed {
    text: String,
    origin: Origin,
    may_be_secret: bool,
    /// The file of its own that it was read from.
    file: Option<PathBuf>,
}

impl Secret {
    /// The variable to recommend.
    pub(super) fn variable(&self) -> String {
        self.aliases.map_or_else(|| variable(self.key), |(name, _)| name.to_owned())
    }

    fn file_variable(&self) -> String {
        self.aliases.map_or_else(|| variable(self.file_key), |(_, name)| name.to_owned())
    }
}

impl Reader<'_> {
    /// A connection URL, with its password from where libpq looks for one if it has none.
    pub(super) fn url(&mut self, secret: &Secret) -> Option<ConnectUrl> {
        let found = self.secret(secret, 0)?;
        self.usable_url(secret, found, &secret.variable(), &secret.file_variable())
    }

    /// The login of `role`, from its variables or from the `[[role]]` at `index`.
    pub(super) fn role_url(&mut self, index: usize, role: &str) -> Option<ConnectUrl> {
        let variable = format!("DATABASE_ROLE_{}_URL", role.to_ascii_uppercase());
        let file_variable = format!("{variable}_FILE");
        let layers = self.layers;
        let rows = [
            (layers.in_environment(&variable), layers.in_environment(&file_variable), true),
            (layers.find(ROLE.key, index), layers.find(ROLE.file_key, index), false),
        ];
        let given = rows.into_iter().find(|(value, file, _)| value.is_some() || file.is_some());
        let found = match given {
            Some((Some(value), None, may_be_secret)) => self.inline(&ROLE, value, may_be_secret)?,
            Some((None, Some(file), _)) => self.in_named_file(&ROLE, file)?,
            Some((_, Some(file), _)) => {
                let complaint = "given twice in the same place; keep one of its names";
                self.problem(file.origin, ROLE.key, None, complaint);
                return None;
            }
            Some((None, None, _)) | None => {
                let example = format!("{variable}=postgresql://{role}@localhost/app");
                self.complain(ROLE.key, format!("missing; set it, for example {example}"));
                return None;
            }
        };
        self.usable_url(&ROLE, found, &variable, &file_variable)
    }

    fn usable_url(
        &mut self,
        secret: &Secret,
        found: Revealed,
        variable: &str,
        file_variable: &str,
    ) -> Option<ConnectUrl> {
        let url = match ConnectUrl::parse(&found.text) {
            Ok(url) => url,
            Err(error) => {
                self.problem(found.origin, secret.key, None, error.to_string());
                return None;
            }
        };
        if url.has_password() && !found.may_be_secret {
            let complaint = format!(
                "the URL contains a password, which does not belong here: put the whole URL into the \
                 environment variable {variable} or into a file that {file_variable} names"
            );
            self.problem(found.origin, secret.key, None, complaint);
            return None;
        }
        let environment = self.layers.environment;
        Some(url.or_password_from(&|name| environment.get(name).map(str::to_owned)))
    }

    /// The seal keys, and the file that holds them.
    pub(super) fn seal_keys(&mut self) -> (Vec<SealKeyConfig>, Option<PathBuf>) {
        let Some(found) = self.secret(&SEAL, 0) else { return (Vec::new(), None) };
        if !found.may_be_secret {
            let complaint = "a key does not belong here: put it into the environment variable \
                             ROWGATE_SEAL_KEY or into a file that seal.key_file names";
            self.problem(found.origin, SEAL.key, None, complaint);
            return (Vec::new(), None);
        }
        let keys = values::seal_keys(&found.text)
            .map_err(|expected| self.problem(found.origin, SEAL.key, None, expected));
        (keys.unwrap_or_default(), found.file)
    }

    /// The secret that one issuer shares with this gateway.
    pub(super) fn shared_secret(&mut self, secret: &Secret, issuer: usize) -> Option<SharedSecret> {
        let found = self.secret(secret, issuer)?;
        if !found.may_be_secret {
            let complaint = "a secret does not belong here: put it into the environment variable \
                             ROWGATE_ISSUER_SECRET or into a file that secret_file names";
            self.problem(found.origin, secret.key, None, complaint);
            return None;
        }
        // A file's last line has an end, and so has many a variable that was made from one.
        let text = found.text.trim();
        if is_public_key(text) {
            let complaint = "this is a key or a set of keys, not a secret: whoever knows it could sign; \
                             give public keys with public_key_file, jwks_file or jwks_url";
            self.problem(found.origin, secret.key, None, complaint);
            return None;
        }
        let shared = SharedSecret::new(text);
        if shared.is_none() {
            let complaint = format!(
                "the secret is too short: at least {} bytes are needed (RFC 7518 §3.2)",
                SharedSecret::LEAST_BYTES
            );
            self.problem(found.origin, secret.key, None, complaint);
        }
        shared
    }

    /// The secret from the uppermost layer that has it; there it may have one name only. For a key of an
    /// issuer, the one of the given `[[issuer]]`.
    fn secret(&mut self, secret: &Secret, issuer: usize) -> Option<Revealed> {
        self.ask(secret.key);
        self.ask(secret.file_key);
        let layers = self.layers;
        let (holding, naming) = secret.aliases.unzip();
        self.aliases.extend(holding.iter().chain(&naming));
        let variables = |key: &str, alias: Option<&'static str>| {
            [Some(variable(key)), alias.map(str::to_owned)]
                .into_iter()
                .flatten()
                .filter_map(|name| layers.in_environment(&name))
                .collect::<Vec<_>>()
        };
        let rows: [(Vec<Found>, Vec<Found>, bool); 3] = [
            (
                layers.in_flags(secret.key).into_iter().collect(),
                layers.in_flags(secret.file_key).into_iter().collect(),
                false,
            ),
            (variables(secret.key, holding), variables(secret.file_key, naming), true),
            (
                layers.in_file(secret.key, issuer).into_iter().collect(),
                layers.in_file(secret.file_key, issuer).into_iter().collect(),
                false,
            ),
        ];
        let (values, files, may_be_secret) =
            rows.into_iter().find(|(values, files, _)| !values.is_empty() || !files.is_empty())?;
        if values.len() + files.len() > 1 {
            let origin = values.into_iter().chain(files).nth(1)?.origin;
            let complaint = "given twice in the same place; keep one of its names";
            self.problem(origin, secret.key, None, complaint);
            return None;
        }
        match values.into_iter().next() {
            Some(value) => self.inline(secret, value, may_be_secret),
            None => self.in_named_file(secret, files.into_iter().next()?),
        }
    }

    fn inline(&mut self, secret: &Secret, value: Found, may_be_secret: bool) -> Option<Revealed> {
        let Raw::Text(text) = value.raw else {
            self.problem(value.origin, secret.key, None, "expected a text in quotes");
            return None;
        };
        Some(Revealed { text, origin: value.origin, may_be_secret, file: None })
    }

    fn in_named_file(&mut self, secret: &Secret, value: Found) -> Option<Revealed> {
        let Raw::Text(path) = &value.raw else {
            self.refuse(secret.file_key, &value, "expected a file's path");
            return None;
        };
        let file = self.layers.resolve(path, &value.origin);
        let several = secret.key == SEAL.key;
        match read(&file, several) {
            Ok(text) => {
                let (origin, file) = (value.origin, Some(file));
                Some(Revealed { text, origin, may_be_secret: true, file })
            }
            Err(reason) => {
                let complaint = format!("cannot use the file: {reason}");
                self.refuse(secret.file_key, &value, complaint);
                None
            }
        }
    }
}

/// PEM, a JWK or a JWK set. Taken for a secret, a public key would let everybody sign who can read it.
fn is_public_key(text: &str) -> bool {
    let is_object = || serde_json::from_str::<serde_json::Map<_, _>>(text).is_ok();
    text.contains("-----BEGIN ") || is_object()
}

/// The keys in a file that `rowgate keys export` wrote, the best first.
///
/// # Errors
///
/// In words that show nothing of what is in the file.
pub fn read_seal_key_file(path: &Path) -> Result<Vec<SealKeyConfig>, String> {
    Ok(values::seal_keys(&read(path, true)?)?)
}

/// The file's only line, or all of its lines.
fn read(path: &Path, several: bool) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    match text.trim() {
        "" => Err("it is empty".to_owned()),
        line if line.contains('\n') && !several => Err("expected a single line in it".to_owned()),
        line => Ok(line.to_owned()),
    }
}
