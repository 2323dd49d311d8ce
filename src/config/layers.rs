//! The sources of a configuration, one above the other: file, environment, flags.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, Origin};
use super::file::{self, FileValues, ISSUER, Keys, ROLE, Raw};

/// What all own variables start with.
pub(super) const PREFIX: &str = "ROWGATE_";

/// Own variables that are no configuration keys: read where they are needed.
pub(super) const OTHER_VARIABLES: [&str; 2] = ["ROWGATE_CONFIG", "ROWGATE_PG_BIN"];

/// Where a configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct ConfigSources {
    /// The TOML file, if there is one.
    pub file: Option<PathBuf>,
    /// Environment variables.
    pub environment: Environment,
    /// Flags of the command line.
    pub flags: Vec<Flag>,
}

/// One key given on the command line.
#[derive(Clone, Debug)]
pub struct Flag {
    /// As the user wrote it, such as `--listen`.
    pub name: String,
    /// The key's dotted path, such as `server.listen`.
    pub key: String,
    /// The value.
    pub value: String,
}

/// Environment variables. `Debug` shows their names only.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Those of this process. What is not UTF-8 has its bad bytes replaced, so that it is refused
    /// where it matters instead of being overlooked.
    #[must_use]
    pub fn of_process() -> Self {
        let text = |text: OsString| text.to_string_lossy().into_owned();
        std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
    }

    /// A variable's value; an empty one counts as not set, as compose files make them.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The names of Rowgate's own variables.
    pub(super) fn own_names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str).filter(|name| name.starts_with(PREFIX))
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

/// A value, and where it was found.
pub(super) struct Found {
    pub(super) raw: Raw,
    pub(super) origin: Origin,
}

/// All sources, read.
pub(super) struct Layers<'a> {
    path: PathBuf,
    pub(super) file: FileValues,
    pub(super) environment: &'a Environment,
    pub(super) flags: &'a [Flag],
}

/// `server.header_timeout` → `ROWGATE_SERVER_HEADER_TIMEOUT`.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_ascii_uppercase())
}

impl<'a> Layers<'a> {
    pub(super) fn read(sources: &'a ConfigSources) -> Result<Self, ConfigError> {
        let (path, file) = match &sources.file {
            None => (PathBuf::new(), FileValues::default()),
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    ConfigError::Unreadable { path: path.clone(), reason: error.to_string() }
                })?;
                (path.clone(), file::parse(path, &text)?)
            }
        };
        Ok(Self { path, file, environment: &sources.environment, flags: &sources.flags })
    }

    /// The value that wins; for a key of an issuer or a role, the one of the given `[[issuer]]` or `[[role]]`.
    /// Roles are given in the file alone.
    pub(super) fn find(&self, key: &str, issuer: usize) -> Option<Found> {
        let is_of_role = key.split_once('.').is_some_and(|(section, _)| section == ROLE);
        let above = || self.in_flags(key).or_else(|| self.in_environment(&variable(key)));
        let above = if is_of_role { None } else { above() };
        above.or_else(|| self.in_file(key, issuer))
    }

    pub(super) fn in_flags(&self, key: &str) -> Option<Found> {
        let flag = self.flags.iter().rev().find(|flag| flag.key == key)?;
        let origin = Origin::Flag(flag.name.clone());
        Some(Found { raw: Raw::Text(flag.value.clone()), origin })
    }

    pub(super) fn in_environment(&self, name: &str) -> Option<Found> {
        let value = self.environment.get(name)?;
        Some(Found {
            raw: Raw::Text(value.to_owned()),
            origin: Origin::Environment(name.to_owned()),
        })
    }

    /// For a key of an issuer or a role, in the given `[[issuer]]` or `[[role]]`.
    pub(super) fn in_file(&self, key: &str, index: usize) -> Option<Found> {
        let keys: &Keys = match key.split_once('.') {
            Some((ISSUER, _)) => self.file.issuers.get(index)?,
            Some((ROLE, _)) => self.file.roles.get(index)?,
            _ => &self.file.keys,
        };
        let written = keys.get(key)?;
        Some(Found { raw: written.raw.clone(), origin: self.at(written.line) })
    }

    pub(super) fn at(&self, line: usize) -> Origin {
        Origin::File { path: self.path.clone(), line }
    }

    /// Paths in the file are relative to it; all others to the working directory.
    pub(super) fn resolve(&self, path: &str, origin: &Origin) -> PathBuf {
        match (origin, self.path.parent()) {
            (Origin::File { .. }, Some(directory)) => directory.join(path),
            _ => Path::new(path).to_path_buf(),
        }
    }
}
