//! What a user got for one request, and which layer it shows.

use std::time::Duration;

use serde_json::Value;

/// Members of a failure that say nothing about rows: positions, and places in the server's source.
const NOT_VISIBLE: [&str; 5] = ["position", "internalPosition", "file", "line", "routine"];

/// An answer, or as much of it as arrived.
#[derive(Clone, Debug)]
pub struct Answer {
    /// 0: the connection was lost.
    pub status: u16,
    pub elapsed: Duration,
    pub bytes_received: u64,
    body: Vec<u8>,
    whole: bool,
    json: Option<Value>,
}

/// What stopped a request, or did not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// Before anything was looked at: the token, or the form of the request.
    Http(String),
    /// The statement was not run.
    Admission(String),
    /// More at once than one identity may have.
    Fairness,
    /// Claims without a good seal.
    Seal,
    /// A privilege that the role lacks.
    Privileges,
    /// A policy refused a row.
    Policy,
    /// Time, bytes, stack, memory.
    Bounds(String),
    /// The server's own rules: syntax, types, names that do not exist.
    Server(String),
    /// It ran.
    Ran,
    /// It ran, and no row was there for this user.
    NoRows,
    /// The connection was lost.
    Lost,
}

impl Answer {
    pub fn new(status: u16, body: Vec<u8>, whole: bool) -> Self {
        let json = if whole { serde_json::from_slice(&body).ok() } else { None };
        Self { status, elapsed: Duration::ZERO, bytes_received: 0, body, whole, json }
    }

    pub fn lost() -> Self {
        Self::new(0, Vec::new(), false)
    }

    pub fn succeeded(&self) -> bool {
        self.status == 200 && self.whole && self.json.is_some()
    }

    /// The rows of the last statement, as text; none if the request failed.
    pub fn rows(&self) -> Option<Vec<Vec<Option<String>>>> {
        if !self.succeeded() {
            return None;
        }
        let json = self.json.as_ref()?;
        let last = match json.get("results") {
            Some(results) => results.as_array()?.last()?,
            None => json,
        };
        let row = |row: &Value| row.as_array().map(|cells| cells.iter().map(text).collect());
        last["rows"].as_array()?.iter().map(row).collect()
    }

    /// The SQLSTATE or the gateway's code.
    pub fn code(&self) -> &str {
        self.json.as_ref().and_then(|json| json["code"].as_str()).unwrap_or("")
    }

    pub fn message(&self) -> &str {
        self.json.as_ref().and_then(|json| json["message"].as_str()).unwrap_or("")
    }

    /// Everything that a user can read in it: values, column names, words of errors.
    pub fn visible(&self) -> String {
        let mut visible = String::new();
        match &self.json {
            Some(json) => collect(json, &mut visible),
            // It broke off, or is no JSON: all of it.
            None => visible.push_str(&String::from_utf8_lossy(&self.body)),
        }
        visible
    }

    /// In a few words, for people.
    pub fn summary(&self) -> String {
        match (self.status, self.rows()) {
            (0, _) => "connection lost".to_owned(),
            (_, Some(rows)) => shortened(&format!("{:?}", plain(&rows))),
            (status, None) => shortened(&format!("{status} {} {}", self.code(), self.message())),
        }
    }

    pub fn layer(&self) -> Layer {
        let code = self.code().to_owned();
        match self.status {
            0 => Layer::Lost,
            200 if !self.whole => Layer::Bounds("broken off".to_owned()),
            200 if self.rows().is_none_or(|rows| rows.is_empty()) => Layer::NoRows,
            200 => Layer::Ran,
            403 => Layer::Admission(code),
            429 => Layer::Fairness,
            504 | 507 => Layer::Bounds(code),
            500 | 503 => Layer::Server(code),
            _ if code.starts_with("RG") => Layer::Http(code),
            _ => self.server_layer(code),
        }
    }

    fn server_layer(&self, code: String) -> Layer {
        match code.as_str() {
            "28000" => Layer::Seal,
            "2D000" => Layer::Admission(code),
            "0A000" if self.message().contains("over HTTP") => Layer::Admission(code),
            "42501" if self.message().contains("row-level security") => Layer::Policy,
            "42501" => Layer::Privileges,
            "57014" | "54000" | "54001" | "55P03" => Layer::Bounds(code),
            _ if code.starts_with("53") => Layer::Bounds(code),
            _ => Layer::Server(code),
        }
    }
}

/// Rows without their nulls being told apart from the word.
fn plain(rows: &[Vec<Option<String>>]) -> Vec<Vec<&str>> {
    rows.iter()
        .take(12)
        .map(|row| row.iter().map(|cell| cell.as_deref().unwrap_or("NULL")).collect())
        .collect()
}

pub fn shortened(text: &str) -> String {
    const LONGEST: usize = 160;
    let line = text.replace(['\n', '\r'], " ");
    match line.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

fn text(cell: &Value) -> Option<String> {
    match cell {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn collect(json: &Value, visible: &mut String) {
    match json {
        Value::String(text) => {
            visible.push_str(text);
            visible.push('\n');
        }
        Value::Array(members) => members.iter().for_each(|member| collect(member, visible)),
        Value::Object(members) => members
            .iter()
            .filter(|(name, _)| !NOT_VISIBLE.contains(&name.as_str()))
            .for_each(|(_, member)| collect(member, visible)),
        _ => {}
    }
}
