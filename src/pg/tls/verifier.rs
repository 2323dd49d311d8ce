//! Decides whether a server's certificate is good enough for the `sslmode`.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// Who is believed.
#[derive(Debug)]
pub(super) enum Trust {
    /// Whoever answers: protects from listeners, not from impostors.
    Anyone,
    /// Whoever has a certificate of one of these authorities.
    Chain(RootCertStore),
    /// The same, if the certificate names the host too.
    ChainAndName(RootCertStore),
}

#[derive(Debug)]
pub(super) struct ServerCertificate {
    trust: Trust,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertificate {
    pub(super) fn new(trust: Trust, provider: &Arc<CryptoProvider>) -> Self {
        Self { trust, algorithms: provider.signature_verification_algorithms }
    }

    fn verify_chain(
        &self,
        roots: &RootCertStore,
        certificate: &ParsedCertificate<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            certificate,
            roots,
            intermediates,
            now,
            algorithms,
        )
    }
}

impl ServerCertVerifier for ServerCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.trust {
            Trust::Anyone => {}
            Trust::Chain(roots) => {
                let certificate = ParsedCertificate::try_from(end_entity)?;
                self.verify_chain(roots, &certificate, intermediates, now)?;
            }
            Trust::ChainAndName(roots) => {
                let certificate = ParsedCertificate::try_from(end_entity)?;
                self.verify_chain(roots, &certificate, intermediates, now)?;
                verify_server_name(&certificate, server_name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
