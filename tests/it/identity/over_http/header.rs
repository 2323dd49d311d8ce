//! Headers that lie about the key, the algorithm or the payload.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::{Case, attempt_with, case, gateway, refuse_all, rows_left, token};
use crate::harness::issuer::FakeIssuer;
use crate::harness::issuer::keys::KeyRing;

#[tokio::test]
async fn alg_that_is_no_allowed_algorithm_is_refused() {
    let gateway = gateway(FakeIssuer::start().await).await;
    let twin = || token(&gateway.issuer).sign();
    let mut cases = Vec::new();
    for alg in ["none", "None", "NONE", "nOnE"] {
        let signed = token(&gateway.issuer).header("alg", alg).sign();
        let unsigned = format!("{}.", signed.rsplit_once('.').unwrap().0);
        let header = URL_SAFE_NO_PAD.encode(json!({ "alg": alg, "typ": "JWT" }).to_string());
        let bare = format!("{header}.{}.", signed.split('.').nth(1).unwrap());
        cases.push(case(format!("alg {alg}, no signature, no kid"), bare, "RG4012", twin()));
        cases.push(case(format!("alg {alg}, no signature"), unsigned, "RG4012", twin()));
        cases.push(case(format!("alg {alg}, signed"), signed, "RG4012", twin()));
    }
    for (alg, code) in [
        (json!(""), "RG4012"),
        (json!("rs256"), "RG4012"),
        (json!("RS256 "), "RG4012"),
        (json!("RS256\0"), "RG4012"),
        (json!("ES512"), "RG4012"),
        (json!("ES256K"), "RG4012"),
        (json!("RSA-OAEP"), "RG4012"),
        (json!("dir"), "RG4012"),
        (json!("ML-DSA-44"), "RG4012"),
        (json!(null), "RG4011"),
        (json!(256), "RG4011"),
        (json!(["RS256"]), "RG4011"),
        (json!({ "RS256": true }), "RG4011"),
    ] {
        let token = token(&gateway.issuer).header("alg", alg.clone()).sign();
        cases.push(case(format!("alg {alg}"), token, code, twin()));
    }
    let builder = token(&gateway.issuer);
    let without = builder.sign_bytes(r#"{"typ":"JWT"}"#, builder.claims_json());
    cases.push(case("no alg", without, "RG4011", twin()));
    refuse_all(&gateway, cases).await;
}

#[tokio::test]
async fn public_keys_are_no_shared_secrets_in_whatever_form() {
    let gateway = gateway(FakeIssuer::start().await).await;
    let keys = gateway.issuer.keys();
    let pem = keys.rsa_public_pem();
    let der = STANDARD.decode(pem.lines().filter(|l| !l.starts_with('-')).collect::<String>());
    let jwk = |algorithm| keys.for_algorithm(algorithm).public();
    let (rsa, ec, ed) = (jwk(Algorithm::RS256), jwk(Algorithm::ES256), jwk(Algorithm::EdDSA));
    let text = |jwk: &Value, name: &str| jwk[name].as_str().unwrap().to_owned();
    let bytes = |jwk: &Value, name: &str| URL_SAFE_NO_PAD.decode(text(jwk, name)).unwrap();
    let secrets: Vec<(&str, Vec<u8>)> = vec![
        ("PEM", pem.into()),
        ("PEM without its last line feed", pem.trim_end().into()),
        ("DER", der.unwrap()),
        ("JWK", rsa.to_string().into()),
        ("key set", json!({ "keys": [rsa] }).to_string().into()),
        ("modulus", bytes(&rsa, "n")),
        ("modulus as text", text(&rsa, "n").into()),
        ("EC JWK", ec.to_string().into()),
        ("EC point", [vec![4], bytes(&ec, "x"), bytes(&ec, "y")].concat()),
        ("Ed25519 key", bytes(&ed, "x")),
        ("nothing", Vec::new()),
    ];
    let mut cases = Vec::new();
    for (name, secret) in secrets {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let builder = token(&gateway.issuer);
            let (twin, forged) = (builder.sign(), builder.sign_with_secret(algorithm, &secret));
            cases.push(case(format!("{algorithm:?} with the {name}"), forged, "RG4012", twin));
        }
    }
    refuse_all(&gateway, cases).await;
}

#[tokio::test]
async fn algorithm_must_be_of_the_keys_family_and_the_one_that_the_key_is_for() {
    let issuer = FakeIssuer::start().await;
    let mut only = issuer.keys().for_algorithm(Algorithm::RS256).public();
    only["kid"] = json!("rs256-only");
    only["alg"] = json!("RS256");
    issuer.publish(only);
    let gateway = gateway(issuer).await;
    let kid = |algorithm| gateway.issuer.keys().for_algorithm(algorithm).kid.clone();
    use Algorithm::{ES256, EdDSA, PS256, RS256, RS384, RS512};
    let mut cases = Vec::new();
    for (signed, named) in [
        (RS256, ES256),
        (RS256, EdDSA),
        (PS256, ES256),
        (ES256, RS256),
        (ES256, EdDSA),
        (EdDSA, RS256),
        (EdDSA, ES256),
    ] {
        let builder = || token(&gateway.issuer).alg(signed);
        let name = format!("{signed:?} with the kid of the {named:?} key");
        let wrong = builder().kid(&kid(named)).sign();
        cases.push(case(name, wrong, "RG4012", builder().sign()));
    }
    for algorithm in [PS256, RS384, RS512] {
        let builder = |algorithm| token(&gateway.issuer).alg(algorithm).kid("rs256-only");
        let name = format!("{algorithm:?} with a key whose alg is RS256");
        cases.push(case(name, builder(algorithm).sign(), "RG4012", builder(RS256).sign()));
    }
    for (name, alg) in [("ES384 with a P-256 key", "ES384"), ("EdDSA with a P-256 key", "EdDSA")] {
        let builder = || token(&gateway.issuer).alg(ES256);
        cases.push(case(name, builder().header("alg", alg).sign(), "RG4012", builder().sign()));
    }
    for (claimed, signed) in [("PS256", RS256), ("RS512", RS256), ("RS256", PS256)] {
        let builder = || token(&gateway.issuer).alg(signed);
        let name = format!("{claimed} over a signature by {signed:?}");
        cases.push(case(name, builder().header("alg", claimed).sign(), "RG4015", builder().sign()));
    }
    refuse_all(&gateway, cases).await;
}

#[tokio::test]
async fn kid_is_compared_and_nothing_else_is_done_with_it() {
    let issuer = FakeIssuer::start().await;
    // A second RSA key, so that a token without key id fits more than one.
    let mut second = KeyRing::generate(1).for_algorithm(Algorithm::RS256).public();
    second["kid"] = json!("second");
    issuer.publish(second);
    let gateway = gateway(issuer).await;
    let rsa = gateway.issuer.keys().for_algorithm(Algorithm::RS256).kid.clone();
    let mut cases = Vec::new();
    for kid in [
        "../../../../../../dev/null",
        "/proc/sys/kernel/randomize_va_space",
        "file:///etc/passwd",
        "http://127.0.0.1:1/jwks.json",
        "' or 1=1 --",
        "x' union select 'secret",
        "$(touch /tmp/rowgate)",
        "| touch /tmp/rowgate",
        "\0",
        "",
        "RSA-0",
        "*",
        &format!("{rsa}\0"),
        &format!("{rsa} "),
        &rsa[..rsa.len() - 1],
        &"k".repeat(8000),
    ] {
        let wrong = token(&gateway.issuer).kid(kid).sign();
        let name = format!("kid {}", kid[..kid.len().min(40)].escape_debug());
        cases.push(case(name, wrong, "RG4014", token(&gateway.issuer).sign()));
    }
    for kid in [json!(0), json!([rsa]), json!({ "kid": rsa }), json!(null), json!(true)] {
        let wrong = token(&gateway.issuer).header("kid", kid.clone()).sign();
        cases.push(case(format!("kid {kid}"), wrong, "RG4011", token(&gateway.issuer).sign()));
    }
    let (wrong, twin) =
        (token(&gateway.issuer).without_kid().sign(), token(&gateway.issuer).sign());
    cases.push(case("no kid, two keys fit", wrong, "RG4014", twin));
    refuse_all(&gateway, cases).await;
}

#[tokio::test]
async fn keys_that_a_token_brings_along_are_neither_used_nor_fetched() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    let gateway = gateway(FakeIssuer::start().await).await;
    let stranger = KeyRing::generate(1);
    let mut cases = Vec::new();
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        let theirs = stranger.for_algorithm(algorithm);
        for (name, value) in [
            ("jwk", theirs.public()),
            ("jku", json!(url)),
            ("x5u", json!(url)),
            ("x5c", json!([STANDARD.encode("certificate")])),
            ("x5t", json!("AA")),
            ("x5t#S256", json!("AA")),
        ] {
            let builder = || token(&gateway.issuer).alg(algorithm).header(name, value.clone());
            let twin = || builder().sign();
            let forged = builder().sign_with_foreign_key(&stranger);
            cases.push(case(format!("{algorithm:?}, {name}"), forged, "RG4015", twin()));
            let forged = builder().kid(&theirs.kid).sign_with_foreign_key(&stranger);
            let name = format!("{algorithm:?}, {name}, their own kid");
            cases.push(case(name, forged, "RG4014", twin()));
        }
    }
    for name in ["jku", "x5u"] {
        let forged = token(&gateway.issuer).header(name, url.as_str()).kid(&url).sign();
        cases.push(case(
            format!("{name} and kid a URL"),
            forged,
            "RG4014",
            token(&gateway.issuer).sign(),
        ));
    }
    refuse_all(&gateway, cases).await;
    let asked = timeout(Duration::from_millis(300), listener.accept()).await;
    assert!(asked.is_err(), "a URL in a token was followed");
}

#[tokio::test]
async fn headers_that_ask_for_another_reading_of_the_token_are_refused() {
    let gateway = gateway(FakeIssuer::start().await).await;
    let mut cases = Vec::new();
    for (name, value) in [
        ("crit", json!([])),
        ("crit", json!(["exp"])),
        ("crit", json!(["b64"])),
        ("crit", json!(null)),
        ("b64", json!(false)),
        ("b64", json!(true)),
        ("zip", json!("DEF")),
        ("enc", json!("A256GCM")),
        ("cty", json!("JWT")),
        ("cty", json!("jwt")),
        ("cty", json!("application/jwt")),
        ("cty", json!(1)),
        ("cty", json!(null)),
        ("typ", json!("logout+jwt")),
        ("typ", json!("dpop+jwt")),
        ("typ", json!("application/secevent+JWT")),
        ("typ", json!(1)),
        ("typ", json!(null)),
        ("typ", json!(["JWT"])),
    ] {
        let wrong = token(&gateway.issuer).header(name, value.clone()).sign();
        let twin = match name {
            "cty" => token(&gateway.issuer).header("cty", "text/plain"),
            "typ" => token(&gateway.issuer).header("typ", "at+jwt"),
            _ => token(&gateway.issuer),
        };
        cases.push(case(format!("{name} {value}"), wrong, "RG4011", twin.sign()));
    }
    refuse_all(&gateway, cases).await;
}

#[tokio::test]
async fn header_is_one_json_object_without_repeated_names() {
    let gateway = gateway(FakeIssuer::start().await).await;
    let builder = token(&gateway.issuer);
    let kid = gateway.issuer.keys().for_algorithm(Algorithm::RS256).kid.clone();
    let good = format!(r#"{{"alg":"RS256","kid":"{kid}"}}"#);
    let with = |members: &str| format!(r#"{{"alg":"RS256","kid":"{kid}",{members}}}"#).into_bytes();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("alg twice, none last", with(r#""alg":"none""#)),
        ("alg twice, escaped", with(r#""\u0061lg":"RS256""#)),
        ("alg twice, none first", format!(r#"{{"alg":"none",{}"#, &good[1..]).into()),
        ("kid twice", with(r#""kid":"x""#)),
        ("kid twice, escaped", with(r#""k\u0069d":"x""#)),
        ("crit, escaped", with(r#""cr\u0069t":["x"]"#)),
        ("deep, closed", with(&format!(r#""x":{}{}"#, "[".repeat(4000), "]".repeat(4000)))),
        ("deep, open", with(&format!(r#""x":{}"#, "[".repeat(10_000)))),
        ("deep objects", with(&format!(r#""x":{}"#, r#"{"x":"#.repeat(2000)))),
        ("byte order mark", format!("\u{feff}{good}").into()),
        ("comment", format!("/* */{good}").into()),
        ("comment inside", with(r#"/* */"x":1"#)),
        ("trailing text", format!("{good} x").into()),
        ("two objects", format!("{good}{good}").into()),
        ("trailing comma", with("")),
        ("single quotes", good.replace('"', "'").into()),
        ("NaN", with(r#""x":NaN"#)),
        ("NUL after the object", format!("{good}\0").into()),
        ("invalid UTF-8", [&with(r#""x":""#)[..good.len() + 5], b"\xff\"}"].concat()),
        ("lone surrogate", with(r#""x":"\ud800""#)),
        ("list", format!("[{good}]").into()),
        ("string", json!(good).to_string().into()),
        ("null", "null".into()),
        ("nothing", Vec::new()),
    ];
    let twin = builder.sign_bytes(&good, builder.claims_json());
    let cases: Vec<Case> = cases
        .into_iter()
        .map(|(name, header)| {
            let wrong = builder.sign_bytes(header, builder.claims_json());
            case(format!("header: {name}"), wrong, "RG4011", twin.clone())
        })
        .collect();
    refuse_all(&gateway, cases).await;
}

#[tokio::test]
async fn words_in_typ_and_cty_that_mean_nothing_here_do_no_harm() {
    let gateway = gateway(FakeIssuer::start().await).await;
    let odd = [
        ("typ", "JWT"),
        ("typ", "jwt"),
        ("typ", "JOSE"),
        ("typ", ""),
        ("cty", ""),
        ("cty", "json"),
    ];
    for (name, value) in odd {
        let token = token(&gateway.issuer).header(name, value).sign();
        let answer = attempt_with(&gateway, "odd", &token).await;
        assert_eq!(answer.rows(), json!([["authenticated", "alice"]]), "{name} {value}");
    }
    assert_eq!(rows_left(&gateway).await.len(), odd.len());
}
