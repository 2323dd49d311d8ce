//! Gateways take up new keys without failing a request.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_of_two_gateways_fails_while_keys_are_rotated_and_one_of_them_starts_anew() {
    let first = Arc::new(TestGateway::with(refreshing(REFRESH)).await);
    let database = first.database.clone();
    let second = Arc::new(TestGateway::on(database.clone(), refreshing(REFRESH)).await);
    let old = newest(&database).await;
    let mut load = Load::on(&[&first, &second], 3);
    tokio::time::sleep(Duration::from_millis(300)).await;

    // Long enough for gateways that share a busy machine with many other tests.
    let (lead, overlap) = (Duration::from_secs(1), Duration::from_secs(5));
    let new = rotate(&database, lead, overlap).await;
    tokio::time::sleep(lead).await;
    assert_eq!(newest(&database).await, new);
    // Started while both are believed.
    let third = Arc::new(TestGateway::on(database.clone(), refreshing(REFRESH)).await);
    load.add(&third, 3);
    tokio::time::sleep(overlap).await;
    let state = |kid: &str, keys: &[SealKeyRecord]| {
        keys.iter().find(|key| key.kid == kid).map(|key| key.state)
    };
    let known = keys(&database).await;
    assert_eq!(state(&old, &known), Some(SealKeyState::Ended), "{known:?}");
    assert_eq!(state(&new, &known), Some(SealKeyState::Newest), "{known:?}");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(load.end().await, Vec::<String>::new());

    for (gateway, taken) in [(&first, 2), (&second, 2), (&third, 1)] {
        let metrics = gateway.admin("/metrics").await.body;
        let line = format!("rowgate_seal_keys_taken_total {taken}\n");
        assert!(String::from_utf8_lossy(&metrics).contains(&line));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_retired_at_once_is_replaced_without_a_failed_request() {
    let first = Arc::new(TestGateway::with(refreshing(NEVER)).await);
    let database = first.database.clone();
    let second = Arc::new(TestGateway::on(database.clone(), refreshing(NEVER)).await);
    let load = Load::on(&[&first, &second], 4);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let owner = database.owner().await;
    for _ in 0..3 {
        let old = newest(&database).await;
        let new = policy::retire_seal_key(&owner, &old).await.unwrap().unwrap();
        assert_ne!(old, new);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(load.end().await, Vec::<String>::new());
}

#[tokio::test]
async fn requests_of_a_batch_and_of_nobody_are_tried_again_with_the_new_key_too() {
    let gateway = TestGateway::with(refreshing(NEVER)).await;
    let owner = gateway.database.owner().await;
    for round in 0..2 {
        let old = newest(&gateway.database).await;
        policy::retire_seal_key(&owner, &old).await.unwrap();
        if round == 0 {
            let batch =
                gateway.batch(Some("alice"), &["insert into todos (task) values ('x')", WHO]).await;
            assert_eq!(batch.status, 200, "{batch:?}");
        } else {
            let rows =
                gateway.sql(None, "select auth.session() ->> 'role'", json!([])).await.rows();
            assert_eq!(rows, json!([["anonymous"]]));
        }
    }
    let tasks = gateway.sql(Some("alice"), "select task from todos", json!([])).await.rows();
    assert_eq!(tasks, json!([["x"]]), "the insertion was done once");
}

#[tokio::test]
async fn a_gateway_without_a_good_key_says_that_it_is_not_the_callers_fault() {
    let database = cluster::fresh_database().await;
    let owner = database.owner().await;
    let key = policy::read_seal_key(&owner).await.unwrap();
    let old = key.kid.clone();
    let gateway = TestGateway::on(database, |config| {
        config.seal.keys = vec![key];
        config.seal.refresh = NEVER;
    })
    .await;
    assert_eq!(who(&gateway).await.rows(), json!([["alice"]]));
    policy::retire_seal_key(&owner, &old).await.unwrap();
    for subject in [Some("alice"), None] {
        let answer = gateway.sql(subject, "insert into todos (task) values ('x')", json!([])).await;
        if subject.is_none() {
            // Refused for want of a privilege, before anybody looks at the seal.
            assert_eq!(answer.status, 400);
            continue;
        }
        assert_eq!(answer.failure(), (503, "RG5036".to_owned()));
        assert_eq!(answer.header("retry-after"), "1");
    }
    assert_eq!(who(&gateway).await.failure(), (503, "RG5036".to_owned()));
    let metrics = gateway.admin("/metrics").await.body;
    assert!(!String::from_utf8_lossy(&metrics).contains("rowgate_seal_key_failures_total 0"));
}

#[tokio::test]
async fn a_caller_who_spoils_his_own_seal_is_told_so_and_harms_nobody() {
    let gateway = TestGateway::with(refreshing(NEVER)).await;
    let owner = gateway.database.owner().await;
    owner
        .batch_execute(
            "create function spoil() returns text language plpgsql volatile as $$ begin \
               perform pg_catalog.set_config('request.jwt.claims', '{\"sub\":\"bob\"}', true); \
               return auth.user_id(); end $$; \
             create function pretend() returns text language plpgsql volatile as $$ begin \
               raise exception 'no' using errcode = '28000'; end $$; \
             grant execute on function spoil(), pretend() to authenticated",
        )
        .await
        .unwrap();
    for query in ["select spoil()", "select pretend()"] {
        for _ in 0..3 {
            let answer = gateway.sql(Some("alice"), query, json!([])).await;
            assert_eq!(answer.failure(), (400, "28000".to_owned()), "{query}");
        }
    }
    assert_eq!(who(&gateway).await.rows(), json!([["alice"]]));
    let metrics = gateway.admin("/metrics").await.body;
    assert!(String::from_utf8_lossy(&metrics).contains("rowgate_seal_key_failures_total 0"));
}

#[tokio::test]
async fn a_seal_ends_half_a_minute_after_it_was_made_or_with_the_token() {
    let no_leeway = |config: &mut Config| config.auth.issuers[0].leeway = Duration::ZERO;
    let gateway = TestGateway::with(no_leeway).await;
    let owner = gateway.database.owner().await;
    owner
        .batch_execute(
            "create function remaining() returns int language sql volatile as $$ \
               select pg_catalog.right(pg_catalog.current_setting('rowgate.seal'), 10)::int \
                      - extract(epoch from now())::int $$; \
             grant execute on function remaining() to authenticated, anonymous",
        )
        .await
        .unwrap();
    let body = json!({"query": "select remaining()", "arrayMode": true}).to_string();
    for (lifetime, expected) in [(Some(300), 28..=31), (Some(15), 5..=16), (None, 28..=31)] {
        let token = lifetime.map(|lifetime| {
            format!("Bearer {}", gateway.issuer.token("alice").expires_in(lifetime).sign())
        });
        let headers: Vec<_> = token.iter().map(|token| ("authorization", token.as_str())).collect();
        let answer = gateway.send(Method::POST, "/sql", &headers, body.clone()).await;
        let remaining = answer.rows()[0][0].as_i64().unwrap();
        assert!(expected.contains(&remaining), "{remaining} s with a token of {lifetime:?} s");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_with_a_key_file_takes_up_what_replaces_it() {
    let database = cluster::fresh_database().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("seal.key");
    commands::export(&database, &file, &[]);
    let with_file = |config: &mut Config| {
        config.database.owner = None;
        config.seal.key_file = Some(file.clone());
        config.seal.refresh = REFRESH;
    };
    let gateway = Arc::new(TestGateway::on(database.clone(), with_file).await);
    let load = Load::on(&[&gateway], 4);
    let old = newest(&database).await;
    rotate(&database, Duration::from_millis(500), Duration::from_secs(2)).await;
    commands::export(&database, &file, &["--replace"]);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_ne!(newest(&database).await, old);
    assert_eq!(load.end().await, Vec::<String>::new());

    // A file that is damaged or gone changes nothing.
    std::fs::write(&file, "half a ke").unwrap();
    tokio::time::sleep(REFRESH * 3).await;
    assert_eq!(who(&gateway).await.rows(), json!([["alice"]]));
    std::fs::remove_file(&file).unwrap();
    tokio::time::sleep(REFRESH * 3).await;
    assert_eq!(who(&gateway).await.rows(), json!([["alice"]]));

    // Retired at once: it cannot know the key that takes its place before the file has it.
    let known = newest(&database).await;
    policy::retire_seal_key(&database.owner().await, &known).await.unwrap();
    assert_eq!(who(&gateway).await.failure(), (503, "RG5036".to_owned()));
    commands::export(&database, &file, &[]);
    assert_eq!(who(&gateway).await.rows(), json!([["alice"]]), "at the next request");
}
