//! Mends in the files what can be mended without knowing what was meant.
//!
//! Five rules: a bare `auth.user_id()` is put into a query of its own (RG-L020); a missing WITH CHECK is
//! written out as USING, which is what it means (RG-L012); a table with policies gets its row-level security
//! enabled (RG-L002) and forced (RG-L004); what no policy is asked for is revoked after the grants
//! (RG-L042). Only in `grants/` and `policies/`: an applied migration is never touched. A statement that is
//! not found, or not understood, is left as it is.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::PathBuf;

use pg_query::ParserOptions;
use pg_query::protobuf::Token;

use super::files::{Deed, File, Located};
use super::rules::{Object, wrap};
use super::tree::{self, Expr};
use super::{Finding, Outcome};

/// A file that is to be written.
#[derive(Debug)]
pub struct Rewrite {
    /// Where it is.
    pub path: PathBuf,
    /// What it will say.
    pub text: String,
    /// What changes in it, with the lines before (`-`) and after (`+`).
    pub diff: String,
    /// How many findings it mends.
    pub mended: usize,
}

/// Text that takes the place of other text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Edit {
    start: usize,
    end: usize,
    text: String,
}

/// Which files are to be written, and how.
#[must_use]
pub fn rewrites(outcome: &Outcome) -> Vec<Rewrite> {
    let mut planned: Vec<(usize, BTreeSet<Edit>, usize)> = Vec::new();
    for reported in outcome.findings() {
        if let Some((at, edits)) = edits(outcome, &reported.finding) {
            match planned.iter_mut().find(|(file, ..)| *file == at) {
                Some((_, all, mended)) => {
                    all.extend(edits);
                    *mended += 1;
                }
                None => planned.push((at, edits.into_iter().collect(), 1)),
            }
        }
    }
    let rewrite = |(at, edits, mended): (usize, BTreeSet<Edit>, usize)| {
        let file = &outcome.files.0[at];
        let edits: Vec<Edit> = edits.into_iter().collect();
        Rewrite {
            path: file.path.clone(),
            text: apply(&file.text, 0..file.text.len(), &edits),
            diff: diff(file, &edits),
            mended,
        }
    };
    planned.into_iter().map(rewrite).collect()
}

/// The edits that mend a finding, in one file; nothing if it is not one of ours.
fn edits(outcome: &Outcome, finding: &Finding) -> Option<(usize, Vec<Edit>)> {
    let files = outcome.files.0.iter().enumerate();
    let mut statements = files
        .filter(|(_, file)| is_ours(file))
        .flat_map(|(at, file)| file.statements.iter().map(move |located| (at, file, located)));
    let about = |located: &Located, deed: Deed| {
        located.deed == deed && located.objects.contains(&finding.object)
    };
    match (finding.rule.id, &finding.object) {
        ("RG-L012" | "RG-L020", Object::Policy(..)) => {
            let (at, file, located) = statements.find(|(_, _, located)| {
                located.deed == Deed::Policy && located.objects.first() == Some(&finding.object)
            })?;
            let edits = match finding.rule.id {
                "RG-L020" => wrapped(file, located),
                _ => checked(file, located),
            };
            (!edits.is_empty()).then_some((at, edits))
        }
        ("RG-L002" | "RG-L004", Object::Relation(..)) => {
            // Behind what switches it on, or else in front of the table's first policy.
            let all: Vec<_> = statements.collect();
            let found = |deed| all.iter().find(|(_, _, located)| about(located, deed));
            let mend = finding.mend.as_ref()?;
            if let Some((at, file, located)) = found(Deed::RowSecurity) {
                let end = behind(file, located);
                return Some((*at, vec![insert(end, format!("\n{mend}"))]));
            }
            let (at, _, located) = found(Deed::Policy)?;
            Some((*at, vec![insert(located.start, format!("{mend}\n\n"))]))
        }
        ("RG-L042", Object::Relation(..)) => {
            let (at, file, located) =
                statements.rfind(|(_, _, located)| about(located, Deed::Grant))?;
            let mend = finding.mend.as_ref()?;
            Some((at, vec![insert(behind(file, located), format!("\n{mend}"))]))
        }
        _ => None,
    }
}

/// Files that are applied anew whenever they change.
fn is_ours(file: &File) -> bool {
    let folder = file.path.parent().and_then(|folder| folder.file_name());
    folder.is_some_and(|folder| folder == "grants" || folder == "policies")
}

fn insert(at: usize, text: String) -> Edit {
    Edit { start: at, end: at, text }
}

/// The place behind a statement's semicolon.
fn behind(file: &File, located: &Located) -> usize {
    let rest = &file.text[located.end..];
    let blanks = rest.len() - rest.trim_start().len();
    located.end + if rest[blanks..].starts_with(';') { blanks + 1 } else { 0 }
}

/// Where calls that tell who is calling begin in a statement that makes a policy, outside of queries.
fn bare_calls(sql: &str) -> Vec<usize> {
    fn collect(expr: &Expr, into: &mut Vec<usize>) {
        match expr {
            Expr::Query(_) => return,
            Expr::Call { at, .. } if is_steady(expr) => return into.push(at.0),
            _ => {}
        }
        for child in expr.children() {
            collect(child, into);
        }
    }
    let mut calls = Vec::new();
    let parsed = pg_query::parse(sql, ParserOptions::default()).ok();
    let value = parsed.and_then(|parsed| serde_json::to_value(parsed.protobuf.stmts.first()?).ok());
    if let Some(value) = value {
        let create = &value["stmt"]["node"]["CreatePolicyStmt"];
        for clause in ["qual", "with_check"] {
            for expr in &tree::parts(&create[clause]) {
                collect(expr, &mut calls);
            }
        }
    }
    calls
}

/// Whether a call tells who is calling, and nothing about a row.
fn is_steady(expr: &Expr) -> bool {
    expr.is_identity() && !expr.any(|part| matches!(part, Expr::Column(_)))
}

fn wrapped(file: &File, located: &Located) -> Vec<Edit> {
    let sql = &file.text[located.start..located.end];
    let edit = |start: usize| {
        let end = tree::call_end(sql, start)?;
        let text = format!("(select {})", &sql[start..end]);
        Some(Edit { start: located.start + start, end: located.start + end, text })
    };
    bare_calls(sql).into_iter().filter_map(edit).collect()
}

fn checked(file: &File, located: &Located) -> Vec<Edit> {
    let sql = &file.text[located.start..located.end];
    let Some(using) = using_clause(sql) else { return Vec::new() };
    let calls = bare_calls(sql);
    let inside = calls.iter().filter(|at| using.contains(*at)).map(|at| at - using.start);
    match wrap(&sql[using.clone()], &inside.collect::<Vec<_>>()) {
        Some(condition) => vec![insert(located.end, format!("\n  with check {condition}"))],
        None => Vec::new(),
    }
}

/// The parentheses after USING.
fn using_clause(sql: &str) -> Option<Range<usize>> {
    let scanned = pg_query::scan(sql).ok()?;
    let using = scanned.tokens.iter().find(|token| token.token == Token::Using as i32)?;
    let start = usize::try_from(using.end).ok()?;
    let open = start + sql[start..].find('(')?;
    Some(open..tree::call_end(sql, open)?)
}

/// A part of the text with the edits that lie in it. They do not overlap, and come in order.
fn apply(text: &str, part: Range<usize>, edits: &[Edit]) -> String {
    let mut result = String::new();
    let mut at = part.start;
    for edit in edits {
        result.push_str(&text[at..edit.start]);
        result.push_str(&edit.text);
        at = edit.end;
    }
    result.push_str(&text[at..part.end]);
    result
}

/// The lines that change, before and after.
fn diff(file: &File, edits: &[Edit]) -> String {
    let text = &file.text;
    let mut diff = format!("--- {0}\n+++ {0}\n", file.path.display());
    let lines = |edit: &Edit| {
        let start = text[..edit.start].rfind('\n').map_or(0, |at| at + 1);
        let end = text[edit.end..].find('\n').map_or(text.len(), |at| edit.end + at);
        start..end
    };
    let mut rest = edits;
    while let Some(first) = rest.first() {
        let mut range = lines(first);
        let mut count = 1;
        while rest.get(count).is_some_and(|edit| edit.start <= range.end) {
            range.end = range.end.max(lines(&rest[count]).end);
            count += 1;
        }
        let line = 1 + text[..range.start].matches('\n').count();
        // Writing into a String cannot fail.
        let _ = writeln!(diff, "@@ line {line} @@");
        for line in text[range.clone()].lines() {
            let _ = writeln!(diff, "-{line}");
        }
        for line in apply(text, range, &rest[..count]).lines() {
            let _ = writeln!(diff, "+{line}");
        }
        rest = &rest[count..];
    }
    diff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clause_after_using_is_found() {
        let sql = "create policy \"using (x)\" on t using ((a) = ')') with check (b)";
        assert_eq!(&sql[using_clause(sql).unwrap()], "((a) = ')')");
    }

    #[test]
    fn only_calls_outside_of_queries_are_bare() {
        let sql = "create policy p on t using (auth.user_id() = a and (select auth.uid()) = b \
                   or current_setting('x.y', true) = c)";
        let calls: Vec<&str> = bare_calls(sql).into_iter().map(|at| &sql[at..at + 7]).collect();
        assert_eq!(calls, ["auth.us", "current"]);
    }
}
