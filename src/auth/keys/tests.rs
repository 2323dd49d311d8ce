use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair,
};
use aws_lc_rs::signature::{ED25519, ParsedPublicKey, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

use super::*;

const ALL: &[Algorithm] =
    &[Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA];

/// A modulus of the given size; whether it is a product of two primes does not matter here.
fn rsa(bits: usize) -> Value {
    let modulus = vec![0xff; bits / 8];
    json!({ "kty": "RSA", "n": URL_SAFE_NO_PAD.encode(modulus), "e": "AQAB" })
}

fn ec(curve: &str) -> Value {
    let signing = match curve {
        "P-256" => &ECDSA_P256_SHA256_FIXED_SIGNING,
        _ => &ECDSA_P384_SHA384_FIXED_SIGNING,
    };
    let pair = EcdsaKeyPair::generate(signing).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(pair.public_key().as_ref().len() / 2);
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    json!({ "kty": "EC", "crv": curve, "x": x, "y": y })
}

fn ed25519() -> Value {
    let pair = Ed25519KeyPair::generate().unwrap();
    let x = URL_SAFE_NO_PAD.encode(pair.public_key());
    json!({ "kty": "OKP", "crv": "Ed25519", "x": x })
}

/// `key` with further members.
fn with(mut key: Value, members: &Value) -> Value {
    key.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    key
}

fn set(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes(), ALL).unwrap()
}

fn found(set: &KeySet, algorithm: Algorithm, id: Option<&str>) -> Option<Fingerprint> {
    match set.select(&Header { algorithm, key_id: id.map(Into::into) }) {
        Selection::Found(key) => Some(key.fingerprint()),
        Selection::Unfit | Selection::Unknown => None,
    }
}

#[test]
fn every_supported_kind_is_usable_with_its_own_algorithms_only() {
    let kinds = [
        (rsa(2048), vec![Algorithm::RS256, Algorithm::PS256]),
        (ec("P-256"), vec![Algorithm::ES256]),
        (ec("P-384"), vec![Algorithm::ES384]),
        (ed25519(), vec![Algorithm::EdDSA]),
    ];
    for (key, algorithms) in kinds {
        let set = set(&[with(key, &json!({ "kid": "k" }))]);
        for algorithm in ALL {
            assert_eq!(
                found(&set, *algorithm, Some("k")).is_some(),
                algorithms.contains(algorithm)
            );
        }
    }
}

#[test]
fn unusable_keys_are_left_out_and_the_good_one_stays() {
    let broken = [
        json!(null),
        json!("key"),
        json!({}),
        json!({ "kty": "oct", "k": "c2VjcmV0", "alg": "HS256" }),
        json!({ "kty": "AKP", "alg": "ML-DSA-44", "pub": "AA" }),
        json!({ "kty": "OKP", "crv": "X25519", "x": URL_SAFE_NO_PAD.encode([1; 32]) }),
        json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode([1; 31]) }),
        json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode([0; 32]) }),
        with(ed25519(), &json!({ "d": "AA" })),
        with(rsa(2048), &json!({ "d": "AA" })),
        with(rsa(2048), &json!({ "qi": null })),
        with(ec("P-256"), &json!({ "k": "AA" })),
        json!({ "kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA" }),
        rsa(1024),
        rsa(2040),
        rsa(16384),
        with(rsa(2048), &json!({ "n": "" })),
        with(rsa(2048), &json!({ "n": "!!" })),
        with(rsa(2048), &json!({ "n": URL_SAFE_NO_PAD.encode(vec![0xfe; 256]) })),
        with(rsa(2048), &json!({ "e": "AQ" })),
        with(rsa(2048), &json!({ "e": "Ag" })),
        with(rsa(2048), &json!({ "e": URL_SAFE_NO_PAD.encode([0xff; 9]) })),
        with(ec("P-256"), &json!({ "x": URL_SAFE_NO_PAD.encode([1; 32]) })),
        with(ec("P-256"), &json!({ "x": URL_SAFE_NO_PAD.encode([1; 31]) })),
        with(ec("P-384"), &json!({ "crv": "P-256" })),
        with(ec("P-256"), &json!({ "alg": "ES384" })),
        with(ec("P-256"), &json!({ "alg": "something new" })),
        with(ec("P-256"), &json!({ "use": "enc" })),
        with(ec("P-256"), &json!({ "key_ops": ["sign"] })),
        with(ec("P-256"), &json!({ "key_ops": [] })),
    ];
    for key in broken {
        assert!(set(std::slice::from_ref(&key)).is_empty(), "{key}");
        assert_eq!(set(&[key.clone(), ed25519()]).len(), 1, "{key}");
    }
}

#[test]
fn ed25519_keys_of_small_order_are_left_out_though_the_library_would_take_them() {
    let ends = |first: u8, middle: u8, last: u8| [&[first][..], &[middle; 30], &[last]].concat();
    let order_8 = hex::decode("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a");
    let points = [
        ends(0, 0, 0),
        ends(1, 0, 0),
        ends(1, 0, 0x80),
        ends(0xec, 0xff, 0x7f),
        ends(0xed, 0xff, 0xff),
        ends(0xee, 0xff, 0x7f),
        order_8.unwrap(),
    ];
    for point in points {
        assert!(ParsedPublicKey::new(&ED25519, &point).is_ok(), "{point:02x?}");
        let x = URL_SAFE_NO_PAD.encode(&point);
        let key = json!({ "kty": "OKP", "crv": "Ed25519", "x": x });
        assert!(set(&[key]).is_empty(), "{point:02x?}");
    }
}

#[test]
fn what_a_key_is_for_may_be_said() {
    let key = with(ec("P-256"), &json!({ "use": "sig", "key_ops": ["verify"], "alg": "ES256" }));
    assert_eq!(set(&[key]).len(), 1);
}

#[test]
fn leading_zero_of_a_modulus_is_no_part_of_it() {
    let padded = [vec![0], vec![0xff; 256]].concat();
    let padded = with(rsa(2048), &json!({ "n": URL_SAFE_NO_PAD.encode(padded) }));
    let (plain, padded) = (set(&[rsa(2048)]), set(&[padded]));
    assert_eq!(found(&plain, Algorithm::RS256, None), found(&padded, Algorithm::RS256, None));
    assert!(found(&plain, Algorithm::RS256, None).is_some());
}

#[test]
fn key_alg_narrows_what_it_may_verify() {
    let set = set(&[with(rsa(2048), &json!({ "kid": "k", "alg": "PS256" }))]);
    assert!(found(&set, Algorithm::PS256, Some("k")).is_some());
    let header = Header { algorithm: Algorithm::RS256, key_id: Some("k".into()) };
    assert!(matches!(set.select(&header), Selection::Unfit));
}

#[test]
fn token_without_kid_needs_exactly_one_fitting_key() {
    assert!(found(&set(&[ec("P-256"), ed25519()]), Algorithm::ES256, None).is_some());
    assert!(found(&set(&[ec("P-256"), ec("P-256")]), Algorithm::ES256, None).is_none());
    assert!(found(&set(&[ed25519()]), Algorithm::ES256, None).is_none());
}

#[test]
fn same_kid_on_two_kinds_is_told_apart_by_algorithm() {
    let kid = json!({ "kid": "k" });
    let set = set(&[with(ec("P-256"), &kid), with(ed25519(), &kid)]);
    let (es, ed) =
        (found(&set, Algorithm::ES256, Some("k")), found(&set, Algorithm::EdDSA, Some("k")));
    assert!(es.is_some() && ed.is_some() && es != ed);
}

#[test]
fn fingerprint_follows_everything_that_matters_about_a_key() {
    let key = rsa(2048);
    let of = |key: &Value| found(&set(std::slice::from_ref(key)), Algorithm::RS256, None);
    let named = |kid: &str| {
        let key = with(key.clone(), &json!({ "kid": kid }));
        found(&set(&[key]), Algorithm::RS256, Some(kid))
    };
    let all = [
        of(&key),
        of(&rsa(3072)),
        of(&with(key.clone(), &json!({ "alg": "RS256" }))),
        named("a"),
        named("b"),
    ];
    for (position, one) in all.iter().enumerate() {
        assert!(one.is_some());
        assert!(all[..position].iter().all(|other| other != one));
    }
    assert_eq!(of(&key), of(&with(key.clone(), &json!({ "x5t": "AA" }))));
}

#[test]
fn what_is_no_key_set_is_told_from_an_empty_one() {
    assert!(KeySet::parse(b"<html>", ALL).is_none());
    assert!(KeySet::parse(b"{}", ALL).is_none());
    assert!(KeySet::parse(br#"{"keys":{}}"#, ALL).is_none());
    assert!(KeySet::parse(br#"{"keys":[]}"#, ALL).unwrap().is_empty());
}

#[test]
fn ed25519_under_its_own_name_is_eddsa() {
    let named = |alg: &str| set(&[with(ed25519(), &json!({ "alg": alg }))]).len();
    assert_eq!((named("EdDSA"), named("Ed25519"), named("Ed448"), named("ES256")), (1, 1, 0, 0));
    assert_eq!(set(&[with(ec("P-256"), &json!({ "alg": "Ed25519" }))]).len(), 0);
}

fn pem(label: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let lines: Vec<&str> =
        encoded.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn spki<T: AsDer<PublicKeyX509Der<'static>>>(key: &T) -> String {
    pem("PUBLIC KEY", key.as_der().unwrap().as_ref())
}

fn rsa_pair(size: aws_lc_rs::rsa::KeySize) -> RsaKeyPair {
    RsaKeyPair::generate(size).unwrap()
}

fn in_pem(text: &str) -> Result<KeySet, PemError> {
    KeySet::parse_pem(text, ALL)
}

#[test]
fn every_supported_kind_is_read_from_pem() {
    let rsa = rsa_pair(aws_lc_rs::rsa::KeySize::Rsa2048);
    let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let ed = Ed25519KeyPair::generate().unwrap();
    let kinds = [
        (spki(rsa.public_key()), Algorithm::PS256),
        (pem("RSA PUBLIC KEY", rsa.public_key().as_ref()), Algorithm::RS256),
        (spki(p256.public_key()), Algorithm::ES256),
        (spki(p384.public_key()), Algorithm::ES384),
        (spki(ed.public_key()), Algorithm::EdDSA),
    ];
    for (text, algorithm) in &kinds {
        let keys = in_pem(text).unwrap();
        assert!(found(&keys, *algorithm, None).is_some(), "{algorithm:?}");
        assert!(found(&keys, *algorithm, Some("whatever the token says")).is_some());
        for other in ALL.iter().filter(|other| other.family() != algorithm.family()) {
            assert!(found(&keys, *other, None).is_none());
        }
    }
    let all: String = kinds[1..].iter().map(|(text, _)| text.replace('\n', "\r\n")).collect();
    let keys = in_pem(&format!("Keys of the issuer\n{all}\nthe end")).unwrap();
    assert_eq!(keys.len(), 4);
    // The same modulus and exponent, whatever they are wrapped in.
    let one = |text: &str| found(&in_pem(text).unwrap(), Algorithm::RS256, None);
    assert_eq!(one(&kinds[0].0), one(&kinds[1].0));
}

#[test]
fn pem_keys_may_be_named_and_unnamed_ones_are_not_guessed() {
    let key = || spki(Ed25519KeyPair::generate().unwrap().public_key());
    let (old, new) = (key(), key());
    let by = |keys: &KeySet, kid: Option<&str>| found(keys, Algorithm::EdDSA, kid);

    let named = in_pem(&format!("kid: old\n{old} kid:new \n\n{new}")).unwrap();
    assert!(by(&named, Some("old")).is_some() && by(&named, Some("new")).is_some());
    assert_ne!(by(&named, Some("old")), by(&named, Some("new")));
    assert_eq!(by(&named, Some("other")), None);
    assert_eq!(by(&named, None), None, "two fit");

    let unnamed = in_pem(&format!("{old}{new}")).unwrap();
    assert_eq!((by(&unnamed, Some("old")), by(&unnamed, None)), (None, None));

    let one_named = in_pem(&format!("kid: old\n{old}{new}")).unwrap();
    assert!(by(&one_named, Some("old")).is_some() && by(&one_named, Some("x")).is_some());
    assert_ne!(by(&one_named, Some("old")), by(&one_named, Some("x")));
}

/// RFC 8017 appendix A.1.1, with the exponent 65537.
fn rsa_pkcs1(modulus: &[u8]) -> Vec<u8> {
    let long = |tag: u8, content: &[u8]| {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82][..], &length, content].concat()
    };
    let modulus = long(2, &[&[0], modulus].concat());
    long(0x30, &[&modulus[..], &[2, 3, 1, 0, 1]].concat())
}

#[test]
fn pem_with_anything_unusable_is_refused_whole_and_says_which_block() {
    let ed = Ed25519KeyPair::generate().unwrap();
    let good = spki(ed.public_key());
    let of_bits = |bits: usize| pem("RSA PUBLIC KEY", &rsa_pkcs1(&vec![0xff; bits / 8]));
    assert!(in_pem(&of_bits(2048)).is_ok());
    let small_order = [&hex::decode("302a300506032b6570032100").unwrap()[..], &[0; 32]].concat();
    for (bad, fault) in [
        (pem("PRIVATE KEY", b"x"), pem::Fault::Private),
        (pem("RSA PRIVATE KEY", b"x"), pem::Fault::Private),
        (pem("EC PRIVATE KEY", b"x"), pem::Fault::Private),
        (pem("CERTIFICATE", b"x"), pem::Fault::Certificate),
        (pem("SOMETHING", b"x"), pem::Fault::Label),
        (pem("PUBLIC KEY", b"x"), pem::Fault::Unusable),
        (pem("RSA PUBLIC KEY", b"x"), pem::Fault::Unusable),
        (of_bits(1024), pem::Fault::Unusable),
        (pem("PUBLIC KEY", &small_order), pem::Fault::Unusable),
        (good.replace("PUBLIC KEY", "EC PUBLIC KEY"), pem::Fault::Label),
        (good.replacen('M', "!", 1), pem::Fault::Unusable),
    ] {
        let error = in_pem(&format!("{good}{bad}")).unwrap_err();
        assert_eq!(error, PemError::Block(2, fault), "{bad}");
    }
    let rsa_only = KeySet::parse_pem(&good, &[Algorithm::RS256]);
    assert_eq!(rsa_only.unwrap_err(), PemError::Block(1, pem::Fault::NotAllowed));
    assert_eq!(in_pem("no keys").unwrap_err(), PemError::Empty);
    assert_eq!(in_pem("-----BEGIN PUBLIC KEY-----\nAA").unwrap_err(), PemError::Unended(1));
}

#[test]
fn a_secret_verifies_hmacs_alone_and_never_shows() {
    let secret = SharedSecret::new(*b"planted-secret-of-exactly-48-bytes-for-this-test").unwrap();
    let allowed = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512, Algorithm::RS256];
    let keys = KeySet::of_secret(&secret, &allowed);
    let fits = |algorithm| found(&keys, algorithm, Some("any")).is_some();
    assert!(fits(Algorithm::HS256) && fits(Algorithm::HS384));
    assert!(!fits(Algorithm::HS512) && !fits(Algorithm::RS256), "too short, and another kind");
    let text = format!("{keys:?} {secret:?}");
    assert!(!text.contains("planted") && !text.contains("112, 108, 97"), "{text}");
}
