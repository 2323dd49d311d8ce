//! The matrix for a terminal: one line for each relation, conditions as numbered notes below.

use std::collections::HashMap;
use std::fmt;

use super::matrix::{Access, Cell, Command, Matrix, Relation, RelationKind};

/// Prints a [`Matrix`] as plain text in columns.
pub struct Terminal<'m>(pub &'m Matrix);

/// Texts below the table, each once.
#[derive(Default)]
struct Notes {
    numbers: HashMap<String, usize>,
    texts: Vec<String>,
}

impl Notes {
    fn number(&mut self, text: String) -> usize {
        let next = self.texts.len() + 1;
        *self.numbers.entry(text).or_insert_with_key(|text| {
            self.texts.push(text.clone());
            next
        })
    }
}

/// What stands in a cell: a word, and the number of a note where the word does not say all.
fn word(cell: &Cell, notes: &mut Notes) -> String {
    let word = match cell.access {
        Access::Nobody => "-",
        Access::OwnRows => "own",
        Access::Condition => "some",
        Access::Everybody => "ALL",
    };
    let mut note = note(cell);
    if !cell.columns.is_empty() {
        let columns = format!("only columns {}", cell.columns.join(", "));
        note = Some(note.map_or(columns.clone(), |note| format!("{note}; {columns}")));
    }
    note.map_or_else(|| word.to_owned(), |note| format!("{word}[{}]", notes.number(note)))
}

/// What a reader has to know of a cell, if anything.
fn note(cell: &Cell) -> Option<String> {
    match cell.access {
        Access::Nobody | Access::OwnRows => None,
        Access::Everybody if cell.policies.is_empty() => cell.because.map(str::to_owned),
        Access::Everybody | Access::Condition => {
            let texts: Vec<String> = cell.policies.iter().map(super::markdown::policy).collect();
            Some(cell.because.map_or_else(|| texts.join("; "), str::to_owned))
        }
    }
}

/// What a reader has to know of a relation, besides its name.
pub(super) fn standing(relation: &Relation) -> &'static str {
    match relation.kind {
        RelationKind::Table if !relation.row_security => "RLS off",
        RelationKind::Table if !relation.forced => "not forced",
        RelationKind::Table => "",
        RelationKind::View => "view",
        RelationKind::InvokerView => "view, invoker",
        RelationKind::MaterializedView => "materialized",
        RelationKind::ForeignTable => "foreign",
    }
}

impl fmt::Display for Terminal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let matrix = self.0;
        let mut notes = Notes::default();
        let rows: Vec<Vec<String>> = matrix
            .relations
            .iter()
            .map(|relation| {
                let name = format!("{}.{}", relation.schema, relation.name);
                let cells = relation.cells.iter().map(|cell| word(cell, &mut notes));
                [name, standing(relation).to_owned()].into_iter().chain(cells).collect()
            })
            .collect();
        let commands = matrix.roles.iter().flat_map(|_| Command::ALL.map(Command::name));
        let heads: Vec<&str> = ["", ""].into_iter().chain(commands).collect();
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([heads[column].len()]).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..heads.len()).map(width).collect();

        write!(f, "{:1$}", "", widths[0] + widths[1] + 4)?;
        for (role, columns) in matrix.roles.iter().zip(widths[2..].chunks(Command::ALL.len())) {
            let group: usize = columns.iter().map(|width| width + 2).sum();
            write!(f, "{role:group$}")?;
        }
        writeln!(f)?;
        let heads: Vec<String> = heads.into_iter().map(str::to_owned).collect();
        for row in [&heads].into_iter().chain(&rows) {
            let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}  "));
            writeln!(f, "{}", padded.collect::<String>().trim_end())?;
        }
        writeln!(
            f,
            "\n- nobody, own: rows with the caller's id, some: by a condition, ALL: every row"
        )?;
        for (number, text) in notes.texts.iter().enumerate() {
            writeln!(f, "[{}] {text}", number + 1)?;
        }
        for way in &matrix.ways_around {
            writeln!(f, "! {} {}", way.role, way.what)?;
        }
        Ok(())
    }
}
