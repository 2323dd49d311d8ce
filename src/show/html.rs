//! The matrix as one self-contained page: no script or style from elsewhere, nothing fetched.
//!
//! Names and expressions come from a database; `maud` escapes them.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::matrix::{Access, Cell, Command, Matrix, Policy, Relation};
use super::terminal::standing;

const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");

/// The whole page.
#[must_use]
pub fn page(matrix: &Matrix) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Who may do what in " (matrix.database) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "Who may do what in " code { (matrix.database) } }
                    (legend())
                    input id="search" type="search" placeholder="Find a table" aria-label="Find a table";
                }
                main {
                    (table(matrix))
                    (ways_around(matrix))
                }
                footer {
                    p {
                        "Read from the catalogue by " code { "rowgate policies show" } ". Point at a cell, or \
                         move to it with the Tab key, to see the policies behind it. “Own rows” are those in \
                         which a column equals " code { "auth.user_id()" } " or " code { "auth.uid()" } "."
                    }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
    .into_string()
}

fn legend() -> Markup {
    let all = [
        (Access::Nobody, "no privilege, or no policy lets a row through"),
        (Access::OwnRows, "rows with the caller's id"),
        (Access::Condition, "rows that fulfil a condition"),
        (Access::Everybody, "every row"),
    ];
    html! {
        ul class="legend" {
            @for (access, words) in all {
                li { span class={ "chip " (class(access)) } { (access.name()) } " " (words) }
            }
        }
    }
}

fn table(matrix: &Matrix) -> Markup {
    html! {
        table {
            thead {
                tr {
                    th rowspan="2" scope="col" { "Table" }
                    @for role in &matrix.roles {
                        th class="role" colspan=(Command::ALL.len()) scope="colgroup" { code { (role) } }
                    }
                }
                tr {
                    @for _ in &matrix.roles {
                        @for command in Command::ALL {
                            th scope="col" class=[(command == Command::Select).then_some("first")] {
                                (command.name())
                            }
                        }
                    }
                }
            }
            tbody {
                @for relation in &matrix.relations { (row(relation)) }
            }
        }
        p id="none" hidden { "No table has a name like this." }
    }
}

fn row(relation: &Relation) -> Markup {
    let standing = standing(relation);
    html! {
        tr data-name=(format!("{}.{}", relation.schema, relation.name)) {
            th scope="row" {
                span class="schema" { (relation.schema) "." } span class="name" { (relation.name) }
                @if !standing.is_empty() { span class="standing" { (standing) } }
            }
            @for cell in &relation.cells { (one(cell)) }
        }
    }
}

fn one(cell: &Cell) -> Markup {
    let first = cell.command == Command::Select;
    html! {
        td class=[first.then_some("first")] {
            div class={ "cell " (class(cell.access)) } tabindex="0" {
                (cell.access.name())
                @if !cell.columns.is_empty() { span class="columns" { (cell.columns.len()) " col." } }
                div class="why" role="tooltip" {
                    p { strong { (cell.role) } " · " (cell.command.name()) " · " (cell.access.name()) }
                    @if let Some(because) = cell.because { p { (because) } }
                    @if !cell.columns.is_empty() {
                        p { "only the columns " code { (cell.columns.join(", ")) } }
                    }
                    @for policy in &cell.policies { (text(policy)) }
                }
            }
        }
    }
}

fn text(policy: &Policy) -> Markup {
    html! {
        p class="policy" {
            code { (policy.name) }
            @if !policy.permissive { " restrictive" }
        }
        @for (word, part) in [("using", &policy.using), ("with check", &policy.check)] {
            @if let Some(part) = part { pre { (word) " " (part) } }
        }
    }
}

fn ways_around(matrix: &Matrix) -> Markup {
    html! {
        @if !matrix.ways_around.is_empty() {
            section class="ways" {
                h2 { "Past every policy" }
                ul {
                    @for way in &matrix.ways_around { li { code { (way.role) } " " (way.what) } }
                }
            }
        }
    }
}

fn class(access: Access) -> &'static str {
    match access {
        Access::Nobody => "nobody",
        Access::OwnRows => "own",
        Access::Condition => "condition",
        Access::Everybody => "everybody",
    }
}
