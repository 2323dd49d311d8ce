//! The corpus: attacks and legitimate requests, as data. The format is described in `corpus/README.md`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Names another directory with a corpus in the same format.
const DIRECTORY_VARIABLE: &str = "ROWGATE_ATTACKS_DIR";

/// An entry of `attacks.yaml`.
#[derive(Clone, Debug, Deserialize)]
pub struct Attack {
    pub id: String,
    pub category: String,
    #[serde(rename = "as")]
    pub attacker: String,
    #[serde(default)]
    pub residual: bool,
    #[serde(default)]
    pub requires: Vec<String>,
    #[serde(default)]
    pub note: String,
    pub requests: Vec<Step>,
    pub check: Vec<Check>,
}

/// One HTTP request of an attack.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Step {
    Statement(String),
    Batch(Vec<String>),
    Full(Box<FullStep>),
}

/// A request with everything that can be said about it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FullStep {
    #[serde(rename = "as", default)]
    pub user: Option<String>,
    #[serde(default)]
    pub sql: Option<Sql>,
    #[serde(default)]
    pub generate: Option<Generate>,
    #[serde(default)]
    pub background: bool,
    #[serde(default)]
    pub then_wait_ms: u64,
    #[serde(default)]
    pub capture: Option<String>,
    /// Parameters of a single statement, as JSON text.
    #[serde(default)]
    pub params: Option<String>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Over another backend than the one that the pool would hand out.
    #[serde(default)]
    pub other_connection: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Sql {
    One(String),
    Several(Vec<String>),
}

/// prefix + repeat × times + middle + close × times
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generate {
    pub prefix: String,
    pub repeat: String,
    pub times: usize,
    pub middle: String,
    pub close: String,
}

/// What must hold afterwards. Each entry of the list has one member.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Check {
    pub attacker_must_not_see: Option<Vec<String>>,
    pub victim: Option<Expectation>,
    pub owner: Option<Expectation>,
    pub attacker_within_ms: Option<u64>,
    pub attacker_max_bytes: Option<u64>,
    pub background_must_succeed: Option<Vec<String>>,
    pub differ: Option<(String, String)>,
    pub same: Option<(String, String)>,
    pub same_number: Option<(String, String, String)>,
    pub close_numbers: Option<(String, String, f64)>,
    pub victim_notices_must_not_contain: Option<Vec<String>>,
    pub server_log_must_not_grow: Option<LogBound>,
}

/// A statement and what it must answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    #[serde(rename = "as", default)]
    pub user: Option<String>,
    pub sql: Sql,
    #[serde(default)]
    pub rows: Option<Vec<Vec<Option<String>>>>,
    #[serde(default)]
    pub within_ms: Option<u64>,
    #[serde(default)]
    pub during: bool,
    #[serde(default)]
    pub other_connection: bool,
    #[serde(default)]
    pub alt_rows: Option<String>,
    #[serde(default)]
    pub stats_delay_ms: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct LogBound {
    pub pattern: String,
    pub max: usize,
}

/// A legitimate request.
#[derive(Clone, Debug, Deserialize)]
pub struct Control {
    pub id: String,
    #[serde(rename = "as")]
    pub user: String,
    pub sql: Sql,
    #[serde(default)]
    pub rows: Option<Vec<Vec<Option<String>>>>,
    #[serde(default)]
    pub fails: bool,
    #[serde(default)]
    pub then: Option<Follow>,
}

/// What the same user asks afterwards.
#[derive(Clone, Debug, Deserialize)]
pub struct Follow {
    pub sql: Sql,
    pub rows: Vec<Vec<Option<String>>>,
}

/// Everything that is replayed.
pub struct Corpus {
    pub attacks: Vec<Attack>,
    pub controls: Vec<Control>,
    pub fixture: String,
    pub seed: String,
}

impl Corpus {
    /// The corpus of the configured directory (default: this repository's copy), and this
    /// repository's further attacks.
    pub fn load() -> Self {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attacks/corpus");
        let base = directory(&own);
        let mut attacks: Vec<Attack> = parse(&base.join("attacks.yaml"));
        let mut controls: Vec<Control> = parse(&base.join("controls.yaml"));
        attacks.extend(parse::<Attack>(&own.join("further-attacks.yaml")));
        controls.extend(parse::<Control>(&own.join("further-controls.yaml")));
        Self {
            attacks,
            controls,
            fixture: read(&base.join("fixture.sql")),
            seed: read(&base.join("seed.sql")),
        }
    }
}

fn directory(own: &Path) -> PathBuf {
    if let Some(named) = std::env::var_os(DIRECTORY_VARIABLE) {
        return PathBuf::from(named);
    }
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/attacks");
    if shared.join("attacks.yaml").is_file() { shared } else { own.to_owned() }
}

fn parse<T: for<'de> Deserialize<'de>>(file: &Path) -> Vec<T> {
    serde_saphyr::from_str(&read(file)).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

impl Sql {
    pub fn statements(&self) -> Vec<String> {
        match self {
            Self::One(statement) => vec![statement.clone()],
            Self::Several(statements) => statements.clone(),
        }
    }

    pub fn is_batch(&self) -> bool {
        matches!(self, Self::Several(_))
    }
}

impl Generate {
    pub fn text(&self) -> String {
        [
            &self.prefix,
            &self.repeat.repeat(self.times),
            &self.middle,
            &self.close.repeat(self.times),
        ]
        .map(String::as_str)
        .concat()
    }
}

impl Step {
    /// The long form.
    pub fn full(&self) -> FullStep {
        let of = |sql| FullStep { sql: Some(sql), ..FullStep::default() };
        match self {
            Self::Statement(statement) => of(Sql::One(statement.clone())),
            Self::Batch(statements) => of(Sql::Several(statements.clone())),
            Self::Full(step) => (**step).clone(),
        }
    }
}

impl FullStep {
    /// What is sent: `sql`, or what `generate` makes.
    pub fn sql(&self) -> Sql {
        match (&self.sql, &self.generate) {
            (Some(sql), _) => sql.clone(),
            (None, Some(generate)) => Sql::One(generate.text()),
            (None, None) => panic!("a request without sql"),
        }
    }
}

impl Attack {
    /// Every statement's text, for names that occur in it.
    pub fn text(&self) -> String {
        self.requests
            .iter()
            .map(Step::full)
            .filter(|step| step.generate.is_none())
            .flat_map(|step| step.sql().statements())
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Whether the list is to be run once for each setting that carries claims.
    pub fn is_per_setting(&self) -> bool {
        self.text().contains("$SETTING")
    }
}
