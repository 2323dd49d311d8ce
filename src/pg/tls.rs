//! TLS to `PostgreSQL`: libpq's `sslmode` on rustls, and the hash that channel binding needs.
//!
//! A mode that promises verification must never fall back to less. Even where the certificate is
//! not verified, the handshake's signature is: without it a stranger could present the server's
//! certificate without owning its key, and channel binding would prove nothing.

mod binding;
mod verifier;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::url::{ConnectUrl, RootCertificates, TlsSettings};
use verifier::{Roots, ServerCertificate, Trust};

pub use binding::tls_server_end_point;

/// libpq's `sslmode`; `allow` is not offered, since it protects nothing that `prefer` does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsMode {
    /// Plain text.
    Disable,
    /// TLS if the server offers it, and plain text only if it does not; the certificate is not verified.
    #[default]
    Prefer,
    /// TLS; the certificate is verified only if `sslrootcert` is given, then as with `VerifyCa`.
    Require,
    /// TLS; the certificate must be signed by a trusted authority.
    VerifyCa,
    /// TLS; the certificate must also name the host.
    VerifyFull,
}

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or key file could not be read.
    #[error("cannot read {parameter} {}: {reason} (expected a PEM file)", path.display())]
    File {
        /// `sslrootcert`, `sslcert` or `sslkey`.
        parameter: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The operating system's certificate store is empty.
    #[error(
        "the system has no trusted certificates: install them (Debian: ca-certificates) or give sslrootcert"
    )]
    NoSystemRoots,
    /// rustls refused the set-up.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// The rustls configuration for a URL; read from its files once, then shared by all connections.
pub fn client_config(url: &ConnectUrl) -> Result<Arc<ClientConfig>, TlsError> {
    let settings = url.tls_settings();
    if let Some(config) = settings.client.get() {
        return Ok(Arc::clone(config));
    }
    let config = Arc::new(build(settings)?);
    Ok(Arc::clone(settings.client.get_or_init(|| config)))
}

fn build(settings: &TlsSettings) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = ServerCertificate::new(trust(settings)?, &provider);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    match (&settings.certificate, &settings.key) {
        (Some(certificate), Some(key)) => {
            let chain = certificates("sslcert", certificate)?;
            let key =
                PrivateKeyDer::from_pem_file(key).map_err(|e| file_error("sslkey", key, &e))?;
            Ok(builder.with_client_auth_cert(chain, key)?)
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

/// What the mode demands of the server's certificate (libpq's manual, "SSL Mode Descriptions").
fn trust(settings: &TlsSettings) -> Result<Trust, TlsError> {
    match (settings.mode, &settings.roots) {
        (TlsMode::Disable | TlsMode::Prefer, _) | (TlsMode::Require, None) => Ok(Trust::Anyone),
        (TlsMode::Require | TlsMode::VerifyCa, roots) => {
            Ok(Trust::Chain(load_roots(roots.as_ref())?))
        }
        (TlsMode::VerifyFull, roots) => Ok(Trust::ChainAndName(load_roots(roots.as_ref())?)),
    }
}

fn load_roots(source: Option<&RootCertificates>) -> Result<Roots, TlsError> {
    let mut store = RootCertStore::empty();
    let mut listed = Vec::new();
    match source {
        Some(RootCertificates::File(path)) => {
            listed = certificates("sslrootcert", path)?;
            for certificate in &listed {
                let added = store.add(certificate.clone());
                added.map_err(|e| file_error("sslrootcert", path, &e))?;
            }
        }
        Some(RootCertificates::System) | None => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if store.is_empty() {
                return Err(TlsError::NoSystemRoots);
            }
        }
    }
    Ok(Roots { store, listed })
}

fn certificates(
    parameter: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let list: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match list {
        Ok(list) if list.is_empty() => Err(file_error(parameter, path, &"it holds no certificate")),
        Ok(list) => Ok(list),
        Err(error) => Err(file_error(parameter, path, &error)),
    }
}

fn file_error(parameter: &'static str, path: &Path, reason: &dyn std::fmt::Display) -> TlsError {
    TlsError::File { parameter, path: path.to_path_buf(), reason: reason.to_string() }
}
