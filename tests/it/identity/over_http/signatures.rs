//! Signatures that do not fit, and tokens whose text is not what a signer writes.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use rowgate::config::IssuerConfig;
use serde_json::json;

use super::{Case, attempt_with, case, gateway, gateway_with, refuse_all, rows_left, token};
use crate::harness::issuer::FakeIssuer;
use crate::harness::issuer::keys::KeyRing;

/// The order of P-256 (SEC 2 §2.4.2), big-endian.
const P256_ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
/// The order of Ed25519's base point (RFC 8032 §5.1), little-endian.
const ED25519_ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

/// The token with its signature's bytes changed.
fn resigned(token: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> String {
    let (message, signature) = token.rsplit_once('.').unwrap();
    let changed = change(URL_SAFE_NO_PAD.decode(signature).unwrap());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(changed))
}

/// a + b of numbers whose least byte is the first; none if it does not fit.
fn sum(a: &[u8], b: &[u8]) -> Option<Vec<u8>> {
    let mut carry = 0;
    let digits = a.iter().zip(b).map(|(a, b)| {
        let sum = u16::from(*a) + u16::from(*b) + carry;
        carry = sum >> 8;
        sum.to_le_bytes()[0]
    });
    let digits = digits.collect();
    (carry == 0).then_some(digits)
}

/// a - b of numbers whose greatest byte is the first.
fn difference(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut borrow = 0;
    let mut digits: Vec<u8> = (a.iter().zip(b).rev())
        .map(|(a, b)| {
            let digit = i16::from(*a) - i16::from(*b) - borrow;
            borrow = i16::from(digit < 0);
            digit.to_le_bytes()[0]
        })
        .collect();
    digits.reverse();
    digits
}

/// ASN.1 INTEGERs in a SEQUENCE: how ECDSA signatures look outside of JOSE.
fn der(signature: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| {
        let mut number = number.to_vec();
        if number[0] >= 0x80 {
            number.insert(0, 0);
        }
        [&[2, u8::try_from(number.len()).unwrap()], number.as_slice()].concat()
    };
    let (r, s) = signature.split_at(signature.len() / 2);
    let body = [integer(r), integer(s)].concat();
    [&[0x30, u8::try_from(body.len()).unwrap()], body.as_slice()].concat()
}

#[tokio::test]
async fn signature_of_another_key_another_message_or_another_length_is_refused() {
    let gateway = gateway(FakeIssuer::start().await).await;
    let stranger = KeyRing::generate(1);
    let mut cases = Vec::new();
    for algorithm in [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA] {
        let builder = || token(&gateway.issuer).alg(algorithm);
        let good = builder().sign();
        let other = builder().claim("role", "admin").sign();
        let (other_payload, other_signature) =
            (other.split('.').nth(1).unwrap(), other.rsplit_once('.').unwrap().1);
        let mut swapped: Vec<&str> = good.split('.').collect();
        swapped[1] = other_payload;
        let message = good.rsplit_once('.').unwrap().0;
        let mut add = |name: &str, token: String| {
            cases.push(case(format!("{algorithm:?}, {name}"), token, "RG4015", good.clone()));
        };
        add("foreign key", builder().sign_with_foreign_key(&stranger));
        add("payload of another token", swapped.join("."));
        add("signature of another token", format!("{message}.{other_signature}"));
        add("no signature", format!("{message}."));
        add("zeros", resigned(&good, |bytes| vec![0; bytes.len()]));
        add("ones", resigned(&good, |bytes| vec![0xff; bytes.len()]));
        add("last byte missing", resigned(&good, |bytes| bytes[..bytes.len() - 1].to_vec()));
        add("first byte missing", resigned(&good, |bytes| bytes[1..].to_vec()));
        add("a zero at the end", resigned(&good, |bytes| [&bytes[..], &[0]].concat()));
        add("a zero in front", resigned(&good, |bytes| [&[0], &bytes[..]].concat()));
        add("twice", resigned(&good, |bytes| bytes.repeat(2)));
        add(
            "halves swapped",
            resigned(&good, |mut bytes| {
                let half = bytes.len() / 2;
                bytes.rotate_left(half);
                bytes
            }),
        );
        for bit in [0, 7, 100, 255, 511] {
            add(
                &format!("bit {bit} flipped"),
                resigned(&good, |mut bytes| {
                    bytes[bit / 8] ^= 1 << (bit % 8);
                    bytes
                }),
            );
        }
    }
    refuse_all(&gateway, cases).await;
}

#[tokio::test]
async fn signature_in_a_form_that_its_standard_does_not_have_is_refused() {
    let gateway = gateway(FakeIssuer::start().await).await;
    let mut cases: Vec<Case> = Vec::new();
    let es = token(&gateway.issuer).alg(Algorithm::ES256).sign();
    let order = hex::decode(P256_ORDER).unwrap();
    let (zero, one) = ([0; 32], [&[0; 31][..], &[1]].concat());
    for (name, r, s) in [
        ("r = 0, s = 1", &zero[..], &one[..]),
        ("r = 1, s = 0", &one, &zero),
        ("r = s = n", &order, &order),
        ("r = 0, s = n", &zero, &order),
        ("r = n, s = 0", &order, &zero),
    ] {
        let wrong = resigned(&es, |_| [r, s].concat());
        cases.push(case(format!("ES256, {name}"), wrong, "RG4015", es.clone()));
    }
    cases.push(case("ES256, DER", resigned(&es, |bytes| der(&bytes)), "RG4015", es.clone()));
    // s + n has the same remainder, and no place in 32 bytes unless s is tiny: 33 bytes each.
    let padded = resigned(&es, |bytes| [&[0], &bytes[..32], &[0], &bytes[32..]].concat());
    cases.push(case("ES256, 33 bytes each", padded, "RG4015", es.clone()));

    let ed = token(&gateway.issuer).alg(Algorithm::EdDSA).sign();
    let order = hex::decode(ED25519_ORDER).unwrap();
    let wrong = resigned(&ed, |bytes| [&bytes[..32], &sum(&bytes[32..], &order).unwrap()].concat());
    cases.push(case("EdDSA, S + L", wrong, "RG4015", ed.clone()));
    for (name, r) in [("R = 0", [0; 32]), ("R = p", *b"\xed\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f")] {
        let wrong = resigned(&ed, |bytes| [&r[..], &bytes[32..]].concat());
        cases.push(case(format!("EdDSA, {name}"), wrong, "RG4015", ed.clone()));
    }

    // signature + modulus has the same remainder; it fits into the same length for every other token.
    let jwk = gateway.issuer.keys().for_algorithm(Algorithm::RS256).public();
    let modulus = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
    let reversed = |bytes: &[u8]| bytes.iter().rev().copied().collect::<Vec<u8>>();
    let (rs, larger) = (0..200)
        .find_map(|n| {
            let good = token(&gateway.issuer).claim("n", n).sign();
            let signature = URL_SAFE_NO_PAD.decode(good.rsplit_once('.').unwrap().1).unwrap();
            let larger = sum(&reversed(&signature), &reversed(&modulus))?;
            Some((good, reversed(&larger)))
        })
        .unwrap();
    cases.push(case("RS256, signature + modulus", resigned(&rs, |_| larger), "RG4015", rs.clone()));
    refuse_all(&gateway, cases).await;
}

/// (r, n - s) is as good a signature as (r, s): ECDSA has two for each, and RFC 7518 §3.4 takes both.
/// Nothing here depends on a token having one text only: what is remembered under the second text is
/// the same identity with the same end, and there is no list of revoked tokens by their text.
#[tokio::test]
async fn the_other_ecdsa_signature_of_a_token_is_the_same_identity() {
    let gateway = gateway(FakeIssuer::start().await).await;
    let good = token(&gateway.issuer).alg(Algorithm::ES256).sign();
    let other = resigned(&good, |bytes| {
        let negated = difference(&hex::decode(P256_ORDER).unwrap(), &bytes[32..]);
        [&bytes[..32], &negated].concat()
    });
    assert_ne!(good, other);
    for token in [&good, &other] {
        let answer = attempt_with(&gateway, "malleable", token).await;
        assert_eq!(answer.rows(), json!([["authenticated", "alice"]]));
    }
}

#[tokio::test]
async fn token_is_three_parts_of_base64url_without_padding_and_nothing_else() {
    let gateway = gateway(FakeIssuer::start().await).await;
    let builder = token(&gateway.issuer).alg(Algorithm::EdDSA);
    let payload = |pad: &str, extra: &str| {
        let claims = builder.claims_json();
        format!("{},\"x\":\"{extra}\"}}{pad}", &claims[..claims.len() - 1])
    };
    // A payload whose last group is short, and one that needs the two characters that alphabets differ in.
    let pads = ["", " ", "  "];
    let short = pads.map(|pad| payload(pad, "")).into_iter().find(|text| text.len() % 3 == 1);
    let short = short.unwrap();
    let special = pads.map(|pad| payload("", &format!("{pad}þÿþÿ>>>???~~~"))).into_iter();
    let special =
        special.into_iter().find(|text| URL_SAFE_NO_PAD.encode(text).contains(['-', '_']));
    let special = special.unwrap();
    let short_header = pads.map(|pad| builder.header_json() + pad).into_iter();
    let short_header = short_header.into_iter().find(|text| text.len() % 3 == 1).unwrap();
    let header = URL_SAFE_NO_PAD.encode(&short_header);
    let encoded = URL_SAFE_NO_PAD.encode(&short);
    let good = builder.sign_parts(&header, &encoded);
    let signature = good.rsplit_once('.').unwrap().1;
    let next = |text: &str| {
        // The last character of a group of two carries four bits that count for nothing.
        let (rest, last) = text.split_at(text.len() - 1);
        format!("{rest}{}", char::from(last.as_bytes()[0] + 1))
    };
    let mut cases = Vec::new();
    let mut add = |name: &str, token: String, code, twin: &String| {
        cases.push(case(name, token, code, twin.clone()));
    };
    add("one part", header.clone(), "RG4011", &good);
    add("two parts", format!("{header}.{encoded}"), "RG4011", &good);
    add("four parts", format!("{good}.AA"), "RG4011", &good);
    add("five parts", format!("{good}.AA.AA"), "RG4011", &good);
    add("six parts", format!("{good}.AA.AA.AA"), "RG4011", &good);
    add("JWE", jwe(), "RG4011", &good);
    add("dot at the end", format!("{good}."), "RG4011", &good);
    add("two dots at the end", format!("{good}.."), "RG4011", &good);
    add("dot in front", format!(".{good}"), "RG4011", &good);
    add("dots only", "..".into(), "RG4011", &good);
    add("many dots", ".".repeat(10_000), "RG4011", &good);
    add("no header", format!(".{encoded}.{signature}"), "RG4011", &good);
    add("no payload", builder.sign_parts(&header, ""), "RG4019", &good);
    add(
        "JSON form",
        json!({ "payload": encoded, "signature": signature }).to_string(),
        "RG4011",
        &good,
    );
    add(
        "padded header",
        builder.sign_parts(&URL_SAFE.encode(&short_header), &encoded),
        "RG4011",
        &good,
    );
    add("padded payload", builder.sign_parts(&header, &URL_SAFE.encode(&short)), "RG4011", &good);
    add("padded signature", format!("{good}=="), "RG4011", &good);
    let twin = builder.sign_parts(&header, &URL_SAFE_NO_PAD.encode(&special));
    let wrong = builder.sign_parts(&header, &STANDARD_NO_PAD.encode(&special));
    add("alphabet of standard base64", wrong, "RG4011", &twin);
    add(
        "bits too many in the header",
        builder.sign_parts(&next(&header), &encoded),
        "RG4011",
        &good,
    );
    add(
        "bits too many in the payload",
        builder.sign_parts(&header, &next(&encoded)),
        "RG4011",
        &good,
    );
    add("bits too many in the signature", next(&good), "RG4015", &good);
    add(
        "a character too many",
        builder.sign_parts(&header, &format!("{encoded}AAA")),
        "RG4011",
        &good,
    );
    add("a character too many in the signature", format!("{good}AAA"), "RG4015", &good);
    add("payload in clear", builder.sign_parts(&header, "alice"), "RG4011", &good);
    refuse_all(&gateway, cases).await;
}

/// Five parts, as RFC 7516 §3.1 has them.
fn jwe() -> String {
    let header = json!({ "alg": "dir", "enc": "A256GCM" }).to_string();
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}..{}.{}.{}", part(&header), part("iv"), part("text"), part("tag"))
}

#[tokio::test]
async fn key_of_one_issuer_vouches_for_none_other() {
    let other = FakeIssuer::start().await;
    other.rotate();
    let config: IssuerConfig = other.config();
    let gateway = gateway_with(FakeIssuer::start().await, |all| {
        all.auth
            .issuers
            .push(IssuerConfig { audiences: vec![super::AUDIENCE.into()], ..config.clone() });
    })
    .await;
    let own = || token(&gateway.issuer).sign();
    let mut cases = Vec::new();
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        let kid = gateway.issuer.keys().for_algorithm(algorithm).kid.clone();
        let forged = || token(&other).alg(algorithm).issuer(gateway.issuer.url());
        let name = format!("{algorithm:?} of the other issuer");
        cases.push(case(format!("{name}, its kid"), forged().sign(), "RG4014", own()));
        cases.push(case(format!("{name}, our kid"), forged().kid(&kid).sign(), "RG4015", own()));
    }
    let before = cases.len();
    refuse_all(&gateway, cases).await;
    // The other issuer's tokens count as its own.
    let answer = attempt_with(&gateway, "other", &token(&other).sign()).await;
    assert_eq!(answer.rows(), json!([["authenticated", "alice"]]));
    assert_eq!(rows_left(&gateway).await.len(), before + 1);
}
