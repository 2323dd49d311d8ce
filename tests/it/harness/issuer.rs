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
use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use jsonwebtoken::Algorithm;
use rowgate::config::IssuerConfig;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use keys::KeyRing;
use token::TokenBuilder;

const JWKS_PATH: &str = "/.well-known/jwks.json";
const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";

/// How the issuer's server answers a request for its key set.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// With the key set.
    Normal,
    /// With the key set, after a while.
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
}

struct State {
    generation: usize,
    keys: Arc<KeyRing>,
    /// Published beside the keys, as they are.
    foreign_keys: Vec<Value>,
    behaviour: Behaviour,
}

impl FakeIssuer {
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
            }),
            fetches: AtomicUsize::new(0),
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
            jwks_url: self.jwks_url(),
            algorithms: vec![RS256, PS256, ES256, EdDSA],
            leeway: Duration::ZERO,
            ..IssuerConfig::new(&self.url)
        }
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

    /// Publishes another member of the key set, in front of its own.
    pub fn publish(&self, key: Value) {
        self.shared.state.lock().unwrap().foreign_keys.push(key);
    }

    /// Changes how its server answers from now on.
    pub fn behave(&self, behaviour: Behaviour) {
        self.shared.state.lock().unwrap().behaviour = behaviour;
    }

    /// How often its key set was asked for.
    pub fn fetches(&self) -> usize {
        self.shared.fetches.load(Ordering::SeqCst)
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
            Ok::<_, Infallible>(match request.uri().path() {
                JWKS_PATH => shared.key_set().await,
                DISCOVERY_PATH => json_answer(&json!({
                    "issuer": format!("http://{address}"),
                    "jwks_uri": format!("http://{address}{JWKS_PATH}"),
                })),
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
    async fn key_set(&self) -> Response<Body> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        let behaviour = self.state.lock().unwrap().behaviour.clone();
        match behaviour {
            Behaviour::Normal => self.published(),
            Behaviour::Slow(delay) => {
                tokio::time::sleep(delay).await;
                self.published()
            }
            Behaviour::Hang => std::future::pending().await,
            Behaviour::Status(code) => status(code),
            Behaviour::Redirect(location) => {
                let mut answer = status(302);
                answer.headers_mut().insert("location", location.parse().unwrap());
                answer
            }
            Behaviour::Body(body) => Response::new(Full::from(body).boxed()),
            Behaviour::Endless => {
                let chunks =
                    stream::repeat_with(|| Ok(Frame::data(Bytes::from_static(&[b' '; 8192]))));
                Response::new(StreamBody::new(chunks).boxed())
            }
        }
    }

    fn published(&self) -> Response<Body> {
        let state = self.state.lock().unwrap();
        let mut keys = state.foreign_keys.clone();
        keys.extend(state.keys.public());
        json_answer(&json!({ "keys": keys }))
    }
}

fn json_answer(value: &Value) -> Response<Body> {
    let mut answer = Response::new(Full::from(value.to_string()).boxed());
    answer.headers_mut().insert("content-type", "application/json".parse().unwrap());
    answer
}

fn status(code: u16) -> Response<Body> {
    Response::builder().status(code).body(Full::default().boxed()).unwrap()
}
