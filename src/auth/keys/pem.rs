//! Owns the reading of public keys in PEM (RFC 7468), several in one text. Must never take a private key:
//! whoever lets a gateway read one lets it sign.
//!
//! A line `kid: …` before a block names its key; RFC 7468 §5.2 leaves the text between blocks to people.

use x509_cert::der::asn1::{ObjectIdentifier, UintRef};
use x509_cert::der::oid::db::{rfc5912, rfc8410};
use x509_cert::der::{Decode as _, Document, Reader as _, SliceReader};
use x509_cert::spki::SubjectPublicKeyInfoRef;

use super::material::Material;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const KEY_ID: &str = "kid:";

/// Why a text is not the PEM of public keys. The number counts its blocks from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::auth) enum PemError {
    #[error("it holds no block that begins with -----BEGIN PUBLIC KEY-----")]
    Empty,
    #[error("block {0} has no end")]
    Unended(usize),
    #[error("block {0} {1}")]
    Block(usize, Fault),
}

impl PemError {
    /// `position` counts from 0.
    pub(super) fn of(position: usize, fault: Fault) -> Self {
        Self::Block(position + 1, fault)
    }
}

/// What is wrong with one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::auth) enum Fault {
    #[error("is a private key: only the issuer may have that one")]
    Private,
    #[error("is a certificate: take its key out with `openssl x509 -pubkey -noout`")]
    Certificate,
    #[error("is neither PUBLIC KEY nor RSA PUBLIC KEY")]
    Label,
    #[error(
        "is not a usable key: expected RSA of 2048 to 8192 bits, P-256, P-384 or Ed25519, well-formed"
    )]
    Unusable,
    #[error("is a key with which none of the issuer's algorithms works")]
    NotAllowed,
}

/// One block, its own lines included, and the name before it.
pub(super) struct Block<'a> {
    pub(super) key_id: Option<&'a str>,
    pub(super) text: &'a str,
}

/// The blocks of a text; at least one.
pub(super) fn blocks(text: &str) -> Result<Vec<Block<'_>>, PemError> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some(begin) = rest.find(BEGIN) {
        let (before, block) = rest.split_at(begin);
        let unended = PemError::Unended(blocks.len() + 1);
        let end = block.find(END).ok_or(unended)?;
        let length = block[end..].find('\n').map_or(block.len(), |newline| end + newline + 1);
        let (block, after) = block.split_at(length);
        let key_id = before.lines().rev().find_map(|line| line.trim().strip_prefix(KEY_ID));
        blocks.push(Block { key_id: key_id.map(str::trim), text: block.trim() });
        rest = after;
    }
    if blocks.is_empty() { Err(PemError::Empty) } else { Ok(blocks) }
}

/// The public key in a block.
pub(super) fn material(block: &str) -> Result<Material, Fault> {
    // The label comes first: what follows it in a private key is not even decoded.
    let label = block.strip_prefix(BEGIN).and_then(|rest| rest.split_once("-----"));
    let label = label.map_or("", |(label, _)| label);
    let der = || Document::from_pem(block).map(|(_, der)| der).map_err(|_| Fault::Unusable);
    match label {
        "PUBLIC KEY" => of_spki(der()?.as_bytes()).ok_or(Fault::Unusable),
        "RSA PUBLIC KEY" => of_pkcs1(der()?.as_bytes()).ok_or(Fault::Unusable),
        "CERTIFICATE" => Err(Fault::Certificate),
        label if label.contains("PRIVATE") => Err(Fault::Private),
        _ => Err(Fault::Label),
    }
}

/// RFC 5280 §4.1.2.7, with the kinds of RFC 8017, RFC 5480 and RFC 8410.
fn of_spki(der: &[u8]) -> Option<Material> {
    let info = SubjectPublicKeyInfoRef::from_der(der).ok()?;
    let key = info.subject_public_key.as_bytes()?;
    let curve = || -> Option<ObjectIdentifier> {
        info.algorithm.parameters?.decode_as::<ObjectIdentifier>().ok()
    };
    match info.algorithm.oid {
        rfc5912::RSA_ENCRYPTION => of_pkcs1(key),
        rfc5912::ID_EC_PUBLIC_KEY => match curve()? {
            rfc5912::SECP_256_R_1 => Material::of_p256(key.to_vec()),
            rfc5912::SECP_384_R_1 => Material::of_p384(key.to_vec()),
            _ => None,
        },
        rfc8410::ID_ED_25519 => Material::of_ed25519(key.to_vec()),
        _ => None,
    }
}

/// RFC 8017 appendix A.1.1: modulus and exponent.
fn of_pkcs1(der: &[u8]) -> Option<Material> {
    let mut reader = SliceReader::new(der).ok()?;
    let (modulus, exponent) =
        reader.sequence(|inner| Ok((UintRef::decode(inner)?, UintRef::decode(inner)?))).ok()?;
    reader
        .finish((modulus.as_bytes(), exponent.as_bytes()))
        .ok()
        .and_then(|(n, e)| Material::of_rsa(n, e))
}
