//! The login roles are looked at again while serving. Roles belong to a whole cluster, so that each test
//! here has one of its own.

use std::time::{Duration, Instant};

use rowgate::pg::control;
use rowgate::pg::roles::{Login, Power, verify_role};
use rowgate::pg::url::ConnectUrl;
use serde_json::json;

use crate::harness::cluster::{PrivateCluster, TestDatabase};
use crate::harness::gateway::TestGateway;

const SOON: Duration = Duration::from_millis(100);
/// Many looks.
const PATIENCE: Duration = Duration::from_secs(10);

async fn watched(cluster: &PrivateCluster) -> TestGateway {
    TestGateway::on(cluster.fresh_database().await, |config| {
        config.database.recheck_interval = SOON;
    })
    .await
}

async fn run(database: &TestDatabase, sql: &str) {
    database.superuser().await.batch_execute(sql).await.unwrap();
}

/// Asks until the answer's status is this.
async fn until(gateway: &TestGateway, status: u16) -> crate::harness::gateway::TestAnswer {
    let began = Instant::now();
    loop {
        let answer = gateway.sql(Some("alice"), "select 1", json!([])).await;
        if answer.status == status || began.elapsed() > PATIENCE {
            assert_eq!(answer.status, status, "{answer:?}");
            return answer;
        }
        tokio::time::sleep(SOON).await;
    }
}

async fn ready(gateway: &TestGateway) -> (u16, String) {
    let answer = gateway.admin("/health/ready").await;
    (answer.status, answer.json()["roles"].as_str().unwrap().to_owned())
}

async fn metric(gateway: &TestGateway, name: &str) -> u64 {
    let text = String::from_utf8(gateway.admin("/metrics").await.body.to_vec()).unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("rowgate_{name} ")));
    line.unwrap_or_else(|| panic!("{text}")).rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_role_that_becomes_harmful_closes_the_gateway_until_it_is_mended() {
    let cluster = PrivateCluster::start().await;
    let gateway = watched(&cluster).await;
    assert_eq!(ready(&gateway).await, (200, "ok".to_owned()));
    for (harm, cure) in [
        ("alter role authenticated bypassrls", "alter role authenticated nobypassrls"),
        ("grant pg_read_all_data to anonymous", "revoke pg_read_all_data from anonymous"),
        (
            "create role middle; grant pg_signal_backend to middle; grant middle to authenticated",
            "drop role middle",
        ),
        ("alter table todos owner to anonymous", "alter table todos owner to rowgate_owner"),
        (
            "alter role authenticated set session_replication_role = replica",
            "alter role authenticated reset session_replication_role",
        ),
    ] {
        run(&gateway.database, harm).await;
        let answer = until(&gateway, 503).await;
        assert_eq!(answer.failure(), (503, "RG5034".to_owned()), "{harm}");
        assert_eq!(answer.header("retry-after"), "1");
        assert_eq!(ready(&gateway).await, (503, "harmful".to_owned()), "{harm}");
        assert_eq!(metric(&gateway, "login_roles_harmful").await, 1);
        run(&gateway.database, cure).await;
        until(&gateway, 200).await;
        assert_eq!(ready(&gateway).await, (200, "ok".to_owned()), "{cure}");
        assert_eq!(metric(&gateway, "login_roles_harmful").await, 0);
    }
}

#[tokio::test]
async fn a_database_that_is_away_says_nothing_about_its_roles() {
    let mut cluster = PrivateCluster::start().await;
    let gateway = watched(&cluster).await;
    cluster.stop();
    let began = Instant::now();
    while metric(&gateway, "role_check_failures_total").await == 0 {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(SOON).await;
    }
    let answer = gateway.sql(Some("alice"), "select 1", json!([])).await;
    assert_ne!(answer.failure().1, "RG5034");
    assert_eq!(metric(&gateway, "login_roles_harmful").await, 0);
    cluster.start_again();
    until(&gateway, 200).await;
}

#[tokio::test]
async fn a_setting_that_keeps_the_roles_from_being_looked_at_does_not_keep_the_gateway_open() {
    let mut cluster = PrivateCluster::start().await;
    let gateway = watched(&cluster).await;
    run(&gateway.database, "alter role authenticated set statement_timeout = '1ms'").await;
    // The next look needs a new connection, which starts with that setting.
    cluster.restart();
    run(&gateway.database, "alter role anonymous createdb").await;
    let answer = until(&gateway, 503).await;
    let began = Instant::now();
    while gateway.sql(Some("alice"), "select 1", json!([])).await.failure().1 != "RG5034" {
        assert!(began.elapsed() < PATIENCE, "{answer:?}");
        tokio::time::sleep(SOON).await;
    }
}

#[tokio::test]
async fn settings_of_a_login_role_are_refused_if_they_change_who_a_session_is() {
    let cluster = PrivateCluster::start().await;
    let database = cluster.fresh_database().await;
    let url = ConnectUrl::parse(&database.superuser_url).unwrap();
    let client = control::connect(&url).await.unwrap();
    let login = Login { name: "authenticated".to_owned(), base: None };
    for name in [
        "role",
        "session_replication_role",
        "local_preload_libraries",
        "request.jwt.claims",
        "rowgate.seal",
    ] {
        for scope in ["", "in database %s"] {
            let value = match name {
                "role" => "anonymous",
                "session_replication_role" => "replica",
                _ => "planted",
            };
            let scope = scope.replace("%s", &database.name);
            let set = format!("alter role authenticated {scope} set {name} = '{value}'");
            // The role may set its own role only to one that it is a member of; a superuser is not asked.
            run(&database, &set).await;
            let report = verify_role(&client, &login, &["authenticated".to_owned()]).await.unwrap();
            let found: Vec<&Power> = report.faults.iter().map(|fault| &fault.power).collect();
            assert!(
                matches!(found.as_slice(), [Power::Setting { name: found, .. }] if found == name),
                "{set}: {found:?}"
            );
            let said = report.into_result().unwrap_err().to_string();
            assert!(said.contains(name) && !said.contains("planted"), "{said}");
            run(&database, &format!("alter role authenticated {scope} reset {name}")).await;
        }
    }
    for (setting, words) in [
        ("search_path = 'x'", Some("has no effect")),
        ("statement_timeout = '1ms'", Some("has no effect")),
        ("row_security = off", Some("has no effect")),
        ("plan_cache_mode = force_generic_plan", Some("holds for every request")),
        ("log_parameter_max_length = 0", None),
        ("log_parameter_max_length = 99", Some("holds for every request")),
        ("temp_file_limit = '1GB'", None),
    ] {
        run(&database, &format!("alter role authenticated set {setting}")).await;
        let report = verify_role(&client, &login, &["authenticated".to_owned()]).await.unwrap();
        assert_eq!(report.faults, [], "{setting}");
        let told =
            report.warnings.iter().any(|text| words.is_some_and(|words| text.contains(words)));
        assert_eq!(told, words.is_some(), "{setting}: {:?}", report.warnings);
        run(&database, "alter role authenticated reset all").await;
    }
    let elsewhere = cluster.empty_database().await.name;
    let set = format!("alter role authenticated in database {elsewhere} set role = 'anonymous'");
    run(&database, &set).await;
    let report = verify_role(&client, &login, &["authenticated".to_owned()]).await.unwrap();
    assert_eq!(report.faults, [], "a setting for another database");
}
