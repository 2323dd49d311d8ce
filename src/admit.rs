//! Which statements run, and how far each can be trusted to leave nothing behind on its connection.
//!
//! By default only statements that read and change rows are run ([`StatementKinds::Data`]): the first
//! word of a statement is its kind. Of these, one is [`Admission::Plain`] when nothing in its text can
//! name a function, a relation or a command that changes session state; everything else is
//! [`Admission::Suspect`] and gets a connection that nobody uses afterwards. This module is no judge of
//! what a caller may see: that is the database's.
//!
//! Why looking for words is enough. A function runs only when the statement names it, and every
//! spelling of a name (plain, quoted, `f(x)`, `(x).f`, in a cast, in an operator's arguments) contains
//! it as an unbroken run of letters, save for the escapes of `U&"…"`, which make a statement suspect.
//! Texts inside literals and comments are looked at as well, which costs nothing but a false alarm.
//! Code that the application attached to its own tables (triggers, defaults, policies, casts,
//! operators) runs without being named; it is the owner's, and trusted like the owner.

use std::collections::HashSet;

use crate::config::StatementKinds;
use crate::pg::sql::CallerSql;

/// What a statement's text says about the session it will leave behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Leaves nothing that outlives its transaction but its own plan and sequence positions.
    Plain,
    /// May leave something: runs on a clean connection that is closed afterwards.
    Suspect,
}

/// A statement that cannot be run at all, whoever sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// BEGIN, COMMIT and their kin: the gateway opens and ends transactions.
    #[error("transaction control is not available: each request is one transaction")]
    TransactionControl,
    /// COPY speaks a protocol of its own.
    #[error("COPY is not available over HTTP")]
    Copy,
    /// A function that runs any SQL, several statements at once, from a string.
    #[error("the statement names {0}, which runs SQL from a string")]
    RunsSql(&'static str),
    /// Not one of the kinds that are run here.
    #[error(
        "only SELECT, INSERT, UPDATE, DELETE, MERGE, VALUES, TABLE and EXPLAIN of these are run here"
    )]
    Kind,
}

/// Statements that begin with one of these read or change rows.
const DATA_STARTS: [&str; 9] =
    ["select", "insert", "update", "delete", "merge", "with", "values", "table", "explain"];

/// What EXPLAIN could explain, and ANALYZE run, besides statements that read or change rows.
const NOT_TO_EXPLAIN: [&str; 4] = ["create", "declare", "execute", "refresh"];

/// Functions of extensions that run SQL of every kind from a string, and so would step around the kinds
/// of statements; words that begin with `dblink` connect elsewhere besides.
const RUNS_SQL: [&str; 2] = ["xpath_table", "dblink"];

/// Statements that begin with one of these end or begin transactions.
const TRANSACTION_STARTS: [&str; 8] =
    ["begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release"];

/// Relations and functions of the system, and large objects.
const SUSPECT_PREFIXES: [&str; 2] = ["pg_", "lo_"];

/// Names with a suspect prefix that only compute (`pg_proc.dat`: immutable or stable, no side effects).
const HARMLESS: [&str; 5] =
    ["pg_typeof", "pg_column_size", "pg_size_pretty", "pg_size_bytes", "pg_input_is_valid"];

/// Words that make temporary objects, and functions that run SQL from a string although they are
/// declared stable.
const SUSPECT_WORDS: [&str; 14] = [
    "temp",
    "temporary",
    "crosstab",
    "crosstab2",
    "crosstab3",
    "crosstab4",
    "crosstabn",
    "connectby",
    "xpath_table",
    "table_to_xml",
    "table_to_xml_and_xmlschema",
    "schema_to_xml",
    "schema_to_xml_and_xmlschema",
    "database_to_xml",
];

/// Postgres cuts identifiers to this many bytes (`NAMEDATALEN` - 1), so a longer spelling stands for the
/// name that it begins with.
const LONGEST_NAME: usize = 63;

/// The words that make a statement suspect.
#[derive(Debug, Default)]
pub struct Vocabulary {
    suspect: HashSet<Box<str>>,
    /// The server's keywords; empty if they are not known.
    keywords: HashSet<Box<str>>,
    /// Whether a function's name has no letter at all, so that only its quotes give it away.
    has_wordless_names: bool,
}

impl Vocabulary {
    /// Takes the lower-case names of all functions whose effects may outlive a transaction, and the
    /// server's keywords.
    #[must_use]
    pub fn new<'a>(
        functions: impl IntoIterator<Item = &'a str>,
        keywords: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let mut suspect: HashSet<Box<str>> = SUSPECT_WORDS.map(Box::from).into();
        let mut has_wordless_names = false;
        for name in functions {
            // A quoted name may hold any character; its first unbroken run of letters stands for it.
            match words(name).next() {
                Some(word) => drop(suspect.insert(word.into())),
                None => has_wordless_names = true,
            }
        }
        Self {
            suspect,
            has_wordless_names,
            keywords: keywords.into_iter().map(Box::from).collect(),
        }
    }

    /// Judges one statement. Takes time linear in its length.
    pub fn judge(&self, sql: CallerSql<'_>, kinds: StatementKinds) -> Result<Admission, Refusal> {
        let text = sql.text();
        let Some(first) = first_word(text) else {
            // Nothing but white space, or nothing that Postgres' grammar knows: let it say so.
            return Ok(Admission::Suspect);
        };
        let mut folded = String::with_capacity(LONGEST_NAME);
        fold(first, &mut folded);
        if TRANSACTION_STARTS.contains(&folded.as_str()) || is_prepare_transaction(text, &folded) {
            return Err(Refusal::TransactionControl);
        }
        if folded == "copy" {
            return Err(Refusal::Copy);
        }
        let data = is_data(&folded, text);
        if kinds == StatementKinds::Data {
            if !data && self.may_begin_a_statement(&folded) {
                return Err(Refusal::Kind);
            }
            if let Some(name) = RUNS_SQL.iter().find(|name| mentions(text, name)) {
                return Err(Refusal::RunsSql(name));
            }
        }
        let plain = data
            && !has_unicode_identifier(text)
            && !(self.has_wordless_names && text.contains('"'))
            && words(text).all(|word| self.is_harmless(word, &mut folded));
        Ok(if plain { Admission::Plain } else { Admission::Suspect })
    }

    /// A word that is no keyword of the server begins nothing but a syntax error, which the server
    /// words better.
    fn may_begin_a_statement(&self, word: &str) -> bool {
        self.keywords.is_empty() || self.keywords.contains(word)
    }

    fn is_harmless(&self, word: &str, folded: &mut String) -> bool {
        fold(&word[..word.floor_char_boundary(LONGEST_NAME)], folded);
        if SUSPECT_PREFIXES.iter().any(|prefix| folded.starts_with(prefix)) {
            return HARMLESS.contains(&folded.as_str());
        }
        !self.suspect.contains(folded.as_str())
    }
}

/// Postgres folds ASCII letters only in a UTF-8 database; so does this.
fn fold(word: &str, folded: &mut String) {
    folded.clear();
    folded.push_str(word);
    folded.make_ascii_lowercase();
}

/// Every unbroken run of characters that an identifier may consist of (scan.l: `ident_cont`).
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_ascii() && !c.is_ascii_alphanumeric() && c != '_' && c != '$')
        .filter(|word| !word.is_empty())
}

/// `U&"…"` spells an identifier with escapes, so that its letters need not stand in the text.
fn has_unicode_identifier(text: &str) -> bool {
    text.as_bytes().windows(3).any(|w| matches!(w, [b'u' | b'U', b'&', b'"']))
}

/// Whether a statement with this first word reads or changes rows, and does nothing else.
fn is_data(first: &str, text: &str) -> bool {
    DATA_STARTS.contains(&first)
        && (first != "explain"
            || !words(text)
                .any(|word| NOT_TO_EXPLAIN.iter().any(|no| word.eq_ignore_ascii_case(no))))
}

/// Whether a word of the text begins with `name`.
fn mentions(text: &str, name: &str) -> bool {
    words(text).any(|word| word.get(..name.len()).is_some_and(|w| w.eq_ignore_ascii_case(name)))
}

/// Looks at all words: a comment may stand between the two.
fn is_prepare_transaction(text: &str, first: &str) -> bool {
    first == "prepare" && words(text).any(|word| word.eq_ignore_ascii_case("transaction"))
}

/// The first word that Postgres' scanner would see: past white space, comments, parentheses and empty
/// statements. `None` if the text begins with anything else, or holds nothing.
fn first_word(mut text: &str) -> Option<&str> {
    loop {
        text = text.trim_start_matches(|c: char| {
            c.is_ascii_whitespace() || matches!(c, '\x0b' | '(' | ';')
        });
        if let Some(comment) = text.strip_prefix("--") {
            text = comment.split_once(['\n', '\r']).map_or("", |(_, rest)| rest);
        } else if text.starts_with("/*") {
            text = after_block_comment(text)?;
        } else {
            break;
        }
    }
    words(text).next().filter(|word| text.starts_with(word))
}

/// What follows the block comment at the start of `text`; block comments nest (scan.l: `xcdepth`).
fn after_block_comment(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let (mut depth, mut at) = (0_usize, 0_usize);
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => {
                depth += 1;
                at += 2;
            }
            b"*/" => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return Some(&text[at..]);
                }
            }
            _ => at += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(sql: &str) -> Result<Admission, Refusal> {
        judge_as(sql, StatementKinds::All)
    }

    fn judge_as(sql: &str, kinds: StatementKinds) -> Result<Admission, Refusal> {
        let keywords = ["set", "do", "alter", "create", "call", "explain", "prepare", "select"];
        Vocabulary::new(["set_config", "pg_sleep", "add_todo", "my func"], keywords)
            .judge(CallerSql::new(sql).unwrap(), kinds)
    }

    #[test]
    fn ordinary_statements_are_plain() {
        for sql in [
            "select * from todos where id = $1",
            "  /* a /* nested */ comment */ -- and another\n (select 1)",
            "INSERT INTO todos (task) VALUES ('x') RETURNING id",
            "with t as (select 1) update todos set task = 'y'",
            "select pg_typeof(id), count(*) from todos group by 1",
            "values (1), (2)",
            "table todos",
            "explain analyze select 1",
            "merge into todos using s on true when matched then delete",
        ] {
            assert_eq!(judge(sql), Ok(Admission::Plain), "{sql}");
        }
    }

    #[test]
    fn every_spelling_of_a_suspect_function_is_suspect() {
        for sql in [
            "select set_config('a.b', 'c', false)",
            "select SET_CONFIG ('a.b', 'c', false)",
            "select pg_catalog.\"set_config\"('a.b', 'c', false)",
            "select (t).set_config from t",
            "select t.add_todo from todos t",
            "select U&\"\\0073et_config\"('a', 'b', false)",
            "select u&\"!0073et_config\" uescape '!' ('a', 'b', false)",
            "select /**/set_config/**/('a','b',false)",
            "select \"my func\"()",
            "select 1 from pg_settings",
            "update pg_settings set setting = '1'",
            "select lo_create(0)",
        ] {
            assert_eq!(judge(sql), Ok(Admission::Suspect), "{sql}");
        }
        let wordless = Vocabulary::new(["!"], []);
        let judged =
            wordless.judge(CallerSql::new("select \"!\"()").unwrap(), StatementKinds::Data);
        assert_eq!(judged, Ok(Admission::Suspect));
        let name = "f".repeat(LONGEST_NAME);
        let vocabulary = Vocabulary::new([name.as_str()], []);
        let longer = format!("select {name}oo()");
        let judged = vocabulary.judge(CallerSql::new(&longer).unwrap(), StatementKinds::Data);
        assert_eq!(judged, Ok(Admission::Suspect));
    }

    #[test]
    fn commands_other_than_the_plain_ones_are_suspect() {
        for sql in [
            "set search_path = x",
            "reset all",
            "listen x",
            "prepare p as select 1",
            "declare c cursor with hold for select 1",
            "create temp table x ()",
            "select 1 into temp t",
            "select 1 into temporary t",
            "do $$ begin end $$",
            "explain analyze create table x as select 1",
            "lock todos",
            "",
            "-- nothing",
            "/* open",
            "\"select\" 1",
        ] {
            assert_eq!(judge(sql), Ok(Admission::Suspect), "{sql}");
        }
    }

    #[test]
    fn only_statements_on_rows_run_unless_all_kinds_are_configured() {
        for sql in [
            "set search_path = x",
            "do $$ begin end $$",
            "alter role current_user password 'x'",
            "create table x ()",
            "/* select */ call p()",
            "explain execute p",
            "(prepare p as select 1)",
        ] {
            assert_eq!(judge_as(sql, StatementKinds::Data), Err(Refusal::Kind), "{sql}");
            assert_eq!(judge_as(sql, StatementKinds::All), Ok(Admission::Suspect), "{sql}");
        }
        for sql in ["select * from xpath_table('a')", "select DBLINK_exec('x', 'y')"] {
            assert!(
                matches!(judge_as(sql, StatementKinds::Data), Err(Refusal::RunsSql(_))),
                "{sql}"
            );
        }
        for sql in ["select 1", "", "-- nothing", "  ;  ", "selec 1", "\u{feff}set x = 1"] {
            assert!(judge_as(sql, StatementKinds::Data).is_ok(), "{sql}");
        }
        let unread = Vocabulary::default();
        let judged = unread.judge(CallerSql::new("selec 1").unwrap(), StatementKinds::Data);
        assert_eq!(
            judged,
            Err(Refusal::Kind),
            "without the server's keywords nothing is let through"
        );
    }

    #[test]
    fn transaction_control_and_copy_are_refused_however_they_are_dressed() {
        for sql in [
            "commit",
            "; ; COMMIT",
            "/* x */ Rollback to a",
            "-- x\nbegin",
            "--x\rend",
            "start transaction",
            "savepoint a",
            "release a",
            "abort",
            "prepare transaction 'x'",
            "prepare /* y */ transaction 'x'",
        ] {
            assert_eq!(judge(sql), Err(Refusal::TransactionControl), "{sql}");
        }
        assert_eq!(judge(" copy todos to stdout"), Err(Refusal::Copy));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_judge_panic(sql in "[^\\x00]{0,200}") {
            let _ = judge(&sql);
        }
    }
}
