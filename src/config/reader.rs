//! Reads one key after the other and collects what is wrong with them.
//!
//! The keys it is asked for are the keys that exist: whatever else was written is unknown.

use super::error::{ConfigError, Origin, Problem};
use super::file::{ISSUER, ROLE, Raw};
use super::layers::{Found, Layers, OTHER_VARIABLES, variable};
use super::suggest::closest;
use super::values::Parsed;

pub(super) struct Reader<'a> {
    pub(super) layers: &'a Layers<'a>,
    /// Dotted paths, each once.
    pub(super) asked: Vec<&'static str>,
    /// Names of variables that are keys under another name.
    pub(super) aliases: Vec<&'static str>,
    pub(super) problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(layers: &'a Layers<'a>) -> Self {
        Self { layers, asked: Vec::new(), aliases: Vec::new(), problems: Vec::new() }
    }

    /// Overwrites `target` if the key is given.
    pub(super) fn set<T>(
        &mut self,
        key: &'static str,
        target: &mut T,
        parse: fn(&Raw) -> Parsed<T>,
    ) {
        if let Some(value) = self.get(key, 0, parse) {
            *target = value;
        }
    }

    /// The key's value, if it is given and good. `issuer` counts the `[[issuer]]`s from 0.
    pub(super) fn get<T>(
        &mut self,
        key: &'static str,
        issuer: usize,
        parse: fn(&Raw) -> Parsed<T>,
    ) -> Option<T> {
        self.ask(key);
        let found = self.layers.find(key, issuer)?;
        match parse(&found.raw) {
            Ok(value) => Some(value),
            Err(expected) => {
                self.refuse(key, &found, expected);
                None
            }
        }
    }

    /// Notes that a key exists.
    pub(super) fn ask(&mut self, key: &'static str) {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
    }

    /// A complaint about a value that may be shown.
    pub(super) fn refuse(&mut self, key: &str, found: &Found, complaint: impl Into<String>) {
        let value = match &found.raw {
            Raw::Text(text) => format!("{text:?}"),
            Raw::Integer(number) => number.to_string(),
            Raw::Bool(flag) => flag.to_string(),
            Raw::List(items) => format!("{items:?}"),
            Raw::Other(kind) => format!("({kind})"),
        };
        self.problem(found.origin.clone(), key, Some(value), complaint);
    }

    /// A complaint about something missing or about several values together.
    pub(super) fn complain(&mut self, key: &str, complaint: impl Into<String>) {
        self.problem(Origin::Whole, key, None, complaint);
    }

    pub(super) fn problem(
        &mut self,
        origin: Origin,
        key: &str,
        value: Option<String>,
        complaint: impl Into<String>,
    ) {
        let complaint = complaint.into();
        self.problems.push(Problem { origin, key: key.to_owned(), value, complaint });
    }

    /// Complains about every key that nobody asked for. Their values are not shown: a misspelt key may
    /// hold a secret.
    pub(super) fn refuse_unknown(&mut self) {
        let file = &self.layers.file;
        for (key, written) in file.issuers.iter().chain(&file.roles).flatten().chain(&file.keys) {
            if !self.asked.contains(&key.as_str()) {
                let origin = self.layers.at(written.line);
                let advice = self.advice_on_key(key);
                self.problem(origin, key, None, advice);
            }
        }
        for flag in self.layers.flags {
            if !self.asked.contains(&flag.key.as_str()) {
                let advice = self.advice_on_key(&flag.key);
                self.problem(Origin::Flag(flag.name.clone()), &flag.key, None, advice);
            }
        }
        self.refuse_unknown_variables();
    }

    fn refuse_unknown_variables(&mut self) {
        let variables: Vec<String> = self.asked.iter().map(|key| variable(key)).collect();
        let mut known: Vec<&str> = variables.iter().map(String::as_str).collect();
        known.extend(OTHER_VARIABLES);
        known.extend(&self.aliases);
        for name in self.layers.environment.own_names() {
            if !known.contains(&name) {
                let advice = advice(closest(name, &known));
                self.problem(Origin::Environment(name.to_owned()), name, None, advice);
            }
        }
    }

    fn advice_on_key(&self, key: &str) -> String {
        if key == ISSUER {
            return "expected a table of its own for each issuer, headed [[issuer]]".to_owned();
        }
        if key == ROLE {
            return "expected a table of its own for each rule, headed [[role]]".to_owned();
        }
        advice(closest(key, &self.asked))
    }

    pub(super) fn into_result<T>(self, value: Option<T>) -> Result<T, ConfigError> {
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => Err(ConfigError::Invalid(self.problems)),
        }
    }
}

fn advice(meant: Option<&str>) -> String {
    match meant {
        Some(name) => format!("unknown key; did you mean {name}?"),
        None => "unknown key; rowgate.example.toml lists all".to_owned(),
    }
}
