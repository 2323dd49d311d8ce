//! One attack's world: a database, a gateway on it, users with tokens, and real HTTP between them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rowgate::config::StatementKinds;
use rowgate::http::Gateway;
use rowgate::observe::Observer;
use rowgate::pg::pool::Pool;
use rowgate::pg::url::ConnectUrl;
use rowgate::server::Server as GatewayServer;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::answer::Answer;
use crate::corpus::Sql;
use crate::it::harness::cluster::TestDatabase;
use crate::it::harness::gateway::config;
use crate::it::harness::issuer::FakeIssuer;

/// What the corpus assumes of the system under test.
const DEADLINE: Duration = Duration::from_secs(2);
const ANSWER_BYTES: u64 = 50_000_000;
const POOL_SIZE: usize = 10;

/// No request of the corpus may take longer, whatever happens.
const PATIENCE: Duration = Duration::from_secs(20);

/// The user without a token.
pub const ANONYMOUS: &str = "anonymous";

/// A gateway and everything that is needed to talk to it. Can be shared with background requests.
pub struct Stage {
    pub database: TestDatabase,
    pub gateway: Arc<Gateway>,
    issuer: Arc<FakeIssuer>,
    address: std::net::SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
    serving: JoinHandle<()>,
    relay: Option<Relay>,
}

/// One request, as the corpus describes it.
#[derive(Clone)]
pub struct Outgoing {
    pub user: String,
    pub sql: Sql,
    pub params: Option<String>,
    pub headers: Vec<(String, String)>,
}

impl Outgoing {
    pub fn new(user: &str, sql: Sql) -> Self {
        Self { user: user.to_owned(), sql, params: None, headers: Vec::new() }
    }

    fn body(&self) -> String {
        let statements = self.sql.statements();
        if self.sql.is_batch() {
            let queries: Vec<Value> =
                statements.iter().map(|query| json!({"query": query, "arrayMode": true})).collect();
            return json!({ "queries": queries }).to_string();
        }
        let params = self.params.as_deref().unwrap_or("[]");
        // Parameters as the corpus wrote them: also such as no JSON library would write.
        format!("{{\"query\":{},\"arrayMode\":true,\"params\":{params}}}", json!(statements[0]))
    }
}

impl Stage {
    /// A gateway on `database`. With `measured`, what the server sends it is counted.
    pub async fn open(
        database: TestDatabase,
        issuer: Arc<FakeIssuer>,
        statements: StatementKinds,
        measured: bool,
    ) -> Self {
        let mut config = config(&database, &issuer);
        config.limits.deadline = DEADLINE;
        config.limits.answer_bytes = ANSWER_BYTES;
        config.limits.statements = statements;
        // The harness lets its tests use what callers may not.
        config.limits.allow_functions = Vec::new();
        config.database.pool_size = POOL_SIZE;
        let relay = match measured {
            true => Some(Relay::to(&database.authenticated_url).await),
            false => None,
        };
        if let Some(relay) = &relay {
            config.database.authenticated = ConnectUrl::parse(&relay.url).unwrap();
        }
        let server = GatewayServer::bind(config, Observer::default()).await.unwrap();
        let address = server.local_addr().unwrap();
        let gateway = server.gateway();
        let serving = tokio::spawn(async move {
            let _ = server.run(std::future::pending()).await;
        });
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { database, gateway, issuer, address, client, serving, relay }
    }

    /// Ends the gateway; its connections are closed.
    pub fn close(&self) {
        self.gateway.sessions.close();
        self.serving.abort();
    }

    /// The connections that serve this user.
    pub fn pool(&self, user: &str) -> &Pool {
        let sessions = &self.gateway.sessions;
        if user == ANONYMOUS { &sessions.anonymous } else { &sessions.authenticated }
    }

    /// Bytes that the database sent to the gateway so far, if they are counted.
    pub fn bytes_received(&self) -> u64 {
        self.relay.as_ref().map_or(0, |relay| relay.received.load(Ordering::Relaxed))
    }

    /// Sends a request and reads the answer, or as much of it as comes.
    pub async fn send(&self, outgoing: &Outgoing) -> Answer {
        let began = Instant::now();
        let received = self.bytes_received();
        let mut answer =
            timeout(PATIENCE, self.exchange(outgoing)).await.unwrap_or_else(|_| Answer::lost());
        answer.elapsed = began.elapsed();
        answer.bytes_received = self.bytes_received() - received;
        answer
    }

    async fn exchange(&self, outgoing: &Outgoing) -> Answer {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{}/sql", self.address))
            .header("neon-raw-text-output", "true")
            .body(Full::new(Bytes::from(outgoing.body())))
            .unwrap();
        for (name, value) in &outgoing.headers {
            request
                .headers_mut()
                .insert(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
        }
        if outgoing.user != ANONYMOUS {
            let token = format!("Bearer {}", self.issuer.token(&outgoing.user).sign());
            request.headers_mut().insert("authorization", HeaderValue::try_from(token).unwrap());
        }
        let Ok(response) = self.client.request(request).await else { return Answer::lost() };
        let (head, mut body) = response.into_parts();
        let mut bytes = Vec::new();
        let mut whole = true;
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
                Err(_) => {
                    whole = false;
                    break;
                }
            }
        }
        Answer::new(head.status.as_u16(), bytes, whole)
    }
}

/// Sits between gateway and database and counts.
struct Relay {
    url: String,
    received: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Relay {
    async fn to(url: &str) -> Self {
        let mut parsed = url::Url::parse(url).unwrap();
        let target = (parsed.host_str().unwrap().to_owned(), parsed.port().unwrap());
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        parsed.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
        let received = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&received);
        let accepting = tokio::spawn(async move {
            while let Ok((gateway, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect((target.0.as_str(), target.1)).await else {
                    continue;
                };
                tokio::spawn(relay(gateway, server, Arc::clone(&counter)));
            }
        });
        Self { url: parsed.into(), received, accepting }
    }
}

async fn relay(gateway: TcpStream, server: TcpStream, received: Arc<AtomicU64>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut from_gateway, mut to_gateway) = gateway.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let upstream = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_gateway, &mut to_server).await;
    });
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
        if to_gateway.write_all(&buffer[..read]).await.is_err() {
            break;
        }
        received.fetch_add(read as u64, Ordering::Relaxed);
    }
    upstream.abort();
}
