//! An issuer of tokens for tests: a real HTTP server with a real key set, whose tokens can be forged
//! and whose server can be made slow, broken or rotated.

pub mod keys;
pub mod token;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use jsonwebtoken::Algorithm;
use rowgate::config::{IssuerConfig, KeySource, KeysConfig};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use keys::KeyRing;
use token::TokenBuilder;

const JWKS_PATH: &str = "/.well-known/jwks.json";
const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";

/// How the issuer's server answers a request for its key set, or for its discovery document.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// With what was asked for.
    Normal,
    /// With what was asked for, after a while.
    Slow(Duration),
    /// Not at all; the connection stays open.
    Hang,
    /// With this status and no body.
    Status(u16),
    /// With status 302 to this URL.
    Redirect(String),
    /// With status 200 and this body.
    Body(String),
    /// With status 200 and a body that never ends.
    Endless,
    /// With status 200 and a body of so many bytes.
    Large(usize),
}

/// A running issuer; it stops when dropped.
pub struct FakeIssuer {
    url: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

struct Shared {
    state: Mutex<State>,
    fetches: AtomicUsize,
    not_modified: AtomicUsize,
    documents: AtomicUsize,
}

struct State {
    generation: usize,
    keys: Arc<KeyRing>,
    /// Published beside the keys, as they are.
    foreign_keys: Vec<Value>,
    behaviour: Behaviour,
    document_behaviour: Behaviour,
    /// Where the key set is now.
    jwks_path: String,
}

impl FakeIssuer {
    /// Where its key set is, too, whatever its server does.
    pub const MOVED_PATH: &str = "/moved.json";

    /// Starts a server on a free port of the loopback address.
    pub async fn start() -> Self {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                generation: 0,
                keys: Arc::new(KeyRing::generate(0)),
                foreign_keys: Vec::new(),
                behaviour: Behaviour::Normal,
                document_behaviour: Behaviour::Normal,
                jwks_path: JWKS_PATH.to_owned(),
            }),
            fetches: AtomicUsize::new(0),
            not_modified: AtomicUsize::new(0),
            documents: AtomicUsize::new(0),
        });
        let server = tokio::spawn(serve(listener, address, Arc::clone(&shared)));
        Self { url: format!("http://{address}"), shared, server }
    }

    /// The `iss` of its tokens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where its key set is.
    pub fn jwks_url(&self) -> String {
        format!("{}{JWKS_PATH}", self.url)
    }

    /// How a gateway is configured to accept its tokens: every algorithm it signs with, no audience.
    pub fn config(&self) -> IssuerConfig {
        use Algorithm::{ES256, EdDSA, PS256, RS256};
        IssuerConfig {
            keys: KeysConfig::at(self.jwks_url()),
            algorithms: vec![RS256, PS256, ES256, EdDSA],
            leeway: Duration::ZERO,
            ..IssuerConfig::new(&self.url)
        }
    }

    /// The same, with keys where its discovery document says.
    pub fn config_by_discovery(&self) -> IssuerConfig {
        IssuerConfig { keys: KeysConfig::new(KeySource::Discovery), ..self.config() }
    }

    /// The same, with keys that go on counting for `kept` while this issuer fails.
    pub fn config_keeping_keys(&self, kept: Duration) -> IssuerConfig {
        let mut config = self.config();
        config.keys.kept = kept;
        config
    }

    /// A token for `subject` that is valid for five minutes, to be changed and signed.
    pub fn token(&self, subject: &str) -> TokenBuilder {
        TokenBuilder::new(self.keys(), &self.url, subject)
    }

    /// The keys that it signs with now.
    pub fn keys(&self) -> Arc<KeyRing> {
        Arc::clone(&self.shared.state.lock().unwrap().keys)
    }

    /// New keys with new ids replace the old ones at once.
    pub fn rotate(&self) {
        let mut state = self.shared.state.lock().unwrap();
        state.generation += 1;
        state.keys = Arc::new(KeyRing::generate(state.generation));
    }

    /// New keys with new ids are published beside the old ones, and sign from now on.
    pub fn rotate_beside_the_old(&self) {
        let old = self.keys().public();
        self.rotate();
        self.shared.state.lock().unwrap().foreign_keys.extend(old);
    }

    /// The key set is elsewhere from now on, on the same server; at the old place there is nothing.
    pub fn move_keys(&self, path: &str) {
        self.shared.state.lock().unwrap().jwks_path = path.to_owned();
    }

    /// The body of its key set.
    pub fn key_set(&self) -> Value {
        self.shared.state.lock().unwrap().key_set()
    }

    /// Publishes another member of the key set, in front of its own.
    pub fn publish(&self, key: Value) {
        self.shared.state.lock().unwrap().foreign_keys.push(key);
    }

    /// Changes how its server answers requests for its key set from now on.
    pub fn behave(&self, behaviour: Behaviour) {
        self.shared.state.lock().unwrap().behaviour = behaviour;
    }

    /// Changes how its server answers requests for its discovery document from now on.
    pub fn behave_about_document(&self, behaviour: Behaviour) {
        self.shared.state.lock().unwrap().document_behaviour = behaviour;
    }

    /// How often its key set was asked for.
    pub fn fetches(&self) -> usize {
        self.shared.fetches.load(Ordering::SeqCst)
    }

    /// How often the answer was that the key set has not changed.
    pub fn not_modified(&self) -> usize {
        self.shared.not_modified.load(Ordering::SeqCst)
    }

    /// How often its discovery document was asked for.
    pub fn documents(&self) -> usize {
        self.shared.documents.load(Ordering::SeqCst)
    }
}

impl Drop for FakeIssuer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

type Body = BoxBody<Bytes, Infallible>;

async fn serve(listener: TcpListener, address: SocketAddr, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        tokio::spawn(serve_connection(stream, address, Arc::clone(&shared)));
    }
}

async fn serve_connection(stream: TcpStream, address: SocketAddr, shared: Arc<Shared>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let shared = Arc::clone(&shared);
        async move {
            let jwks_path = shared.state.lock().unwrap().jwks_path.clone();
            Ok::<_, Infallible>(match request.uri().path() {
                path if path == jwks_path => shared.answer_with_keys(&request).await,
                FakeIssuer::MOVED_PATH => shared.published(None),
                DISCOVERY_PATH => shared.answer_with_document(address, &jwks_path).await,
                _ => status(404),
            })
        }
    });
    // The gateway may well hang up on a misbehaving issuer: that is what is tested.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

impl Shared {
    async fn answer_with_keys(&self, request: &Request<Incoming>) -> Response<Body> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        let behaviour = self.state.lock().unwrap().behaviour.clone();
        let etag = request.headers().get("if-none-match");
        let etag = etag.map(|etag| etag.to_str().unwrap().to_owned());
        behaviour.apply(|| self.published(etag.as_deref())).await
    }

    async fn answer_with_document(&self, address: SocketAddr, jwks_path: &str) -> Response<Body> {
        self.documents.fetch_add(1, Ordering::SeqCst);
        let behaviour = self.state.lock().unwrap().document_behaviour.clone();
        let document = json!({
            "issuer": format!("http://{address}"),
            "jwks_uri": format!("http://{address}{jwks_path}"),
        });
        behaviour.apply(|| json_answer(&document)).await
    }

    fn published(&self, known: Option<&str>) -> Response<Body> {
        let state = self.state.lock().unwrap();
        let etag = format!("\"{}-{}\"", state.generation, state.foreign_keys.len());
        let mut answer = if known == Some(&*etag) {
            self.not_modified.fetch_add(1, Ordering::SeqCst);
            status(304)
        } else {
            json_answer(&state.key_set())
        };
        answer.headers_mut().insert("etag", etag.parse().unwrap());
        answer
    }
}

impl State {
    fn key_set(&self) -> Value {
        let mut keys = self.foreign_keys.clone();
        keys.extend(self.keys.public());
        json!({ "keys": keys })
    }
}

impl Behaviour {
    async fn apply(self, normal: impl FnOnce() -> Response<Body>) -> Response<Body> {
        match self {
            Self::Normal => normal(),
            Self::Slow(delay) => {
                tokio::time::sleep(delay).await;
                normal()
            }
            Self::Hang => std::future::pending().await,
            Self::Status(code) => status(code),
            Self::Redirect(location) => {
                let mut answer = status(302);
                answer.headers_mut().insert("location", location.parse().unwrap());
                answer
            }
            Self::Body(body) => Response::new(Full::from(body).boxed()),
            Self::Endless => blank(usize::MAX),
            Self::Large(bytes) => blank(bytes),
        }
    }
}

fn blank(bytes: usize) -> Response<Body> {
    const CHUNK: &[u8] = &[b' '; 8192];
    let chunks = stream::repeat_with(|| Ok(Frame::data(Bytes::from_static(CHUNK))));
    Response::new(BodyExt::boxed(StreamBody::new(chunks.take(bytes / CHUNK.len()))))
}

fn json_answer(value: &Value) -> Response<Body> {
    let mut answer = Response::new(Full::from(value.to_string()).boxed());
    answer.headers_mut().insert("content-type", "application/json".parse().unwrap());
    answer
}

fn status(code: u16) -> Response<Body> {
    Response::builder().status(code).body(Full::default().boxed()).unwrap()
}
