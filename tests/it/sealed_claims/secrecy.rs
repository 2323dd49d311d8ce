//! The key: who can read it, and that nothing the server says contains it.

use std::sync::{Arc, Mutex};

use tokio_postgres::{AsyncMessage, NoTls};

use super::*;

#[tokio::test]
async fn the_key_is_readable_by_the_owner_alone() {
    let caller = Caller::new().await;
    let anonymous = connect(&caller.database.anonymous_url).await;
    for client in [&caller.client, &anonymous] {
        for sql in [
            "select * from auth.seal_keys",
            "select kid from auth.seal_keys",
            "select count(*) from auth.seal_keys",
            "insert into auth.seal_keys values ('x', '', '')",
            "update auth.seal_keys set kid = 'x'",
            "delete from auth.seal_keys",
            "do $$ begin lock table auth.seal_keys; end $$",
            "set role rowgate_sealer",
            "set session authorization rowgate_sealer",
            "grant rowgate_sealer to current_user",
            "create function auth.mine() returns int language sql as 'select 1'",
            "create or replace function auth.user_id() returns text language sql as 'select null::text'",
            "drop function auth.user_id()",
            "alter function auth.user_id() owner to current_user",
            "create view auth.keys as select 1",
            "copy auth.seal_keys to stdout",
            "select auth.rotate_seal_key('0 s', '1 s', true)",
            "select auth.retire_seal_key('x')",
            "select auth.add_seal_key(now(), true)",
            "analyze auth.seal_keys; select 1/0",
        ] {
            let refused = client.batch_execute(sql).await.unwrap_err();
            assert!(
                matches!(refused.code().unwrap().code(), "42501" | "22012"),
                "{sql}: {refused}"
            );
        }
        // Statistics hold samples of columns.
        let stats = "select count(*) from pg_stats where schemaname = 'auth'";
        assert_eq!(client.query_one(stats, &[]).await.unwrap().get::<_, i64>(0), 0);
    }
    let owner = caller.database.owner().await;
    owner.query_one("select ipad from auth.seal_keys", &[]).await.unwrap();
    let changed = owner.batch_execute("update auth.seal_keys set kid = 'x'").await.unwrap_err();
    assert_eq!(changed.code().unwrap().code(), "42501", "the owner reads, and no more");
}

#[tokio::test]
async fn nobody_else_may_even_call_the_functions() {
    let caller = Caller::new().await;
    let superuser = caller.database.superuser().await;
    let role = format!("stranger_{}", caller.database.name);
    superuser.batch_execute(&format!("create role {role}; set role {role}")).await.unwrap();
    for function in ["session", "jwt", "user_id", "uid"] {
        let sql = format!("select auth.{function}()");
        let refused = superuser.query_one(&sql, &[]).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "42501");
    }
    superuser.batch_execute(&format!("reset role; drop role {role}")).await.unwrap();
    let member = "select count(*) from pg_auth_members where roleid = 'rowgate_sealer'::regrole \
                  and pg_has_role(member, 'rowgate_sealer', 'usage') \
                  and not (select rolsuper from pg_roles where oid = member)";
    assert_eq!(superuser.query_one(member, &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test]
async fn nothing_that_the_server_says_contains_the_key() {
    let caller = Caller::new().await;
    let (client, mut connection) =
        tokio_postgres::connect(&caller.database.authenticated_url, NoTls).await.unwrap();
    let said = Arc::new(Mutex::new(String::new()));
    let notes = Arc::clone(&said);
    tokio::spawn(async move {
        let mut messages =
            futures_util::stream::poll_fn(move |context| connection.poll_message(context));
        while let Some(Ok(message)) = futures_util::StreamExt::next(&mut messages).await {
            if let AsyncMessage::Notice(notice) = message {
                notes.lock().unwrap().push_str(&format!("{notice:?}\n"));
            }
        }
    });
    client
        .batch_execute(
            "set client_min_messages = debug5; set debug_print_parse = on; set debug_print_rewritten = on; \
             set debug_print_plan = on; set plpgsql.print_strict_params = on; \
             set plpgsql.extra_warnings = 'all'; set jit = off",
        )
        .await
        .unwrap();
    let pid = pid_of(&client).await.to_string();
    let good = seal(&caller.key, &pid, &in_seconds(30), ALICE);
    let mut errors = String::new();
    for _ in 0..8 {
        assert_eq!(ask(&client, ALICE, &good, SUB).await, Ok(Some("alice".to_owned())));
        client.batch_execute("begin").await.unwrap();
        let forge = format!(
            "select set_config('request.jwt.claims', '{BOB}', true), set_config('rowgate.seal', '{good}', true)"
        );
        client.query_one(&forge, &[]).await.unwrap();
        let error = client
            .query_one("explain (analyze, verbose) select auth.user_id()", &[])
            .await
            .unwrap_err();
        errors.push_str(&format!("{error:?}\n"));
        client.batch_execute("rollback").await.unwrap();
    }
    let said = said.lock().unwrap().clone() + &errors;
    assert!(
        said.contains("seal_keys") || said.contains("plan"),
        "the server was talkative: {}",
        said.len()
    );
    assert!(said.len() > 10_000, "{}", said.len());
    for secret in forms(&caller.key.key) {
        assert!(!said.contains(&secret), "{secret}");
    }
    // What would have been right for the forged claims must not be told either.
    let right = seal(&caller.key, &pid, &good[good.len() - 10..], BOB);
    assert!(!said.contains(&right[..64]));
}

/// How the key or a pad could appear: in hexadecimal digits, or as the bytes of a dumped constant.
pub fn forms(key: &[u8; 32]) -> Vec<String> {
    [0x00, 0x36, 0x5c]
        .into_iter()
        .flat_map(|pad| {
            let bytes = key.map(|byte| byte ^ pad);
            let dumped: Vec<String> =
                bytes[..8].iter().map(|b| b.cast_signed().to_string()).collect();
            [hex::encode(&bytes[..8]), dumped.join(" ")]
        })
        .collect()
}
