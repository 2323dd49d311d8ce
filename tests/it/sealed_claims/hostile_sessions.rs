//! A caller who prepares his session: search paths, operators, types, settings.

use super::*;

/// Functions, operators and types that take the place of those the verification uses, if a name in it
/// is looked up through the search path. Each gives itself away by an error.
const SHADOWS: &str = r"
create schema evil;
create function evil.hit() returns int language plpgsql as $$ begin raise exception 'shadowed' using errcode = 'XX999'; end $$;
create function evil.current_setting(text, boolean) returns text language sql as $$ select evil.hit()::text $$;
create function evil.sha256(bytea) returns bytea language sql as $$ select evil.hit()::text::bytea $$;
create function evil.convert_to(text, name) returns bytea language sql as $$ select evil.hit()::text::bytea $$;
create function evil.convert_to(text, text) returns bytea language sql as $$ select evil.hit()::text::bytea $$;
create function evil.encode(bytea, text) returns text language sql as $$ select evil.hit()::text $$;
create function evil.substr(text, int) returns text language sql as $$ select evil.hit()::text $$;
create function evil.split_part(text, text, int) returns text language sql as $$ select evil.hit()::text $$;
create function evil.length(text) returns int language sql as $$ select evil.hit() $$;
create function evil.pg_backend_pid() returns int language sql as $$ select evil.hit() $$;
create function evil.transaction_timestamp() returns timestamptz language sql as $$ select evil.hit()::text::timestamptz $$;
create function evil.date_part(text, timestamptz) returns float8 language sql as $$ select evil.hit()::float8 $$;
create function evil.user_id() returns text language sql as $$ select evil.hit()::text $$;
create function evil.seal_keys() returns text language sql as $$ select evil.hit()::text $$;
create table evil.seal_keys (kid text, ipad bytea, opad bytea, not_before timestamptz, not_after timestamptz);
create function evil.bb(bytea, bytea) returns bytea language sql as $$ select evil.hit()::text::bytea $$;
create function evil.tt(text, text) returns text language sql as $$ select evil.hit()::text $$;
create function evil.beq(bytea, bytea) returns boolean language sql as $$ select evil.hit() = 1 $$;
create function evil.teq(text, text) returns boolean language sql as $$ select evil.hit() = 1 $$;
create function evil.ieq(int, int) returns boolean language sql as $$ select evil.hit()::text = '1' $$;
create function evil.zcmp(timestamptz, timestamptz) returns boolean language sql as $$ select evil.hit() = 1 $$;
create function evil.jt(jsonb, text) returns text language sql as $$ select evil.hit()::text $$;
create operator evil.|| (leftarg = bytea, rightarg = bytea, function = evil.bb);
create operator evil.|| (leftarg = text, rightarg = text, function = evil.tt);
create operator evil.= (leftarg = bytea, rightarg = bytea, function = evil.beq);
create operator evil.= (leftarg = text, rightarg = text, function = evil.teq);
create operator evil.= (leftarg = int, rightarg = int, function = evil.ieq);
create operator evil.> (leftarg = text, rightarg = text, function = evil.teq);
create operator evil.~* (leftarg = text, rightarg = text, function = evil.teq);
create operator evil.> (leftarg = timestamptz, rightarg = timestamptz, function = evil.zcmp);
create operator evil.<= (leftarg = timestamptz, rightarg = timestamptz, function = evil.zcmp);
create operator evil.->> (leftarg = jsonb, rightarg = text, function = evil.jt);
create domain evil.text as pg_catalog.text check (evil.hit() = 1);
create domain evil.jsonb as pg_catalog.jsonb check (evil.hit() = 1);
create domain evil.bool as pg_catalog.bool check (evil.hit() = 1);
create domain evil.uuid as pg_catalog.uuid check (evil.hit() = 1);
create domain evil.int8 as pg_catalog.int8 check (evil.hit() = 1);
grant usage on schema evil to authenticated;
grant execute on all functions in schema evil to authenticated;
grant all on evil.seal_keys to authenticated, rowgate_sealer;
grant usage on schema evil to rowgate_sealer;
";

#[tokio::test]
async fn names_in_front_of_the_search_path_change_nothing() {
    let caller = Caller::new().await;
    caller.database.superuser().await.batch_execute(SHADOWS).await.unwrap();
    caller.client.batch_execute("set search_path to evil, pg_catalog, public").await.unwrap();
    let shadowed = caller.client.query_one("select substr('abc'::pg_catalog.text, 1)", &[]).await;
    assert_eq!(shadowed.unwrap_err().code().unwrap().code(), "XX999", "the shadows are in effect");

    let claims = r#"{"sub":"7d444840-9dc0-11d1-b245-5ffdce74fad2"}"#;
    let good = caller.seal(claims);
    for (function, starts) in [("user_id", "7d44"), ("uid", "7d44"), ("session", "{"), ("jwt", "{")]
    {
        let sql = format!("select pg_catalog.concat(auth.{function}())");
        // More often than it takes to switch to generic plans.
        for _ in 0..8 {
            let answer = caller.ask(claims, &good, &sql).await.unwrap().unwrap();
            assert!(answer.starts_with(starts), "{function}: {answer}");
        }
    }
    let (refused, bob) = (SqlState::INVALID_AUTHORIZATION_SPECIFICATION, &good);
    assert_eq!(caller.ask(BOB, bob, "select auth.user_id()").await, Err(refused));
    assert_eq!(caller.ask("", "", "select auth.user_id()").await, Ok(None));
}

/// Reads the functions' bodies as the server has them.
#[tokio::test]
async fn no_name_in_the_functions_is_looked_up_through_the_search_path() {
    let caller = Caller::new().await;
    let sql = "select proname::text, prosrc, proconfig is null and provolatile = 's' and proparallel = 'r' \
                 and (proname <> 'uid') = prosecdef \
               from pg_proc where pronamespace = 'auth'::regnamespace \
                 and has_function_privilege('authenticated', oid, 'execute')";
    let rows = caller.client.query(sql, &[]).await.unwrap();
    assert_eq!(rows.len(), 4);
    for row in rows {
        let (name, body): (&str, &str) = (row.get(0), row.get(1));
        assert!(row.get::<_, bool>(2), "auth.{name}(): attributes");
        assert!(
            !body.contains('\\'),
            "auth.{name}(): a backslash depends on the caller's settings"
        );
        // What the caller can time is a comparison of hashes of the two seals.
        let flat = body.split_whitespace().collect::<Vec<_>>().join(" ");
        let blinded =
            "operator(pg_catalog.=) pg_catalog.sha256(pg_catalog.convert_to(seal, 'UTF8'))";
        assert!(name == "uid" || flat.contains(blinded), "auth.{name}(): {flat}");
        assert!(!flat.to_lowercase().contains("into strict"), "auth.{name}()");
        let code = without_comments_and_literals(body);
        assert_eq!(unqualified(&code), Vec::<String>::new(), "auth.{name}()");
    }
}

#[test]
fn a_name_that_is_looked_up_would_be_noticed() {
    for code in [
        "begin x := substr(a, 1); end",
        "begin if a = b then null; end if; end",
        "begin return a operator(pg_catalog.||) b || c; end",
        "begin return a::text; end",
        "declare a text; begin null; end",
        "begin return a ->> ''; end",
    ] {
        assert_ne!(unqualified(code), Vec::<String>::new(), "{code}");
    }
}

fn without_comments_and_literals(body: &str) -> String {
    let mut code = String::new();
    for line in body.lines() {
        let line = line.split("--").next().unwrap();
        // Every second part stands between quotes.
        code.push_str(&line.split('\'').step_by(2).collect::<Vec<_>>().join("''"));
        code.push('\n');
    }
    code
}

/// Calls, casts and types without a schema, and operators outside of `operator(pg_catalog.…)`.
fn unqualified(code: &str) -> Vec<String> {
    const SYNTAX: [&str; 4] = ["operator", "and", "if", "or"];
    let mut found = Vec::new();
    let mut bare = code.replace(":=", " ");
    while let Some(start) = bare.find("operator(pg_catalog.") {
        let end = start + bare[start..].find(')').unwrap() + 1;
        bare.replace_range(start..end, " ");
    }
    // What is left of a cast is a qualified type.
    let casts =
        bare.match_indices("::").filter(|(at, _)| !bare[at + 2..].starts_with("pg_catalog."));
    found.extend(casts.map(|(at, _)| format!("cast at {at}")));
    let plain = bare.replace("::", " ");
    found.extend(
        plain
            .match_indices(['|', '=', '<', '>', '~', '#', '+', '-', '*', '/', '!', '@'])
            .filter_map(|(at, operator)| {
                // `using errcode = …` is syntax of plpgsql.
                let before = plain[..at].trim_end();
                let option =
                    ["errcode", "message", "hint"].iter().any(|word| before.ends_with(word));
                (!option).then(|| {
                    format!(
                        "operator {operator} after {}",
                        &before[before.len().saturating_sub(20)..]
                    )
                })
            }),
    );
    for (at, _) in plain.match_indices('(') {
        let before = plain[..at].trim_end();
        let word =
            before.rsplit(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')).next().unwrap();
        let called = plain[..at].ends_with(word) && !word.is_empty();
        if called
            && !word.starts_with("pg_catalog.")
            && !word.starts_with("auth.")
            && !SYNTAX.contains(&word)
        {
            found.push(format!("call {word}"));
        }
    }
    let declared = plain.split("begin").next().unwrap();
    for line in declared.lines().filter(|line| line.contains(';') || line.contains("pg_catalog")) {
        if line.split_whitespace().nth(1).is_some_and(|name| !name.starts_with("pg_catalog.")) {
            found.push(format!("type in {line}"));
        }
    }
    found
}

#[tokio::test]
async fn settings_of_the_session_change_nothing() {
    let caller = Caller::new().await;
    for setting in [
        "standard_conforming_strings = off",
        "backslash_quote = on",
        "escape_string_warning = off",
        "datestyle = 'sql, dmy'",
        "timezone = 'Pacific/Kiritimati'",
        "intervalstyle = iso_8601",
        "bytea_output = escape",
        "extra_float_digits = -15",
        "client_encoding = latin1",
        "client_encoding = 'sjis'",
        "transform_null_equals = on",
        "quote_all_identifiers = on",
        "array_nulls = off",
        "xmlbinary = hex",
        "lc_monetary = 'C'",
        "default_text_search_config = 'simple'",
        "plan_cache_mode = force_generic_plan",
        "plan_cache_mode = force_custom_plan",
        "enable_seqscan = off",
        "enable_indexscan = off",
        "enable_indexonlyscan = off",
        "jit = on; set jit_above_cost = 0",
        "plpgsql.extra_errors = 'all'",
        "plpgsql.extra_warnings = 'all'",
        "plpgsql.check_asserts = off",
        "row_security = off",
        "default_transaction_read_only = on",
        "default_transaction_isolation = 'serializable'",
        "search_path = ''",
        "work_mem = '64kB'",
        "statement_timeout = '1h'",
        "force_parallel_mode = on",
        "debug_parallel_query = on",
    ] {
        // Some settings exist in some versions only.
        if caller.client.batch_execute(&format!("set {setting}")).await.is_err() {
            assert!(setting.contains("parallel"), "{setting}");
            continue;
        }
        for _ in 0..7 {
            let answer = caller.sealed(ALICE, SUB).await;
            assert_eq!(answer, Ok(Some("alice".to_owned())), "{setting}");
        }
        caller.refuses(BOB, &caller.seal(ALICE)).await;
        caller.refuses(BOB, "").await;
        assert_eq!(caller.ask("", "", SUB).await, Ok(None), "{setting}");
        caller.client.batch_execute("reset all").await.unwrap();
    }
}
