//! The `tls-server-end-point` channel binding (RFC 5929 section 4.1): a hash of the server's
//! certificate that SCRAM-SHA-256-PLUS mixes into the password exchange.

use aws_lc_rs::digest::{Algorithm, SHA224, SHA256, SHA384, SHA512, digest};
use x509_cert::Certificate;
use x509_cert::der::asn1::ContextSpecific;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::oid::db::{rfc5912 as oid, rfc8410};
use x509_cert::der::{Decode as _, Reader as _, TagNumber};
use x509_cert::spki::{AlgorithmIdentifierOwned, AlgorithmIdentifierRef};

/// RFC 5758 section 3.2 names it, the table of names that comes with the decoder does not.
const ECDSA_WITH_SHA_1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.1");

/// Signature algorithms and bare hashes, with the hash function of each.
const KNOWN: &[(ObjectIdentifier, &Algorithm)] = &[
    // RFC 5929: MD5 and SHA-1 are replaced by SHA-256.
    (oid::MD_5_WITH_RSA_ENCRYPTION, &SHA256),
    (oid::SHA_1_WITH_RSA_ENCRYPTION, &SHA256),
    (ECDSA_WITH_SHA_1, &SHA256),
    (oid::ID_MD_5, &SHA256),
    (oid::ID_SHA_1, &SHA256),
    (oid::SHA_224_WITH_RSA_ENCRYPTION, &SHA224),
    (oid::ECDSA_WITH_SHA_224, &SHA224),
    (oid::ID_SHA_224, &SHA224),
    (oid::SHA_256_WITH_RSA_ENCRYPTION, &SHA256),
    (oid::ECDSA_WITH_SHA_256, &SHA256),
    (oid::ID_SHA_256, &SHA256),
    (oid::SHA_384_WITH_RSA_ENCRYPTION, &SHA384),
    (oid::ECDSA_WITH_SHA_384, &SHA384),
    (oid::ID_SHA_384, &SHA384),
    (oid::SHA_512_WITH_RSA_ENCRYPTION, &SHA512),
    (oid::ECDSA_WITH_SHA_512, &SHA512),
    (oid::ID_SHA_512, &SHA512),
];

/// The hash of a certificate, by the hash function of its signature. `None` where RFC 5929 leaves
/// it undefined: a signature without a hash of its own (Ed25519), an unknown one, or not a certificate.
#[must_use]
pub fn tls_server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let parsed = Certificate::from_der(certificate).ok()?;
    let algorithm = hash_of(&parsed.signature_algorithm)?;
    Some(digest(algorithm, certificate).as_ref().to_vec())
}

fn hash_of(signature: &AlgorithmIdentifierOwned) -> Option<&'static Algorithm> {
    match signature.oid {
        oid::ID_RSASSA_PSS => known(pss_hash(signature)?),
        rfc8410::ID_ED_25519 => None,
        other => known(other),
    }
}

fn known(wanted: ObjectIdentifier) -> Option<&'static Algorithm> {
    KNOWN.iter().find(|(oid, _)| *oid == wanted).map(|(_, algorithm)| *algorithm)
}

/// RSASSA-PSS names its hash in its parameters (RFC 4055 section 3.1); left out, it is SHA-1.
fn pss_hash(signature: &AlgorithmIdentifierOwned) -> Option<ObjectIdentifier> {
    let parameters = signature.parameters.as_ref()?;
    let mut reader = x509_cert::der::SliceReader::new(parameters.value()).ok()?;
    let hash =
        ContextSpecific::<AlgorithmIdentifierRef<'_>>::decode_explicit(&mut reader, TagNumber::N0);
    let oid = hash.ok()?.map_or(oid::ID_SHA_1, |hash| hash.value.oid);
    reader.read_slice(reader.remaining_len()).ok()?;
    Some(oid)
}
