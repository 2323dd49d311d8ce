//! `[[role]]`: claims that mean a database role, each with a login and a pool of its own; and claims that
//! would like to.

use hyper::Method;
use rowgate::config::{Config, RoleRule};
use rowgate::observe::Observer;
use rowgate::pg::url::ConnectUrl;
use rowgate::policy::{self, SqlSource};
use rowgate::server::Server;
use serde_json::{Value, json};

use crate::harness::cluster::{self, PrivateCluster, TEST_PASSWORD, TestDatabase};
use crate::harness::gateway::{TestAnswer, TestGateway, config};
use crate::harness::issuer::FakeIssuer;

const NAMESPACED: &str = "https://app.example/role";

/// Two roles, of which support may read every row, and auditor nothing but its claims.
const ROLES: &str = "
    create role support_agent login password 'test-password';
    create role auditor login password 'test-password';
    create role big_boss login superuser password 'test-password';";
const OWNERS: &str = "
    select auth.add_api_role('support_agent'), auth.add_api_role('auditor');
    grant usage on schema public to support_agent;
    grant select on todos to support_agent;
    create policy support_reads on todos for select to support_agent using (true);";

struct Setting {
    cluster: PrivateCluster,
    database: TestDatabase,
    issuer: FakeIssuer,
}

impl Setting {
    async fn new() -> Self {
        let cluster = PrivateCluster::start().await;
        let database = cluster.fresh_database().await;
        database.superuser().await.batch_execute(ROLES).await.unwrap();
        database.owner().await.batch_execute(OWNERS).await.unwrap();
        Self { cluster, database, issuer: FakeIssuer::start().await }
    }

    /// Tokens with this claim run as this role.
    fn map(&self, config: &mut Config, claim: &[&str], value: &str, role: &str) {
        let url = self.cluster.cluster().url(role, TEST_PASSWORD, &self.database.name);
        let known = config.database.roles.iter().find(|known| known.id.name() == role);
        let role = match known {
            Some(known) => known.id,
            None => config.database.add_role(ConnectUrl::parse(&url).unwrap()),
        };
        config.auth.roles.push(RoleRule {
            issuer: self.issuer.url().to_owned(),
            claim: claim.iter().map(ToString::to_string).collect(),
            value: value.to_owned(),
            role,
        });
    }

    fn usual(&self, config: &mut Config) {
        self.map(config, &["app_role"], "support", "support_agent");
        self.map(config, &["realm_access", "roles"], "support", "support_agent");
        self.map(config, &[NAMESPACED], "audit", "auditor");
    }

    async fn refusal(&self, role: &str) -> String {
        let mut config = config(&self.database, &self.issuer);
        self.map(&mut config, &["app_role"], "support", role);
        Server::bind(config, Observer::default()).await.err().expect("it starts").to_string()
    }
}

async fn gateway() -> (PrivateCluster, TestGateway) {
    let setting = Setting::new().await;
    let mut mapped = config(&setting.database, &setting.issuer);
    setting.usual(&mut mapped);
    let Setting { cluster, database, issuer } = setting;
    let gateway = TestGateway::believing(issuer, database, |config| *config = mapped).await;
    gateway.seed().await;
    (cluster, gateway)
}

async fn ask(gateway: &TestGateway, claims: &Value, sql: &str) -> TestAnswer {
    let mut token = gateway.issuer.token("alice");
    for (name, value) in claims.as_object().unwrap() {
        token = token.claim(name, value.clone());
    }
    let header = format!("Bearer {}", token.sign());
    let body = json!({ "query": sql, "arrayMode": true }).to_string();
    gateway.send(Method::POST, "/sql", &[("authorization", &header)], body).await
}

async fn role_of(gateway: &TestGateway, claims: &Value) -> Value {
    let sql = "select current_user::text, session_user::text, auth.user_id()";
    let rows = ask(gateway, claims, sql).await.rows();
    assert_eq!((&rows[0][0], &rows[0][2]), (&rows[0][1], &json!("alice")), "{claims}");
    rows[0][0].clone()
}

#[tokio::test]
async fn the_first_rule_that_fits_decides_and_without_one_it_is_authenticated() {
    let (_cluster, gateway) = gateway().await;
    for (claims, role) in [
        (json!({ "app_role": "support" }), "support_agent"),
        (json!({ "app_role": ["x", "support"] }), "support_agent"),
        (json!({ "realm_access": { "roles": ["support"] } }), "support_agent"),
        (json!({ NAMESPACED: "audit" }), "auditor"),
        (json!({ NAMESPACED: ["audit"], "app_role": "support" }), "support_agent"),
        (json!({}), "authenticated"),
        (json!({ "app_role": "audit" }), "authenticated"),
        (json!({ NAMESPACED: "support" }), "authenticated"),
    ] {
        assert_eq!(role_of(&gateway, &claims).await, role, "{claims}");
    }
    // Its own policies and grants decide.
    let count = "select count(*)::int4 from todos";
    assert_eq!(ask(&gateway, &json!({ "app_role": "support" }), count).await.rows(), json!([[3]]));
    assert_eq!(ask(&gateway, &json!({}), count).await.rows(), json!([[2]]));
    let insert = "insert into todos (user_id, task) values ('bob', 'planted')";
    assert_eq!(ask(&gateway, &json!({ "app_role": "support" }), insert).await.failure().1, "42501");
    let denied = ask(&gateway, &json!({ NAMESPACED: "audit" }), count).await.failure();
    assert_eq!(denied, (400, "42P01".to_owned()), "auditor may not even look into the schema");
}

#[tokio::test]
async fn a_token_that_asks_for_a_role_gets_nothing() {
    let (_cluster, gateway) = gateway().await;
    for claims in [
        json!({ "role": "support_agent" }),
        json!({ "role": "support" }),
        json!({ "app_role": "support_agent" }),
        json!({ "app_role": "auditor", NAMESPACED: "auditor" }),
        json!({ "app_role": "Support" }),
        json!({ "app_role": " support" }),
        json!({ "app_role": 1 }),
        json!({ "app_role": true }),
        json!({ "app_role": null }),
        json!({ "app_role": { "support": true } }),
        json!({ "app_role": [["support"]] }),
        json!({ "app_role": ["support", 1] }),
        json!({ "app_role": ["support", null] }),
        json!({ "app_role": [{ "role": "support" }] }),
        json!({ "app_role": "[\"support\"]" }),
        json!({ "app_role": { "$serde_json::private::RawValue": "\"support\"" } }),
        json!({ "realm_access": { "$serde_json::private::RawValue": "{\"roles\":[\"support\"]}" } }),
        json!({ "realm_access": ["support"] }),
        json!({ "realm_access": { "roles": { "support": 1 } } }),
        json!({ "realm_access.roles": ["support"] }),
        json!({ "realm_access": [{ "roles": ["support"] }] }),
        json!({ "https://app": { "example/role": "audit" } }),
    ] {
        assert_eq!(role_of(&gateway, &claims).await, "authenticated", "{claims}");
    }
}

#[tokio::test]
async fn each_role_has_its_own_pool_and_its_name_in_metrics_and_health() {
    let (_cluster, gateway) = gateway().await;
    let support = json!({ "app_role": "support" });
    role_of(&gateway, &support).await;
    let text = String::from_utf8(gateway.admin("/metrics").await.body.to_vec()).unwrap();
    assert!(text.contains("rowgate_connections{role=\"support_agent\"} 1"), "{text}");
    assert!(text.contains("rowgate_connections{role=\"auditor\"} 0"), "{text}");
    assert!(text.contains("role=\"support_agent\",status=\"200\""), "{text}");
    // All connections of support are busy; the others' are not.
    let busy: Vec<_> = (0..crate::harness::gateway::POOL_SIZE)
        .map(|n| {
            let token =
                gateway.issuer.token(&format!("user{n}")).claim("app_role", "support").sign();
            let header = format!("Bearer {token}");
            let body = json!({ "query": "select pg_sleep(20)" }).to_string();
            let request = hyper::Request::post(format!("http://{}/sql", gateway.address))
                .header("authorization", header)
                .body(http_body_util::Full::<bytes::Bytes>::from(body))
                .unwrap();
            let client =
                hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
                    .build_http();
            tokio::spawn(async move { client.request(request).await.map(drop) })
        })
        .collect();
    let sleeping = "select count(*) from pg_stat_activity \
                    where usename = 'support_agent' and query like '%pg_sleep%' and state = 'active'";
    let superuser = gateway.database.superuser().await;
    let began = std::time::Instant::now();
    while superuser.query_one(sleeping, &[]).await.unwrap().get::<_, i64>(0) < busy.len() as i64 {
        assert!(began.elapsed() < std::time::Duration::from_secs(10));
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(role_of(&gateway, &json!({})).await, "authenticated");
    assert_eq!(role_of(&gateway, &json!({ NAMESPACED: "audit" })).await, "auditor");
    busy.iter().for_each(tokio::task::JoinHandle::abort);
    superuser.batch_execute("alter role auditor nologin").await.unwrap();
    let ready = gateway.admin("/health/ready").await;
    // The pool's idle connection still stands; a new one could not be had.
    assert!(ready.json()["mapped"] == "ok" || ready.status == 503, "{ready:?}");
}

#[tokio::test]
async fn a_role_that_is_not_harmless_or_may_not_read_its_claims_refuses_the_start() {
    let setting = Setting::new().await;
    let superuser = setting.database.superuser().await;
    let refusal = setting.refusal("big_boss").await;
    assert!(refusal.contains("\"big_boss\" is a superuser"), "{refusal}");
    superuser.batch_execute("create role plain login password 'test-password'").await.unwrap();
    let refusal = setting.refusal("plain").await;
    assert!(refusal.contains("select auth.add_api_role('plain')"), "{refusal}");
    for (harm, words, cure) in [
        ("alter role support_agent bypassrls", "BYPASSRLS", "alter role support_agent nobypassrls"),
        (
            "grant authenticated to support_agent",
            "runs requests of other users",
            "revoke authenticated from support_agent",
        ),
        (
            "grant support_agent to authenticated",
            "runs requests of other users",
            "revoke support_agent from authenticated",
        ),
        (
            "grant support_agent to anonymous",
            "runs requests of other users",
            "revoke support_agent from anonymous",
        ),
        (
            "alter table todos owner to support_agent",
            "owns",
            "alter table todos owner to rowgate_owner",
        ),
    ] {
        superuser.batch_execute(harm).await.unwrap();
        let refusal = setting.refusal("support_agent").await;
        assert!(refusal.contains(words), "{harm}: {refusal}");
        superuser.batch_execute(cure).await.unwrap();
    }
}

#[tokio::test]
async fn a_mapped_role_that_becomes_harmful_closes_the_gateway() {
    let setting = Setting::new().await;
    let mut mapped = config(&setting.database, &setting.issuer);
    setting.usual(&mut mapped);
    mapped.database.recheck_interval = std::time::Duration::from_millis(100);
    let Setting { cluster: _cluster, database, issuer } = setting;
    let gateway = TestGateway::believing(issuer, database, |config| *config = mapped).await;
    let superuser = gateway.database.superuser().await;
    superuser.batch_execute("alter role auditor bypassrls").await.unwrap();
    let began = std::time::Instant::now();
    while ask(&gateway, &json!({}), "select 1").await.status != 503 {
        assert!(began.elapsed() < std::time::Duration::from_secs(10));
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn applying_policies_takes_back_what_no_file_grants_to_a_registered_role() {
    let setting = Setting::new().await;
    let may = "select has_table_privilege('support_agent', 'todos', 'select'), \
                      has_schema_privilege('support_agent', 'auth', 'usage'), \
                      has_function_privilege('support_agent', 'auth.session()', 'execute')";
    let mut owner = setting.database.owner().await;
    let ask = async |owner: &tokio_postgres::Client| {
        let row = owner.query_one(may, &[]).await.unwrap();
        [row.get::<_, bool>(0), row.get(1), row.get(2)]
    };
    assert_eq!(ask(&owner).await, [true; 3]);
    let sql = SqlSource::new(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("sql"));
    let report =
        policy::apply_policies(&mut owner, &sql, &policy::Options::default()).await.unwrap();
    assert!(report.applied.is_some(), "what was granted by hand is noticed");
    assert_eq!(ask(&owner).await, [false, true, true]);
    owner.batch_execute("select auth.remove_api_role('support_agent')").await.unwrap();
    assert_eq!(ask(&owner).await, [false; 3]);
    let denied = owner.batch_execute("select auth.add_api_role('nobody_here')").await.unwrap_err();
    assert_eq!(denied.code().unwrap().code(), "42704");
    for (own, sqlstate) in
        [("authenticated", "42939"), ("rowgate_sealer", "42939"), (cluster::OWNER, "42501")]
    {
        let sql = format!("select auth.add_api_role('{own}')");
        let denied = owner.batch_execute(&sql).await.unwrap_err();
        assert_eq!(denied.code().unwrap().code(), sqlstate, "{own}");
    }
    let denied = owner.batch_execute("select auth.add_api_role('big_boss')").await.unwrap_err();
    assert_eq!(denied.code().unwrap().code(), "42501");
}
