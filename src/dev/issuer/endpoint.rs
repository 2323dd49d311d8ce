//! The demo issuer's two public documents over HTTP, on the loopback interface only.
//!
//! Must never serve anything secret: every page of every browser on this machine can ask.

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::{Issuer, JWKS_PATH};

/// `OpenID` Connect Discovery 1.0, section 4.
const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";

/// A caller that has not sent its request by then is cut off.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait when the system has no socket to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The running endpoint; ends when dropped.
#[derive(Debug)]
pub struct Endpoint {
    task: JoinHandle<()>,
}

impl Endpoint {
    /// Serves `issuer`'s documents on its port.
    pub async fn start(issuer: &Issuer) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, issuer.port)).await?;
        let documents = Documents::of(issuer);
        Ok(Self { task: tokio::spawn(accept(listener, documents)) })
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Both documents as they go over the wire.
#[derive(Clone)]
struct Documents {
    jwks: Bytes,
    discovery: Bytes,
}

impl Documents {
    fn of(issuer: &Issuer) -> Self {
        let url = issuer.url();
        let discovery = json!({
            "issuer": url,
            "jwks_uri": format!("{url}{JWKS_PATH}"),
            "id_token_signing_alg_values_supported": ["ES256"],
            "subject_types_supported": ["public"],
            "response_types_supported": ["id_token"],
        });
        Self {
            jwks: json!(issuer.jwks()).to_string().into(),
            discovery: discovery.to_string().into(),
        }
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let (status, body) = match path {
            JWKS_PATH | DISCOVERY_PATH if method != Method::GET && method != Method::HEAD => {
                (StatusCode::METHOD_NOT_ALLOWED, r#"{"message":"only GET is served here"}"#.into())
            }
            JWKS_PATH => (StatusCode::OK, self.jwks.clone()),
            DISCOVERY_PATH => (StatusCode::OK, self.discovery.clone()),
            _ => (StatusCode::NOT_FOUND, r#"{"message":"no such document"}"#.into()),
        };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, const { header("application/json") });
        headers.insert(CACHE_CONTROL, const { header("no-cache") });
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, const { header("GET, HEAD") });
        }
        response
    }
}

const fn header(value: &'static str) -> hyper::header::HeaderValue {
    hyper::header::HeaderValue::from_static(value)
}

async fn accept(listener: TcpListener, documents: Documents) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(serve(stream, documents.clone()))),
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn serve(stream: TcpStream, documents: Documents) {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let answer = documents.answer(request.method(), request.uri().path());
        async { Ok::<_, Infallible>(answer) }
    });
    // A caller that breaks off concerns nobody else.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
