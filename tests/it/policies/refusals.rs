//! What is refused: with the file and the line, and without changing anything.

use rowgate::policy::{PolicyError, StatementError};

use super::Project;

/// Applies, expects a refused statement, and that it changed nothing.
async fn refused(project: &Project) -> StatementError {
    let before = project.rules().await;
    let error = project.apply().await.unwrap_err();
    assert_eq!(project.rules().await, before);
    match error {
        PolicyError::Statement(error) => *error,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_error_names_file_line_text_and_sqlstate_and_changes_nothing() {
    let project = Project::migrated().await;
    let good = std::fs::read_to_string(project.path("policies/todos.sql")).unwrap();
    let good_lines = good.lines().count();
    for (text, line, sqlstate, shown) in [
        // Syntax errors: the server points at the place.
        ("\ncreate policy p on todos\n  for select\n  usng (true);\n", 4, "42601", "usng (true);"),
        ("\nselect 'unfinished;\n", 2, "42601", "select 'unfinished;"),
        ("\n\\set x 1\n", 2, "42601", "\\set x 1"),
        // Names: it points at some of them, and quotes the others.
        (
            "\ncreate policy p on todos using (\n  true and\n  nobody = 1);\n",
            4,
            "42703",
            "nobody = 1);",
        ),
        (
            "\n-- why\ngrant select\n  on nothing to anonymous;\n",
            4,
            "42P01",
            "on nothing to anonymous;",
        ),
        ("\n/* ä€ */ select\n 1,\n  'ü', wrong;\n", 4, "42703", "'ü', wrong;"),
        // In a function's body the place is inside a literal of the statement.
        (
            "\ncreate function f() returns int language plpgsql as $$\nbegin\n  retrun 1;\nend $$;\n",
            4,
            "42601",
            "retrun 1;",
        ),
        // An error while it runs: the statement's first line.
        (
            "\n\ndo $$\nbegin\n  raise exception 'no %', 1 using hint = 'try';\nend $$;\n",
            3,
            "P0001",
            "do $$",
        ),
        ("\nselect 1 /\n 0;\n", 2, "22012", "select 1 /"),
    ] {
        project.write("policies/todos.sql", &format!("{good}{text}"));
        let error = refused(&project).await;
        assert_eq!(error.path, project.path("policies/todos.sql"));
        assert_eq!((error.line, error.sqlstate.as_str()), (good_lines + line, sqlstate), "{error}");
        assert_eq!(error.text, shown, "{error}");
        let file = project.path("policies/todos.sql");
        let prefix = format!("{}:{}: ", file.display(), good_lines + line);
        assert!(error.to_string().starts_with(&prefix), "{error}");
    }
    project.write("policies/todos.sql", &good);
    assert!(project.apply().await.unwrap().is_unchanged());
}

#[tokio::test]
async fn a_hint_of_the_server_is_passed_on() {
    let project = Project::migrated().await;
    project.write(
        "policies/zzz.sql",
        "do $$ begin raise exception 'no' using hint = 'try this'; end $$",
    );
    let error = refused(&project).await;
    assert_eq!(error.hint.as_deref(), Some("try this"));
    assert!(error.to_string().contains("hint: try this"), "{error}");
}

#[tokio::test]
async fn transaction_control_is_refused_wherever_it_hides() {
    let project = Project::migrated().await;
    let before = project.rules().await;
    for (text, line, words) in [
        ("commit;", 1, "commit"),
        ("drop policy todos_select on todos;\n\n  COMMIT ;\n", 3, "commit"),
        ("/* x */ begin; select 1; end", 1, "begin"),
        ("select 1;\nrollback", 2, "rollback"),
        ("start transaction read only", 1, "start transaction"),
        ("savepoint a", 1, "savepoint"),
    ] {
        for file in ["policies/zzz.sql", "grants/zzz.sql", "migrations/V9__zzz.sql"] {
            project.write(file, text);
            let error = project.migrate().await.unwrap_err();
            project.remove(file);
            let PolicyError::TransactionControl { path, line: at, statement } = &error else {
                panic!("{file}: {text}: {error}");
            };
            assert_eq!(
                (path, *at, statement.as_str()),
                (&project.path(file), line, words),
                "{text}"
            );
        }
    }
    // Where no reading of the text can see it, the server refuses.
    for text in ["do $$ begin commit; end $$", "do $$ begin execute 'commit'; end $$"] {
        project.write("policies/zzz.sql", &format!("drop policy todos_select on todos;\n{text}"));
        let error = project.migrate().await.unwrap_err();
        assert!(matches!(&error, PolicyError::Statement(e) if e.line == 2), "{error}");
    }
    assert_eq!(project.rules().await, before);
}

#[tokio::test]
async fn a_file_that_would_be_passed_over_is_refused_by_name() {
    let project = Project::migrated().await;
    for file in [
        "migrations/todos.sql",
        "migrations/V3_one_underscore.sql",
        "migrations/v3__lower.sql",
        "migrations/V3__with-dash.sql",
        "migrations/V3__notes.sq",
        "policies/todos.slq",
        "grants/notes",
    ] {
        project.write(file, "select 1;");
        let error = project.migrate().await.unwrap_err();
        assert!(
            matches!(&error, PolicyError::FileName { path, .. } if *path == project.path(file)),
            "{error}"
        );
        assert!(error.to_string().contains(file), "{error}");
        project.remove(file);
    }
    for harmless in ["migrations/README.md", "policies/.todos.sql.swp", "policies/todos.sql~"] {
        project.write(harmless, "not sql");
    }
    assert!(project.migrate().await.unwrap().is_unchanged());
}

#[tokio::test]
async fn a_file_that_is_no_text_is_refused_by_name() {
    let project = Project::migrated().await;
    for (bytes, reason) in [(&b"select '\xff'"[..], "not UTF-8"), (&b"select 1\0"[..], "zero byte")]
    {
        std::fs::write(project.path("policies/zzz.sql"), bytes).unwrap();
        let error = project.apply().await.unwrap_err().to_string();
        assert!(error.contains("zzz.sql") && error.contains(reason), "{error}");
    }
}

#[tokio::test]
async fn a_mistyped_directory_is_an_error_and_drops_nothing() {
    let project = Project::migrated().await;
    let before = project.rules().await;
    let source = rowgate::policy::SqlSource::new(project.path("sqll"));
    let mut owner = project.database.owner().await;
    let error =
        rowgate::policy::apply_policies(&mut owner, &source, &rowgate::policy::Options::default())
            .await
            .unwrap_err();
    assert!(matches!(error, PolicyError::Read { .. }), "{error}");
    assert_eq!(project.rules().await, before);
}

#[tokio::test]
async fn a_table_in_use_is_waited_for_only_so_long() {
    let project = Project::migrated().await;
    let mut other = project.database.owner().await;
    let holding = other.transaction().await.unwrap();
    holding.batch_execute("lock table todos in access share mode").await.unwrap();
    project.append("policies/todos.sql", super::PUBLIC_COMPLETED);
    let error = project.apply().await.unwrap_err();
    assert!(matches!(error, PolicyError::Locked { .. }), "{error}");
    holding.rollback().await.unwrap();
    project.apply().await.unwrap();
}
