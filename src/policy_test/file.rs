//! Test files: SQL with directives in comments. Must never let a comment that looks like a directive pass unread.

use std::path::{Path, PathBuf};

use pg_query::NodeEnum;

use super::expectation::{Expectation, Table};
use crate::explain::Caller;
use crate::policy::split::{self, Comment};
use crate::policy::{PolicyError, read_other};

/// A file of `sql/tests/`.
#[derive(Debug)]
pub struct TestFile {
    /// Where it is.
    pub path: PathBuf,
    /// SQL that comes before each test of the file.
    pub(super) given: Option<String>,
    pub(super) tests: Vec<Test>,
}

/// One statement, and what must come of it.
#[derive(Debug)]
pub(super) struct Test {
    pub name: String,
    pub line: usize,
    pub caller: Caller,
    /// Another role than the caller's usual one.
    pub role: Option<String>,
    /// SQL that comes before this test alone.
    pub given: Option<String>,
    pub statement: String,
    /// Whether the statement says in which order its rows come.
    pub is_ordered: bool,
    pub expected: Vec<Expectation>,
}

/// Why a test file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read, or would begin or end a transaction.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A line that means nothing, or a test that tests nothing.
    #[error("{}:{line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// The directives.
const WORDS: [&str; 11] = [
    "test",
    "given",
    "as",
    "anonymous",
    "role",
    "rows",
    "returns",
    "changes",
    "denied",
    "error",
    "message",
];

/// Those that mean something without an argument.
const BARE: [&str; 4] = ["given", "anonymous", "returns", "denied"];

/// What privileges and policies refuse with.
const DENIED: &str = "42501";

impl TestFile {
    /// The files of a directory, in the order of their names.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or understood, with its line.
    pub fn read_all(dir: &Path) -> Result<Vec<Self>, FileError> {
        let files = read_other(dir)?;
        files.into_iter().map(|(path, text)| Self::parse(path, &text)).collect()
    }

    /// How many tests there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.tests.len()
    }

    /// Keeps the tests whose names contain `part`.
    pub fn keep(&mut self, part: &str) {
        self.tests.retain(|test| test.name.contains(part));
    }

    fn parse(path: PathBuf, text: &str) -> Result<Self, FileError> {
        let wrong = |(line, reason)| FileError::Line { path: path.clone(), line, reason };
        let (given, tests) = Reader::new(text).read().map_err(wrong)?;
        Ok(Self { path, given, tests })
    }
}

/// A line, and what is wrong with it.
type Wrong = (usize, String);

/// A directive, and the text up to the next one.
struct Section<'a> {
    word: &'static str,
    argument: &'a str,
    line: usize,
    /// Where the text after the directive's line begins and ends, in bytes.
    body: (usize, usize),
    /// Comments that directly follow.
    rows: Vec<&'a str>,
}

struct Reader<'a> {
    text: &'a str,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Self { text }
    }

    fn read(&self) -> Result<(Option<String>, Vec<Test>), Wrong> {
        let sections = self.sections()?;
        let first = sections.iter().position(|section| section.word == "test");
        let (head, tests) = sections.split_at(first.unwrap_or(sections.len()));
        let start = sections.first().map_or(self.text.len(), |section| section.body.0);
        self.no_sql((0, start), 1)?;
        if let Some(stray) = head.iter().find(|section| section.word != "given") {
            return Err((
                stray.line,
                format!("`{}` belongs to a test: write `-- test: NAME` before it", stray.word),
            ));
        }
        let given = self.given(head)?;
        let tests: Result<Vec<Test>, Wrong> = tests
            .chunk_by(|_, next| next.word != "test")
            .map(|sections| self.test(sections))
            .collect();
        Ok((given, tests?))
    }

    fn sections(&self) -> Result<Vec<Section<'a>>, Wrong> {
        let comments = split::whole_line_comments(self.text);
        let mut sections: Vec<Section<'a>> = Vec::new();
        // The last line of the comments that make up the rows of the last section.
        let mut rows_end = 0;
        for comment in &comments {
            let in_rows = rows_end != 0 && comment.line == rows_end + 1;
            match directive(comment, in_rows)? {
                Some((word, argument)) => {
                    if let Some(last) = sections.last_mut() {
                        last.body.1 = comment.start;
                    }
                    let body = (comment.start + 2 + comment.text.len(), self.text.len());
                    sections.push(Section {
                        word,
                        argument,
                        line: comment.line,
                        body,
                        rows: Vec::new(),
                    });
                    rows_end = if word == "returns" { comment.line } else { 0 };
                }
                None if in_rows => {
                    rows_end = comment.line;
                    if let Some(last) = sections.last_mut() {
                        last.rows.push(comment.text);
                    }
                }
                None => {}
            }
        }
        Ok(sections)
    }

    fn test(&self, sections: &[Section<'a>]) -> Result<Test, Wrong> {
        let (name, line) = (sections[0].argument, sections[0].line);
        if name.is_empty() {
            return Err((line, "a test needs a name".to_owned()));
        }
        let mut test = Test {
            name: name.to_owned(),
            line,
            caller: Caller::Anonymous,
            role: None,
            given: self.given(sections)?,
            statement: String::new(),
            is_ordered: false,
            expected: Vec::new(),
        };
        let mut callers = 0;
        for section in sections {
            match section.word {
                "as" => test.caller = caller(section)?,
                "role" => test.role = Some(section.argument.to_owned()),
                "test" | "given" | "anonymous" => {}
                _ => {
                    self.no_sql(section.body, section.line)?;
                    test.expect(section)?;
                }
            }
            callers += usize::from(matches!(section.word, "as" | "anonymous"));
        }
        if callers != 1 {
            let reason =
                "say once who asks: `-- as: NAME`, `-- as: {\"sub\": …}` or `-- anonymous`";
            return Err((line, reason.to_owned()));
        }
        if test.expected.is_empty() {
            let reason = "this test expects nothing: add `-- rows:`, `-- returns:`, `-- changes:`, `-- denied` or `-- error:`";
            return Err((line, reason.to_owned()));
        }
        let is_sql =
            |section: &&Section<'_>| ["test", "as", "anonymous", "role"].contains(&section.word);
        let sql = self.sql(sections.iter().filter(is_sql)).unwrap_or_default();
        (test.statement, test.is_ordered) = statement(&sql, line)?;
        Ok(test)
    }

    /// The text of some sections with everything else blank, so that its lines are those of the file.
    fn sql<'s>(&self, sections: impl Iterator<Item = &'s Section<'a>>) -> Option<String>
    where
        'a: 's,
    {
        let bodies: Vec<(usize, usize)> = sections.map(|section| section.body).collect();
        let kept = |at: usize| bodies.iter().any(|(start, end)| (*start..*end).contains(&at));
        let chars = self.text.char_indices();
        let text: String =
            chars.map(|(at, c)| if kept(at) || c == '\n' { c } else { ' ' }).collect();
        (!split::statements(&text).is_empty()).then_some(text)
    }

    /// The SQL of set-ups.
    fn given(&self, sections: &[Section<'a>]) -> Result<Option<String>, Wrong> {
        let sql = self.sql(sections.iter().filter(|section| section.word == "given"));
        let statements = sql.as_deref().map(split::statements).unwrap_or_default();
        let control = |statement: &split::Statement<'_>| {
            Some((statement.line, format!("`{}` is not for tests", statement.transaction_control?)))
        };
        statements.iter().find_map(control).map_or(Ok(sql.clone()), Err)
    }

    fn no_sql(&self, (start, end): (usize, usize), line: usize) -> Result<(), Wrong> {
        match split::statements(&self.text[start..end]).first() {
            None => Ok(()),
            Some(stray) => Err((
                line + stray.line - 1,
                "SQL that belongs to no test: it stands after `-- given`, or between `-- as:` and what is expected"
                    .to_owned(),
            )),
        }
    }
}

impl Test {
    fn expect(&mut self, section: &Section<'_>) -> Result<(), Wrong> {
        let wrong = |reason: String| (section.line, reason);
        let number = || {
            section
                .argument
                .parse()
                .map_err(|_| wrong(format!("`{}` needs a number", section.word)))
        };
        let expectation = match section.word {
            "rows" => Expectation::Rows(number()?),
            "changes" => Expectation::Changes(number()?),
            "returns" => {
                let inline = (!section.argument.is_empty()).then_some(section.argument);
                let lines: Vec<&str> =
                    inline.into_iter().chain(section.rows.iter().copied()).collect();
                Expectation::Returns(Table::parse(&lines).map_err(wrong)?)
            }
            "message" => Expectation::Message(section.argument.to_owned()),
            // "denied" and "error"
            _ => Expectation::Error(sqlstate(section).map_err(wrong)?),
        };
        self.expected.push(expectation);
        let is_error =
            |e: &Expectation| matches!(e, Expectation::Error(_) | Expectation::Message(_));
        let errors = self.expected.iter().filter(|e| is_error(e)).count();
        if errors > 0 && errors < self.expected.len() {
            return Err(wrong(
                "a statement that is refused returns and changes nothing".to_owned(),
            ));
        }
        Ok(())
    }
}

/// The directive in a comment. One word and a colon is a directive or an error: a mistyped expectation must not
/// pass for prose.
fn directive<'a>(
    comment: &Comment<'a>,
    in_rows: bool,
) -> Result<Option<(&'static str, &'a str)>, Wrong> {
    let text = comment.text.trim();
    let (word, argument) = match text.split_once(':') {
        Some((word, argument)) => (word, Some(argument.trim())),
        None => (text, None),
    };
    if let Some(known) = WORDS.into_iter().find(|known| *known == word) {
        return match argument {
            Some(argument) => Ok(Some((known, argument))),
            None if BARE.contains(&known) => Ok(Some((known, ""))),
            None if in_rows => Ok(None),
            None => Err((comment.line, format!("`{known}` needs an argument: `-- {known}: …`"))),
        };
    }
    let is_word = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    if argument.is_some() && is_word && !in_rows {
        let known = WORDS.join(", ");
        return Err((comment.line, format!("`{word}:` is no directive (those are {known})")));
    }
    Ok(None)
}

fn caller(section: &Section<'_>) -> Result<Caller, Wrong> {
    Caller::parse(section.argument).map_err(|error| (section.line, error.to_string()))
}

fn sqlstate(section: &Section<'_>) -> Result<String, String> {
    let code = match section.argument {
        "" if section.word == "denied" => DENIED,
        code => code,
    };
    let is_code = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    if code.len() == 5 && code.bytes().all(is_code) {
        return Ok(code.to_owned());
    }
    Err(format!("`{code}` is no SQLSTATE: five digits or capital letters, such as {DENIED}"))
}

/// The one statement in `sql`, and whether it orders its rows.
fn statement(sql: &str, line: usize) -> Result<(String, bool), Wrong> {
    let statements = split::statements(sql);
    let [statement] = statements.as_slice() else {
        let reason = format!("a test has one statement, this one has {}", statements.len());
        return Err((line, reason));
    };
    let parsed = pg_query::parse(statement.text, 0)
        .map_err(|error| (statement.line, format!("this is no SQL: {error}")))?;
    // The parser decides, not the splitter: what the server would take for two statements is two here.
    let nodes: Vec<&NodeEnum> =
        parsed.protobuf.stmts.iter().filter_map(|raw| raw.stmt.as_ref()?.node.as_ref()).collect();
    let [node] = nodes.as_slice() else {
        return Err((statement.line, "a test has one statement".to_owned()));
    };
    if let Some(name) = refused(node) {
        let reason = format!(
            "`{name}` is not for tests: each runs in a transaction and as a role of its own"
        );
        return Err((statement.line, reason));
    }
    let ordered = matches!(node, NodeEnum::SelectStmt(select) if !select.sort_clause.is_empty());
    Ok((statement.text.to_owned(), ordered))
}

/// Statements that would leave the transaction or the role of the test, or answer in another protocol.
fn refused(node: &NodeEnum) -> Option<&'static str> {
    Some(match node {
        NodeEnum::TransactionStmt(_) => "begin, commit, rollback, savepoint",
        NodeEnum::VariableSetStmt(_) => "set, reset",
        NodeEnum::DiscardStmt(_) => "discard",
        NodeEnum::ConstraintsSetStmt(_) => "set constraints",
        NodeEnum::CopyStmt(_) => "copy",
        NodeEnum::PrepareStmt(_) | NodeEnum::ExecuteStmt(_) | NodeEnum::DeallocateStmt(_) => {
            "prepare, execute"
        }
        NodeEnum::ListenStmt(_) | NodeEnum::UnlistenStmt(_) | NodeEnum::NotifyStmt(_) => {
            "listen, notify"
        }
        NodeEnum::LoadStmt(_) => "load",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<TestFile, String> {
        TestFile::parse(PathBuf::from("t.sql"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_has_what_is_given_and_tests_with_callers_and_expectations() {
        let text = "-- About todos.\n-- given\ninsert into t values ('\n-- test: no\n');\n\n\
                    -- test: one's own\n-- as: bob\nselect a, b from t order by a;\n-- returns:\n--  a | b\n\
                    -- ---+---\n--  1 | x\n-- (1 row)\n\n-- prose, between tests\n-- test: none\n-- anonymous\n\
                    -- role: reporting\n-- given: more\ndelete from u;\n-- anonymous_note\n-- denied\n";
        let refused = parse(text).unwrap_err();
        assert!(
            refused.starts_with("t.sql:17: a test has one statement, this one has 0"),
            "{refused}"
        );

        let text = text.replace("-- role: reporting\n", "-- role: reporting\nselect 1;\n");
        let file = parse(&text).unwrap();
        assert!(file.given.as_ref().unwrap().trim().starts_with("insert into t values ('\n"));
        let [first, second] = file.tests.as_slice() else { panic!("{:?}", file.tests) };
        assert_eq!((first.name.as_str(), first.line, first.is_ordered), ("one's own", 7, true));
        assert_eq!(first.statement, "select a, b from t order by a");
        assert_eq!(first.caller, Caller::Claims(r#"{"sub":"bob"}"#.to_owned()));
        assert!(matches!(&first.expected[..], [Expectation::Returns(_)]));
        assert_eq!(
            (&second.caller, second.role.as_deref()),
            (&Caller::Anonymous, Some("reporting"))
        );
        assert!(second.given.as_ref().unwrap().contains("delete from u"));
        assert!(matches!(&second.expected[..], [Expectation::Error(code)] if code == "42501"));
    }

    #[test]
    fn what_would_test_nothing_or_something_else_is_refused_with_its_line() {
        let test = |rest: &str| format!("-- test: t\n-- as: bob\n{rest}");
        for (text, expected) in [
            (test("select 1;\n"), "t.sql:1: this test expects nothing"),
            (test("select 1;\n-- denyed: 42501\n"), "t.sql:4: `denyed:` is no directive"),
            (test("select 1;\n-- rows: one\n"), "t.sql:4: `rows` needs a number"),
            (test("select 1;\n-- rows: 1\nselect 2;\n"), "t.sql:5: SQL that belongs to no test"),
            (
                test("select 1; select 2;\n-- rows: 1\n"),
                "t.sql:1: a test has one statement, this one has 2",
            ),
            (
                test("commit;\n-- rows: 1\n"),
                "t.sql:3: `begin, commit, rollback, savepoint` is not for tests",
            ),
            (test("set role postgres;\n-- rows: 1\n"), "t.sql:3: `set, reset` is not for tests"),
            (test("reset role;\n-- rows: 1\n"), "t.sql:3: `set, reset` is not for tests"),
            (
                test("set session authorization x;\n-- rows: 1\n"),
                "t.sql:3: `set, reset` is not for tests",
            ),
            (test("selekt 1;\n-- rows: 1\n"), "t.sql:3: this is no SQL"),
            (test("-- anonymous\nselect 1;\n-- rows: 1\n"), "t.sql:1: say once who asks"),
            (test("select 1;\n-- rows: 1\n-- denied\n"), "t.sql:5: a statement that is refused"),
            (test("select 1;\n-- denied: 4250\n"), "t.sql:4: `4250` is no SQLSTATE"),
            ("-- test: t\nselect 1;\n-- rows: 1\n".to_owned(), "t.sql:1: say once who asks"),
            ("-- as: bob\nselect 1;\n".to_owned(), "t.sql:1: `as` belongs to a test"),
            ("-- given\ncommit;\n".to_owned(), "t.sql:2: `commit` is not for tests"),
            ("select 1;\n-- test: t\n".to_owned(), "t.sql:1: SQL that belongs to no test"),
            (
                "-- test: t\n-- as: {\"sub\"}\nselect 1;\n-- rows: 1\n".to_owned(),
                "t.sql:2: the claims are not a JSON",
            ),
        ] {
            let refused = parse(&text).unwrap_err();
            assert!(refused.starts_with(expected), "{text}\n{refused}");
        }
    }
}
