//! The matrix as Markdown, for a repository or a ticket.

use std::fmt::Write as _;

use super::matrix::{Cell, Command, Matrix, Policy};
use super::terminal::standing;

/// A document with a table for each role, and every policy's text below.
#[must_use]
pub fn document(matrix: &Matrix) -> String {
    let mut text = format!("# Who may do what in {}\n", escaped(&matrix.database));
    for (position, role) in matrix.roles.iter().enumerate() {
        let _ = write!(text, "\n## {}\n\n|  |  |", escaped(role));
        for command in Command::ALL {
            let _ = write!(text, " {} |", command.name());
        }
        text.push_str("\n|---|---|---|---|---|---|\n");
        for relation in &matrix.relations {
            let name = format!("{}.{}", relation.schema, relation.name);
            let _ = write!(text, "| {} | {} |", escaped(&name), standing(relation));
            let cells = relation.cells.chunks(Command::ALL.len()).nth(position);
            for cell in cells.into_iter().flatten() {
                let _ = write!(text, " {} |", escaped(&words(cell)));
            }
            text.push('\n');
        }
    }
    if !matrix.ways_around.is_empty() {
        text.push_str("\n## Past every policy\n\n");
        for way in &matrix.ways_around {
            let _ = writeln!(text, "- {} {}", escaped(&way.role), escaped(&way.what));
        }
    }
    text.push_str("\n## Policies\n");
    for relation in &matrix.relations {
        let mut policies: Vec<String> = relation
            .cells
            .iter()
            .flat_map(|cell| {
                let said = |one: &Policy| {
                    format!("- {} for {}: {}", cell.role, cell.command.name(), policy(one))
                };
                cell.policies.iter().map(said)
            })
            .collect();
        policies.dedup();
        if !policies.is_empty() {
            let name = format!("{}.{}", relation.schema, relation.name);
            let _ = write!(text, "\n### {}\n\n", escaped(&name));
            for line in policies {
                let _ = writeln!(text, "{}", escaped(&line));
            }
        }
    }
    text
}

fn words(cell: &Cell) -> String {
    let mut words = cell.access.name().to_owned();
    if let Some(because) = cell.because {
        let _ = write!(words, " ({because})");
    }
    if !cell.columns.is_empty() {
        let _ = write!(words, ", columns {}", cell.columns.join(", "));
    }
    words
}

/// A policy on one line, its restrictions in PostgreSQL's own words.
pub(super) fn policy(policy: &Policy) -> String {
    let mut text = policy.name.clone();
    if !policy.permissive {
        text.push_str(" (restrictive)");
    }
    match (&policy.using, &policy.check) {
        (Some(using), Some(check)) if using == check => {
            let _ = write!(text, ": using and with check {using}");
        }
        (using, check) => {
            for (word, part) in [("using", using), ("with check", check)] {
                if let Some(part) = part {
                    let _ = write!(text, ": {word} {part}");
                }
            }
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Names and expressions come from a database: none of their characters counts as Markdown or HTML.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            '\n' | '\r' => out.push(' '),
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '#' => {
                out.push('\\');
                out.push(character);
            }
            other => out.push(other),
        }
    }
    out
}
