//! A whole gateway in this process: its own database, its own issuer, real HTTP on a free port.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rowgate::config::Config;
use rowgate::observe::Observer;
use rowgate::pg::url::ConnectUrl;
use rowgate::server::{ServeError, Server};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::cluster::{self, TestDatabase};
use super::issuer::FakeIssuer;

/// Connections per role: few, so that requests share them.
pub const POOL_SIZE: usize = 4;

/// A running gateway. It is stopped, without draining, when dropped.
pub struct TestGateway {
    pub database: TestDatabase,
    pub issuer: FakeIssuer,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<Result<(), ServeError>>,
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct TestAnswer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl TestAnswer {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The rows of a single statement that must have succeeded.
    #[track_caller]
    pub fn rows(&self) -> Value {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        self.json()["rows"].clone()
    }

    /// Status and `code` of a failure.
    #[track_caller]
    pub fn failure(&self) -> (u16, String) {
        (self.status, self.json()["code"].as_str().unwrap_or("none").to_owned())
    }

    /// A header's value; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// The configuration of a gateway on `database` that believes `issuer`, on free ports.
pub fn config(database: &TestDatabase, issuer: &FakeIssuer) -> Config {
    let url = |text: &str| ConnectUrl::parse(text).unwrap();
    let mut config = Config::with_defaults(
        url(&database.authenticated_url),
        url(&database.anonymous_url),
        vec![issuer.config()],
    );
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    config.server.listen = any_port;
    config.server.admin_listen = Some(any_port);
    config.server.startup_timeout = Duration::from_secs(10);
    config.database.owner = Some(url(&database.owner_url));
    config.database.pool_size = POOL_SIZE;
    config.limits.allow_functions = TEST_FUNCTIONS.map(str::to_owned).to_vec();
    config
}

/// What callers may not use, and tests need: to take a known time, to wait for each other, to see where they
/// are, and a result of type void.
const TEST_FUNCTIONS: [&str; 5] =
    ["pg_sleep", "pg_advisory_xact_lock_shared", "pg_backend_pid", "current_setting", "pg_notify"];

impl TestGateway {
    /// On the sample schema, with defaults.
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// On the sample schema, with another configuration.
    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::on(cluster::fresh_database().await, change).await
    }

    /// On a database of the test's own.
    pub async fn on(database: TestDatabase, change: impl FnOnce(&mut Config)) -> Self {
        Self::believing(FakeIssuer::start().await, database, change).await
    }

    /// With an issuer that was prepared beforehand.
    pub async fn believing(
        issuer: FakeIssuer,
        database: TestDatabase,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = config(&database, &issuer);
        change(&mut config);
        let server = Server::bind(config, Observer::default()).await.unwrap();
        let (address, admin) = (server.local_addr().unwrap(), server.admin_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { database, issuer, address, admin, client, stop: Some(stop), server }
    }

    /// Asks the gateway to drain; returns once it has ended.
    pub async fn shut_down(&mut self) {
        drop(self.stop.take());
        (&mut self.server).await.unwrap().unwrap();
    }

    /// A valid token for `subject`.
    pub fn token(&self, subject: &str) -> String {
        self.issuer.token(subject).sign()
    }

    /// Runs one statement as `subject` (or without a token), with typed values and rows as arrays.
    pub async fn sql(&self, subject: Option<&str>, query: &str, params: Value) -> TestAnswer {
        self.body(subject, &json!({"query": query, "params": params, "arrayMode": true})).await
    }

    /// Runs a batch of statements without parameters as `subject`.
    pub async fn batch(&self, subject: Option<&str>, queries: &[&str]) -> TestAnswer {
        let queries: Vec<Value> =
            queries.iter().map(|query| json!({"query": query, "arrayMode": true})).collect();
        self.body(subject, &json!({ "queries": queries })).await
    }

    /// Sends this body to `/sql` as `subject`.
    pub async fn body(&self, subject: Option<&str>, body: &Value) -> TestAnswer {
        let token = subject.map(|subject| format!("Bearer {}", self.token(subject)));
        let headers: Vec<(&str, &str)> =
            token.iter().map(|token| ("authorization", token.as_str())).collect();
        self.send(Method::POST, "/sql", &headers, body.to_string()).await
    }

    /// Sends any request to the clients' listener.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> TestAnswer {
        self.try_send(self.address, method, path, headers, body).await.unwrap()
    }

    /// Sends a GET to the operators' listener.
    pub async fn admin(&self, path: &str) -> TestAnswer {
        self.try_send(self.admin, Method::GET, path, &[], "").await.unwrap()
    }

    /// Sends any request; an answer that broke off is an error.
    pub async fn try_send(
        &self,
        address: SocketAddr,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<TestAnswer, Box<dyn std::error::Error + Send + Sync>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{address}{path}"))
            .header(header::CONTENT_TYPE, "text/plain;charset=UTF-8")
            .body(Full::new(body.into()))?;
        for (name, value) in headers {
            request
                .headers_mut()
                .append(HeaderName::try_from(*name)?, HeaderValue::try_from(*value)?);
        }
        let (head, body) = self.client.request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(TestAnswer { status: head.status.as_u16(), headers: head.headers, body })
    }

    /// Adds rows of alice and bob, as a superuser: the policies bind even the tables' owner.
    pub async fn seed(&self) {
        let superuser = self.database.superuser().await;
        superuser
            .batch_execute(
                "insert into todos (user_id, task) values \
                 ('alice', 'alice one'), ('alice', 'alice two'), ('bob', 'bob one');
                 insert into user_messages (user_id, message) values \
                 ('alice', 'from alice'), ('bob', 'from bob')",
            )
            .await
            .unwrap();
    }

    /// How many backends of this database run a statement of the two login roles right now.
    pub async fn running_statements(&self) -> i64 {
        let row = self
            .database
            .superuser()
            .await
            .query_one(
                "select count(*) from pg_stat_activity where datname = $1 and state = 'active' \
                 and usename in ('authenticated', 'anonymous')",
                &[&self.database.name],
            )
            .await
            .unwrap();
        row.get(0)
    }

    /// Makes the gateway read the catalogue again, by showing it a type that it does not know.
    pub async fn learn(&self) {
        let name = format!("unknown_{}", NEXT_TYPE.fetch_add(1, Ordering::Relaxed));
        let create = format!("create type {name} as enum ('x')");
        self.database.superuser().await.batch_execute(&create).await.unwrap();
        let rows =
            self.sql(None, &format!("select 'x'::{name}"), serde_json::json!([])).await.rows();
        assert_eq!(rows, serde_json::json!([["x"]]));
    }

    /// What the backend of the only connection for callers with a token did last.
    pub async fn last_statement(&self) -> String {
        let row = self
            .database
            .superuser()
            .await
            .query_one(
                "select query from pg_stat_activity where datname = $1 and usename = 'authenticated' \
                 and query not like '%pg_type%' and query not like '%pg_proc%'
                 order by query_start desc limit 1",
                &[&self.database.name],
            )
            .await
            .unwrap();
        row.get(0)
    }
}

/// Each type that [`TestGateway::learn`] makes has a name of its own.
static NEXT_TYPE: AtomicUsize = AtomicUsize::new(0);
