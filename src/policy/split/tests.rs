use proptest::prelude::*;

use super::*;

fn texts(sql: &str) -> Vec<&str> {
    statements(sql).into_iter().map(|s| s.text).collect()
}

#[test]
fn statements_know_the_line_they_begin_on() {
    let found = statements("-- one\n\nselect 1;\n/* a\n b */ select 2\n;\n;\nselect 3");
    let lines: Vec<_> = found.iter().map(|s| (s.line, s.text)).collect();
    assert_eq!(lines, [(3, "select 1"), (5, "select 2"), (8, "select 3")]);
}

#[test]
fn semicolons_inside_quotes_comments_and_parentheses_end_nothing() {
    for sql in [
        "select 'a;b''c;d'",
        r"select e'it\';s', 'back\'",
        r#"select "odd;""name;""#,
        "select $$;$$, $t$ $$;$$ ; $t$",
        "select 1 /* ; /* ; */ ; */ + 2",
        "select 1 -- ; not yet\n + 2",
        "create rule r as on insert to t do also (delete from a; delete from b)",
        "select $1; ",
        "select a$b;",
    ] {
        let text = sql.trim_end().trim_end_matches(';');
        assert_eq!(texts(&format!("{text};select 2")), [text, "select 2"], "{sql}");
    }
}

#[test]
fn sql_standard_bodies_stay_in_one_piece() {
    let body = "create or replace function f(a int) returns int begin atomic \
                select case when a > 1 then 2 else 3 end; select 4; end";
    assert_eq!(texts(&format!("{body}; select 1")), [body, "select 1"]);
    let body = "create procedure p() begin atomic insert into t values (1); end";
    assert_eq!(texts(&format!("{body}; select 1")), [body, "select 1"]);
}

#[test]
fn transaction_control_is_seen_whatever_its_spelling() {
    for (sql, word) in [
        ("BEGIN", "begin"),
        ("Commit Work", "commit"),
        ("/* x */ end", "end"),
        ("rollback to savepoint a", "rollback"),
        ("start\n transaction", "start transaction"),
        ("prepare transaction 'x'", "prepare transaction"),
        ("savepoint a", "savepoint"),
        ("release a", "release"),
        ("abort", "abort"),
    ] {
        assert_eq!(statements(sql)[0].transaction_control, Some(word), "{sql}");
    }
    for sql in ["prepare p as select 1", "do $$ begin null; end $$", "select 'commit'"] {
        assert_eq!(statements(sql)[0].transaction_control, None, "{sql}");
    }
}

proptest! {
    #[test]
    fn any_text_is_cut_without_losing_more_than_blanks_comments_and_semicolons(
        sql in r#"([a-e ';"$\-*/()\n\\é]|begin|create function |\$\$|end){0,60}"#
    ) {
        let mut rest = sql.as_str();
        for statement in statements(&sql) {
            let at = rest.find(statement.text);
            prop_assert!(at.is_some());
            rest = &rest[at.unwrap_or_default() + statement.text.len()..];
            prop_assert!(statement.line <= 1 + sql.matches('\n').count());
        }
    }
}

#[test]
fn backslashes_escape_on_both_sides_of_a_doubled_quote_and_on_the_next_line() {
    for one in [r"select e'a''b\';c'", "select e'a'\n  'b\\';c'", "select e'a' -- d;\n'b\\';c'"] {
        assert_eq!(texts(one).len(), 1, "{one}");
    }
    assert_eq!(texts(r"select 'a''b\'; select 1").len(), 2);
    assert_eq!(texts("select e'a' 'b\\'; select 1").len(), 2);
}
