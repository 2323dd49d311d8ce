//! Key sets over TLS: only from a server whose certificate the system trusts for that name.
//!
//! Which roots are trusted is read from the environment (`SSL_CERT_FILE`) at start, so each case runs
//! the gateway's side in a process of its own: this test binary, started anew.

use std::convert::Infallible;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rowgate::config::{IssuerConfig, KeysConfig};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_rustls::TlsAcceptor;

use super::{auth_config, authenticator};
use crate::harness::issuer::keys::KeyRing;

const URL_VARIABLE: &str = "ROWGATE_TEST_JWKS_URL";
/// For one fetch from this machine; a failed one is only known when it is over.
const LIMIT: Duration = Duration::from_secs(3);

const CHILD: &str = "identity::tls::keys_are_fetched_from_the_url_in_the_environment";

/// An authority, as PEM, and a certificate for `localhost` that it issued.
struct Certificates {
    authority: String,
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
}

fn certificates() -> Certificates {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(params, authority_key);

    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    Certificates {
        authority,
        certificate: certificate.der().clone(),
        key: key.serialize_der().into(),
    }
}

/// Serves a key set over TLS for ever; returns the port.
async fn serve(certificates: &Certificates) -> u16 {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificates.certificate.clone()],
            certificates.key.clone_key().into(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let body = json!({ "keys": KeyRing::generate(0).public() }).to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that does not trust the certificate ends the handshake.
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let service = service_fn(|_| {
                let body = Full::<Bytes>::from(body.clone());
                async { Ok::<_, Infallible>(Response::new(body)) }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    });
    port
}

/// Fetches keys from `url` in a process that trusts `roots` (PEM) only.
async fn fetch_trusting(roots: &str, url: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("roots.pem");
    std::fs::write(&file, roots).unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", CHILD, "--ignored", "--nocapture"])
        .env("SSL_CERT_FILE", file)
        .env_remove("SSL_CERT_DIR")
        .env(URL_VARIABLE, url)
        .output()
        .await
        .unwrap()
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

#[tokio::test]
async fn keys_come_only_from_a_trusted_server_of_the_right_name() {
    let certificates = certificates();
    let port = serve(&certificates).await;
    let url = format!("https://localhost:{port}/jwks");

    let trusted = fetch_trusting(&certificates.authority, &url).await;
    assert!(trusted.status.success(), "{}", text(&trusted));
    assert!(text(&trusted).contains("1 passed"), "{}", text(&trusted));

    let stranger = self::certificates().authority;
    let untrusted = fetch_trusting(&stranger, &url).await;
    assert!(!untrusted.status.success());
    assert!(text(&untrusted).contains("invalid peer certificate"), "{}", text(&untrusted));

    let other_name = format!("https://127.0.0.1:{port}/jwks");
    let misnamed = fetch_trusting(&certificates.authority, &other_name).await;
    assert!(!misnamed.status.success());
    assert!(text(&misnamed).contains("not valid for name"), "{}", text(&misnamed));

    let without_roots = fetch_trusting("", &url).await;
    assert!(!without_roots.status.success());
    assert!(text(&without_roots).contains("root certificates"), "{}", text(&without_roots));
}

#[tokio::test]
#[ignore = "the gateway's side of the test above, which runs it with a prepared environment"]
async fn keys_are_fetched_from_the_url_in_the_environment() {
    let jwks_url = std::env::var(URL_VARIABLE).unwrap();
    let issuer = IssuerConfig {
        keys: KeysConfig::at(jwks_url),
        algorithms: vec![jsonwebtoken::Algorithm::ES256],
        leeway: Duration::ZERO,
        ..IssuerConfig::new("https://issuer.example")
    };
    let auth = authenticator(&auth_config(&[issuer]));
    let loaded = auth.wait_ready(LIMIT).await;
    assert_eq!(loaded, Ok(()));
}
