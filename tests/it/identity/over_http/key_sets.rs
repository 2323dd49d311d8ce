//! Keys that an issuer should not have published. Tokens are properly signed with each: had the gateway
//! taken the key, it would have taken the token.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use rowgate::config::{IssuerConfig, KeysConfig};
use serde_json::{Value, json};

use super::{AUDIENCE, case, gateway, gateway_with, refuse_all, token};
use crate::harness::issuer::FakeIssuer;
use crate::harness::issuer::keys::KeyRing;

/// A key set with an RSA key of 1024 bits beside one of 2048, and a token by each. Made once with
/// OpenSSL, since the library that the tests sign with makes no such key; the private halves are gone.
const WEAK_RSA: &str = include_str!("weak/rsa.json");

fn with(mut key: Value, members: &Value) -> Value {
    key.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    key
}

#[tokio::test]
async fn keys_that_are_broken_private_or_for_something_else_verify_nothing() {
    let issuer = FakeIssuer::start().await;
    let ring = KeyRing::generate(1);
    let junk = URL_SAFE_NO_PAD.encode([1; 32]);
    let mut published = Vec::new();
    for (algorithm, unusable) in [
        (
            Algorithm::ES256,
            vec![
                json!({ "x": junk }),
                json!({ "y": "AA" }),
                json!({ "crv": "P-384" }),
                json!({ "crv": "secp256k1" }),
                json!({ "kty": "RSA" }),
                json!({ "kty": "oct", "k": "AA" }),
                json!({ "alg": "ES384" }),
                json!({ "alg": "HS256" }),
                json!({ "alg": "none" }),
                json!({ "use": "enc" }),
                json!({ "key_ops": ["sign"] }),
                json!({ "key_ops": ["encrypt", "deriveKey"] }),
                json!({ "key_ops": [] }),
                json!({ "d": junk }),
                json!({ "kid": 7 }),
            ],
        ),
        (Algorithm::EdDSA, vec![json!({ "d": junk }), json!({ "crv": "X25519" })]),
        (Algorithm::RS256, vec![json!({ "d": junk }), json!({ "e": "AQ" }), json!({ "e": "Ag" })]),
    ] {
        let key = ring.for_algorithm(algorithm).public();
        issuer.publish(with(key.clone(), &json!({ "kid": format!("good {algorithm:?}") })));
        for members in unusable {
            let kid = format!("{algorithm:?} {members}");
            issuer.publish(with(with(key.clone(), &json!({ "kid": kid })), &members));
            published.push((algorithm, kid));
        }
    }
    let gateway = gateway(issuer).await;
    let cases = published.into_iter().map(|(algorithm, kid)| {
        let signed =
            |kid: &str| token(&gateway.issuer).alg(algorithm).kid(kid).sign_with_foreign_key(&ring);
        let twin = signed(&format!("good {algorithm:?}"));
        case(format!("key with {kid}"), signed(&kid), "RG4014", twin)
    });
    refuse_all(&gateway, cases.collect()).await;
}

/// With e = 1, the padded hash (RFC 8017 §9.2) is its own signature.
#[tokio::test]
async fn rsa_key_whose_exponent_is_one_lets_nobody_forge() {
    const SHA256_INFO: &str = "3031300d060960864801650304020105000420";
    let issuer = FakeIssuer::start().await;
    let public = issuer.keys().for_algorithm(Algorithm::RS256).public();
    issuer.publish(with(public, &json!({ "kid": "e1", "e": "AQ" })));
    let gateway = gateway(issuer).await;
    let honest = token(&gateway.issuer).kid("e1").sign();
    let message = honest.rsplit_once('.').unwrap().0;
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, message.as_bytes());
    let info = [hex::decode(SHA256_INFO).unwrap(), hash.as_ref().to_vec()].concat();
    let padded = [&[0, 1], vec![0xff; 256 - 3 - info.len()].as_slice(), &[0], &info].concat();
    let forged = format!("{message}.{}", URL_SAFE_NO_PAD.encode(padded));
    let twin = token(&gateway.issuer).sign();
    refuse_all(&gateway, vec![case("padding as a signature", forged, "RG4014", twin)]).await;
}

#[tokio::test]
async fn rsa_key_of_1024_bits_verifies_nothing() {
    let weak: Value = serde_json::from_str(WEAK_RSA).unwrap();
    let issuer = FakeIssuer::start().await;
    for key in weak["keys"].as_array().unwrap() {
        issuer.publish(key.clone());
    }
    let jwks_url = issuer.jwks_url();
    let gateway = gateway_with(issuer, |config| {
        config.auth.issuers = vec![IssuerConfig {
            keys: KeysConfig::at(jwks_url),
            audiences: vec![AUDIENCE.into()],
            algorithms: vec![Algorithm::RS256],
            leeway: std::time::Duration::ZERO,
            ..IssuerConfig::new("https://weak.example")
        }];
    })
    .await;
    let by = |kid: &str| weak["tokens"][kid].as_str().unwrap().to_owned();
    let cases = vec![case("1024 bits", by("rsa-1024"), "RG4014", by("rsa-2048"))];
    refuse_all(&gateway, cases).await;
}
