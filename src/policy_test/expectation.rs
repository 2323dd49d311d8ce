//! What must come of a statement, compared with what came.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::outcome::Outcome;

/// One thing that is expected.
#[derive(Clone, Debug)]
pub(super) enum Expectation {
    /// So many rows come back.
    Rows(u64),
    /// So many rows are inserted, updated, deleted or merged.
    Changes(u64),
    /// These rows come back.
    Returns(Table),
    /// It is refused with this SQLSTATE.
    Error(String),
    /// It is refused with a message that contains this.
    Message(String),
}

/// Rows as they stand in a test file.
#[derive(Clone, Debug)]
pub(super) enum Table {
    /// As psql prints them; `null` stands for null.
    Aligned { columns: Vec<String>, rows: Vec<Vec<String>> },
    /// As objects.
    Json(Vec<Map<String, Value>>),
}

/// A row with the same text on both sides means the same value.
type Shown = Vec<String>;

const NULL: &str = "null";

impl Expectation {
    /// Why `outcome` is not what was expected.
    pub fn check(&self, outcome: &Outcome, ordered: bool) -> Result<(), String> {
        match (self, outcome) {
            (Self::Error(code), Outcome::Refused { sqlstate, .. }) if code == sqlstate => Ok(()),
            (Self::Message(part), Outcome::Refused { message, .. }) if message.contains(part) => {
                Ok(())
            }
            (Self::Message(part), Outcome::Refused { sqlstate, message }) => {
                Err(format!("expected a message with \"{part}\"\nactual:  {message} ({sqlstate})"))
            }
            (Self::Error(code), Outcome::Done { rows, count, .. }) => {
                let what = if rows.is_empty() { "changed" } else { "returned" };
                Err(format!(
                    "expected to be refused with {code}\nactual:  it {what} {count} {}",
                    noun(*count)
                ))
            }
            (Self::Message(part), Outcome::Done { .. }) => {
                Err(format!("expected to be refused with \"{part}\"\nactual:  it was not refused"))
            }
            (_, Outcome::Refused { sqlstate, message }) => Err(format!(
                "expected {}\nactual:  refused with {sqlstate}: {message}",
                self.words()
            )),
            (Self::Rows(expected), Outcome::Done { rows, .. }) => {
                let actual = rows.len() as u64;
                same(*expected, actual, "to return")
            }
            (Self::Changes(expected), Outcome::Done { count, .. }) => {
                same(*expected, *count, "to change")
            }
            (Self::Returns(table), Outcome::Done { columns, rows, .. }) => {
                table.check(columns, rows, ordered)
            }
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Rows(number) => format!("to return {number} {}", noun(*number)),
            Self::Changes(number) => format!("to change {number} {}", noun(*number)),
            Self::Returns(Table::Aligned { rows, .. }) => {
                format!("{} {}", rows.len(), noun(rows.len() as u64))
            }
            Self::Returns(Table::Json(rows)) => {
                format!("{} {}", rows.len(), noun(rows.len() as u64))
            }
            Self::Error(code) => format!("to be refused with {code}"),
            Self::Message(part) => format!("to be refused with \"{part}\""),
        }
    }
}

fn noun(number: u64) -> &'static str {
    if number == 1 { "row" } else { "rows" }
}

fn same(expected: u64, actual: u64, what: &str) -> Result<(), String> {
    if expected == actual {
        return Ok(());
    }
    Err(format!(
        "expected {what} {expected} {}\nactual:  {actual} {}",
        noun(expected),
        noun(actual)
    ))
}

impl Table {
    /// Lines of a table as psql prints it, or one JSON array or object for each line.
    pub fn parse(lines: &[&str]) -> Result<Self, String> {
        let lines: Vec<&str> =
            lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect();
        match lines.first() {
            None => Err("`returns` needs rows, or a line with the names of the columns".to_owned()),
            Some(first) if first.starts_with('{') || first.starts_with('[') => Self::json(&lines),
            Some(_) => Self::aligned(&lines),
        }
    }

    fn json(lines: &[&str]) -> Result<Self, String> {
        let bad = |error: serde_json::Error| format!("the rows are no JSON objects: {error}");
        let text = lines.join("\n");
        if text.starts_with('[') {
            return serde_json::from_str(&text).map(Self::Json).map_err(bad);
        }
        let rows = serde_json::Deserializer::from_str(&text).into_iter().collect::<Result<_, _>>();
        rows.map(Self::Json).map_err(bad)
    }

    fn aligned(lines: &[&str]) -> Result<Self, String> {
        let cells = |line: &str| -> Vec<String> {
            // Markdown's outer bars are no cells.
            let line = line.strip_prefix('|').unwrap_or(line);
            let line = line.strip_suffix('|').unwrap_or(line);
            line.split('|').map(|cell| cell.trim().to_owned()).collect()
        };
        let columns = cells(lines[0]);
        let mut rows = Vec::new();
        for line in &lines[1..] {
            let is_rule = line.bytes().all(|byte| b"-+|: ".contains(&byte)) && line.contains("--");
            let is_count =
                line.starts_with('(') && line.trim_end_matches(')').ends_with(['w', 's']);
            if is_count && count(line).is_some_and(|number| number != rows.len()) {
                return Err(format!("{line} stands below {} rows", rows.len()));
            }
            if is_rule || is_count && count(line).is_some() {
                continue;
            }
            let row = cells(line);
            if row.len() != columns.len() {
                let (has, wants) = (row.len(), columns.len());
                return Err(format!(
                    "`{line}` has {has} cells, the columns are {wants}; use JSON for values with a bar"
                ));
            }
            rows.push(row);
        }
        Ok(Self::Aligned { columns, rows })
    }

    fn check(
        &self,
        columns: &[String],
        rows: &[Vec<Option<String>>],
        ordered: bool,
    ) -> Result<(), String> {
        let (expected, actual): (Vec<Shown>, Vec<Shown>) = match self {
            Self::Aligned { columns: wanted, rows: expected } => {
                if wanted.as_slice() != columns {
                    return Err(other_columns(&wanted.join(", "), columns));
                }
                let show = |cell: &Option<String>| cell.clone().unwrap_or_else(|| NULL.to_owned());
                let shown = |row: &Vec<Option<String>>| {
                    row.iter().map(show).map(|cell| cell.trim().to_owned()).collect()
                };
                (expected.clone(), rows.iter().map(shown).collect())
            }
            Self::Json(objects) => {
                let mut expected = Vec::new();
                for (number, object) in objects.iter().enumerate() {
                    if object.len() != columns.len()
                        || !columns.iter().all(|name| object.contains_key(name))
                    {
                        let names: Vec<&str> = object.keys().map(String::as_str).collect();
                        return Err(other_columns(&names.join(", "), columns));
                    }
                    // Where the values mean the same, the server's text stands on both sides.
                    let twin =
                        rows.iter().find(|row| means(object, columns, row)).or(rows.get(number));
                    expected.push(shown_object(object, columns, twin));
                }
                (
                    expected,
                    rows.iter()
                        .map(|row| row.iter().map(|cell| shown_value(cell.as_deref())).collect())
                        .collect(),
                )
            }
        };
        compare(expected, actual, ordered)
    }
}

fn other_columns(expected: &str, actual: &[String]) -> String {
    format!("expected the columns {expected}\nactual:  {}", actual.join(", "))
}

fn shown_value(cell: Option<&str>) -> String {
    match cell {
        None => NULL.to_owned(),
        // As in JSON, so that the text null is not null.
        Some(text) => Value::from(text).to_string(),
    }
}

fn means(object: &Map<String, Value>, columns: &[String], row: &[Option<String>]) -> bool {
    columns
        .iter()
        .zip(row)
        .all(|(name, cell)| object.get(name).is_some_and(|value| equal(value, cell.as_deref())))
}

fn shown_object(
    object: &Map<String, Value>,
    columns: &[String],
    twin: Option<&Vec<Option<String>>>,
) -> Shown {
    let cell = |(at, name): (usize, &String)| {
        let value = object.get(name).unwrap_or(&Value::Null);
        let other = twin.and_then(|row| row.get(at));
        match other {
            Some(other) if equal(value, other.as_deref()) => shown_value(other.as_deref()),
            _ => value.to_string(),
        }
    };
    columns.iter().enumerate().map(cell).collect()
}

/// Whether a JSON value is what `PostgreSQL` wrote as text.
fn equal(expected: &Value, actual: Option<&str>) -> bool {
    match (expected, actual) {
        (Value::Null, None) => true,
        (Value::Bool(value), Some(text)) => text == if *value { "t" } else { "f" },
        (Value::Number(number), Some(text)) => {
            text == number.to_string()
                || text.parse().is_ok_and(|value: f64| number.as_f64() == Some(value))
        }
        (Value::String(value), Some(text)) => value == text,
        (Value::Array(_) | Value::Object(_), Some(text)) => {
            serde_json::from_str::<Value>(text).is_ok_and(|value| value == *expected)
        }
        _ => false,
    }
}

/// The number in `(2 rows)`.
fn count(line: &str) -> Option<usize> {
    let (number, word) = line.strip_prefix('(')?.strip_suffix(')')?.split_once(' ')?;
    ["row", "rows"].contains(&word).then(|| number.parse().ok()).flatten()
}

/// The difference as lines of a diff, unless there is none.
fn compare(mut expected: Vec<Shown>, mut actual: Vec<Shown>, ordered: bool) -> Result<(), String> {
    if !ordered {
        expected.sort();
        actual.sort();
    }
    if expected == actual {
        return Ok(());
    }
    let (expected, actual): (Vec<String>, Vec<String>) = (
        expected.iter().map(|row| row.join(" | ")).collect(),
        actual.iter().map(|row| row.join(" | ")).collect(),
    );
    let mut text = "the rows differ (- expected, + actual)".to_owned();
    for (sign, line) in diff(&expected, &actual) {
        // Writing into a String cannot fail.
        let _ = write!(text, "\n{sign} {line}");
    }
    Err(text)
}

/// Longer than this, rows are compared from both ends only: the table below grows with the square.
const MAX_DIFF: usize = 500;

/// Lines that only one side has, among those of both, by their longest common subsequence.
fn diff<'a>(old: &'a [String], new: &'a [String]) -> Vec<(char, &'a str)> {
    let mut lines = Vec::new();
    if old.len().max(new.len()) > MAX_DIFF {
        lines
            .extend(old.iter().filter(|line| !new.contains(line)).map(|line| ('-', line.as_str())));
        lines
            .extend(new.iter().filter(|line| !old.contains(line)).map(|line| ('+', line.as_str())));
        return lines;
    }
    let mut common = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push((' ', old[i].as_str()));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || i < old.len() && common[i + 1][j] >= common[i][j + 1] {
            lines.push(('-', old[i].as_str()));
            i += 1;
        } else {
            lines.push(('+', new[j].as_str()));
            j += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(columns: &[&str], rows: &[&[Option<&str>]]) -> Outcome {
        let row = |row: &&[Option<&str>]| row.iter().map(|cell| cell.map(str::to_owned)).collect();
        Outcome::Done {
            columns: columns.iter().map(|name| (*name).to_owned()).collect(),
            rows: rows.iter().map(row).collect(),
            count: rows.len() as u64,
        }
    }

    fn returns(lines: &[&str]) -> Expectation {
        Expectation::Returns(Table::parse(lines).unwrap())
    }

    #[test]
    fn rows_are_compared_as_psql_prints_them_and_as_json() {
        let outcome = done(
            &["id", "done", "note"],
            &[&[Some("1"), Some("t"), None], &[Some("2"), Some("f"), Some("x")]],
        );
        for lines in [
            &[
                " id | done | note",
                "----+------+------",
                "  1 | t | null",
                "  2 | f | x",
                "(2 rows)",
            ][..],
            &["| id | done | note |", "| 2 | f | x |", "| 1 | t | null |"],
            &[
                r#"{"id": 2, "done": false, "note": "x"}"#,
                r#"{"note": null, "done": true, "id": 1}"#,
            ],
            &[
                r#"[{"id": 1, "done": true, "note": null},"#,
                r#" {"id": 2, "done": false, "note": "x"}]"#,
            ],
        ] {
            assert_eq!(returns(lines).check(&outcome, false), Ok(()), "{lines:?}");
        }
        let ordered = returns(&["id | done | note", "2 | f | x", "1 | t | null"]);
        assert!(ordered.check(&outcome, true).is_err(), "the statement has an order");
        let json = returns(&[
            r#"{"id": 1, "done": true, "note": "null"}"#,
            r#"{"id": 2, "done": false, "note": "x"}"#,
        ]);
        assert!(json.check(&outcome, false).is_err(), "the text null is not null");
        assert!(Table::parse(&["a | b", "1"]).is_err());
        assert!(Table::parse(&["a", "1", "(2 rows)"]).is_err());
    }

    #[test]
    fn a_difference_is_told_line_by_line() {
        let outcome = done(&["task"], &[&[Some("a")], &[Some("c")], &[Some("d")]]);
        let told = returns(&["task", "a", "b", "d"]).check(&outcome, true).unwrap_err();
        assert_eq!(told, "the rows differ (- expected, + actual)\n  a\n- b\n+ c\n  d");
        let refused = Outcome::Refused { sqlstate: "42501".to_owned(), message: "no".to_owned() };
        let told = Expectation::Rows(2).check(&refused, false).unwrap_err();
        assert_eq!(told, "expected to return 2 rows\nactual:  refused with 42501: no");
        assert_eq!(Expectation::Error("42501".to_owned()).check(&refused, false), Ok(()));
        assert!(Expectation::Error("23505".to_owned()).check(&refused, false).is_err());
        assert!(Expectation::Error("42501".to_owned()).check(&outcome, false).is_err());
    }
}
