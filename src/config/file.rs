//! `rowgate.toml` as a flat list of dotted keys with their lines. Knows no key's meaning.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::error::ConfigError;

/// A value as written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Raw {
    /// A string; from the environment and from flags always this.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// `true` or `false`.
    Bool(bool),
    /// A list of strings.
    List(Vec<String>),
    /// Anything else, by the name of its type.
    Other(&'static str),
}

/// A value and the line it stands on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Written {
    pub(super) raw: Raw,
    pub(super) line: usize,
}

/// Dotted keys below one table.
pub(super) type Keys = BTreeMap<String, Written>;

/// The file's content: sections flattened, and one map for each `[[issuer]]` and `[[role]]`.
#[derive(Debug, Default)]
pub(super) struct FileValues {
    pub(super) keys: Keys,
    pub(super) issuers: Vec<Keys>,
    pub(super) roles: Vec<Keys>,
}

/// The tables that may be given several times.
pub(super) const ISSUER: &str = "issuer";
pub(super) const ROLE: &str = "role";

impl FileValues {
    fn several(&mut self, name: &str) -> Option<(&'static str, &mut Vec<Keys>)> {
        match name {
            ISSUER => Some((ISSUER, &mut self.issuers)),
            ROLE => Some((ROLE, &mut self.roles)),
            _ => None,
        }
    }
}

pub(super) fn parse(path: &Path, text: &str) -> Result<FileValues, ConfigError> {
    let root = DeTable::parse(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        ConfigError::Syntax {
            path: path.to_path_buf(),
            line: line_of(text, start),
            column: text[..start].chars().rev().take_while(|c| *c != '\n').count() + 1,
            reason: error.message().to_owned(),
        }
    })?;
    let mut values = FileValues::default();
    for (name, value) in root.get_ref() {
        match (value.get_ref(), values.several(name.get_ref())) {
            (DeValue::Array(tables), Some((section, list))) if all_tables(tables) => {
                for table in tables.iter().filter_map(|table| table.get_ref().as_table()) {
                    let mut keys = Keys::new();
                    flatten(text, section, table, &mut keys);
                    list.push(keys);
                }
            }
            (DeValue::Table(table), None) => {
                flatten(text, name.get_ref(), table, &mut values.keys);
            }
            _ => insert(text, name.get_ref().to_string(), name, value, &mut values.keys),
        }
    }
    Ok(values)
}

fn all_tables(array: &DeArray<'_>) -> bool {
    array.iter().all(|element| element.get_ref().is_table())
}

fn flatten(text: &str, prefix: &str, table: &DeTable<'_>, keys: &mut Keys) {
    for (name, value) in table {
        let path = format!("{prefix}.{}", name.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) => flatten(text, &path, inner, keys),
            _ => insert(text, path, name, value, keys),
        }
    }
}

fn insert<K>(
    text: &str,
    path: String,
    name: &Spanned<K>,
    value: &Spanned<DeValue<'_>>,
    keys: &mut Keys,
) {
    let line = line_of(text, name.span().start);
    keys.insert(path, Written { raw: raw(value.get_ref()), line });
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Boolean(flag) => Raw::Bool(*flag),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Raw::Other("integer"), Raw::Integer),
        DeValue::Array(array) => {
            let texts = array.iter().map(|e| e.get_ref().as_str().map(str::to_owned));
            texts.collect::<Option<_>>().map_or(Raw::Other("array"), Raw::List)
        }
        other => Raw::Other(other.type_str()),
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}
