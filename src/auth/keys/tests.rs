use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair,
};
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
