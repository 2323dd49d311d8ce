//! Claims that are properly signed and must not count all the same.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{AUDIENCE, Case, attempt_with, case, gateway, refuse_all, rows_left, token};
use crate::harness::gateway::TestGateway;
use crate::harness::issuer::FakeIssuer;
use crate::harness::issuer::token::unix_now;

/// Cases of one claim; its twin is the token with the claim as it should be.
fn of_claim(gateway: &TestGateway, name: &str, wrong: Vec<(Value, &'static str)>) -> Vec<Case> {
    let twin = || token(&gateway.issuer).sign();
    let mut cases: Vec<Case> = wrong
        .into_iter()
        .map(|(value, code)| {
            let shown: String = value.to_string().chars().take(60).collect();
            let wrong = token(&gateway.issuer).claim(name, value).sign();
            case(format!("{name} {shown}"), wrong, code, twin())
        })
        .collect();
    let missing = match name {
        "iss" => "RG4013",
        "aud" => "RG4018",
        "nbf" | "iat" => return cases,
        _ => "RG4019",
    };
    cases.push(case(
        format!("no {name}"),
        token(&gateway.issuer).without(name).sign(),
        missing,
        twin(),
    ));
    cases
}

/// Cases of one claim whose value no JSON library would write.
fn of_spelling(gateway: &TestGateway, name: &str, spellings: &[(&str, &'static str)]) -> Vec<Case> {
    let builder = token(&gateway.issuer).without(name);
    let claims = builder.claims_json();
    let with = |spelling: &str| {
        let claims = format!(r#"{{"{name}":{spelling},{}"#, &claims[1..]);
        builder.sign_bytes(builder.header_json(), claims)
    };
    spellings
        .iter()
        .map(|(spelling, code)| {
            let twin = token(&gateway.issuer).sign();
            case(format!("{name} spelt {spelling}"), with(spelling), code, twin)
        })
        .collect()
}

#[tokio::test]
async fn exp_is_a_number_in_the_future() {
    let gateway = gateway(FakeIssuer::start().await).await;
    let now = unix_now();
    let future = now + 300;
    let wrong = vec![
        (json!(future.to_string()), "RG4019"),
        (json!("2099-01-01T00:00:00Z"), "RG4019"),
        (json!(null), "RG4019"),
        (json!(true), "RG4019"),
        (json!([future]), "RG4019"),
        (json!({ "at": future }), "RG4019"),
        (json!(-future), "RG4019"),
        (json!(-0.5), "RG4019"),
        (json!(0), "RG4016"),
        (json!(now), "RG4016"),
        (json!(now - 1), "RG4016"),
        (json!(0.9), "RG4016"),
        (json!(1e9), "RG4016"),
    ];
    let mut cases = of_claim(&gateway, "exp", wrong);
    cases.extend(of_spelling(
        &gateway,
        "exp",
        &[
            ("1e400", "RG4019"),
            ("-1e400", "RG4019"),
            ("NaN", "RG4019"),
            ("Infinity", "RG4019"),
            ("-0", "RG4016"),
            ("1e-400", "RG4016"),
            ("0x7fffffff", "RG4019"),
            ("+4102444800", "RG4019"),
            ("04102444800", "RG4019"),
            ("4102444800.", "RG4019"),
            ("4_102_444_800", "RG4019"),
        ],
    ));
    refuse_all(&gateway, cases).await;
}

#[tokio::test]
async fn nbf_and_iat_lie_in_the_past_where_they_are_given() {
    let gateway = gateway(FakeIssuer::start().await).await;
    let later = unix_now() + 3600;
    let mut cases = Vec::new();
    for name in ["nbf", "iat"] {
        let wrong = vec![
            (json!(later), "RG4017"),
            (json!(1e300), "RG4017"),
            (json!(u64::MAX), "RG4017"),
            (json!("0"), "RG4019"),
            (json!(-1), "RG4019"),
            (json!(null), "RG4019"),
            (json!([0]), "RG4019"),
            (json!(false), "RG4019"),
        ];
        cases.extend(of_claim(&gateway, name, wrong));
        cases.extend(of_spelling(&gateway, name, &[("1e400", "RG4019"), ("-1e400", "RG4019")]));
    }
    refuse_all(&gateway, cases).await;
}

#[tokio::test]
async fn aud_is_a_string_or_a_list_of_strings_that_names_this_server() {
    let gateway = gateway(FakeIssuer::start().await).await;
    let wrong = vec![
        json!(""),
        json!("API"),
        json!("api "),
        json!("apis"),
        json!("ap"),
        json!("other"),
        json!("other api"),
        json!("other,api"),
        json!([]),
        json!([""]),
        json!(["other", "another"]),
        json!([["api"]]),
        json!(["api", 1]),
        json!(["api", null]),
        json!([null, "api"]),
        json!(["api", ["api"]]),
        json!({ "api": true }),
        json!({ "0": "api" }),
        json!(null),
        json!(1),
        json!(true),
    ];
    let wrong = wrong.into_iter().map(|value| (value, "RG4018")).collect();
    refuse_all(&gateway, of_claim(&gateway, "aud", wrong)).await;
}

#[tokio::test]
async fn iss_is_the_configured_text_byte_for_byte() {
    let gateway = gateway(FakeIssuer::start().await).await;
    let url = gateway.issuer.url().to_owned();
    let wrong = vec![
        json!(format!("{url}/")),
        json!(format!("{url}//")),
        json!(format!("{url}#")),
        json!(format!("{url}?")),
        json!(format!("{url} ")),
        json!(format!(" {url}")),
        json!(format!("{url}\0")),
        json!(format!("{url}@evil.example")),
        json!(url.replace("http", "HTTP")),
        json!(url.replace("http", "https")),
        json!(url.replace("127.0.0.1", "127.1")),
        json!(url.replace("127.0.0.1", "localhost")),
        json!(url.replace('.', "%2e")),
        json!(url[..url.len() - 1]),
        json!(gateway.issuer.jwks_url()),
        json!("https://other.example"),
        json!(""),
        json!([url]),
        json!({ "url": url }),
        json!(null),
        json!(1),
    ];
    let wrong = wrong.into_iter().map(|value| (value, "RG4013")).collect();
    refuse_all(&gateway, of_claim(&gateway, "iss", wrong)).await;
}

#[tokio::test]
async fn sub_is_a_text_that_the_database_can_hold() {
    let gateway = gateway(FakeIssuer::start().await).await;
    let wrong = vec![
        (json!(""), "RG4019"),
        (json!(7), "RG4019"),
        (json!(null), "RG4019"),
        (json!(true), "RG4019"),
        (json!(["alice"]), "RG4019"),
        (json!({ "alice": true }), "RG4019"),
        (json!("alice\0"), "RG4019"),
        (json!("\0"), "RG4019"),
        (json!("x".repeat(16 * 1024)), "RG4011"),
        (json!("ä".repeat(3000)), "RG4019"),
        (json!("\u{1}".repeat(2900)), "RG4011"),
    ];
    let mut cases = of_claim(&gateway, "sub", wrong);
    cases.extend(of_spelling(
        &gateway,
        "sub",
        &[
            (r#""\ud800""#, "RG4019"),
            (r#""\udc00\ud800""#, "RG4019"),
            (r#""\ud83d\u0041""#, "RG4019"),
            (r#""alice\u0000""#, "RG4019"),
            (r#""\x61lice""#, "RG4019"),
            (r"'alice'", "RG4019"),
            ("alice", "RG4019"),
            ("\"al\nice\"", "RG4019"),
        ],
    ));
    refuse_all(&gateway, cases).await;
}

#[tokio::test]
async fn payload_is_one_json_object_without_repeated_names() {
    let gateway = gateway(FakeIssuer::start().await).await;
    let builder = token(&gateway.issuer);
    let good = builder.claims_json();
    let with = |members: &str| format!("{},{members}}}", &good[..good.len() - 1]).into_bytes();
    let payloads: Vec<(&str, Vec<u8>)> = vec![
        ("sub twice", with(r#""sub":"bob""#)),
        ("sub twice, alike", with(r#""sub":"alice""#)),
        ("sub twice, escaped", with(r#""\u0073ub":"bob""#)),
        ("sub twice, first", format!(r#"{{"\u0073\u0075\u0062":"bob",{}"#, &good[1..]).into()),
        ("exp twice", with(r#""exp":4102444800"#)),
        ("iss twice", with(r#""iss":"https://other.example""#)),
        ("aud twice", with(r#""aud":"other""#)),
        ("role twice", with(r#""role":"a","role":"b""#)),
        ("deep, closed", with(&format!(r#""x":{}{}"#, "[".repeat(4000), "]".repeat(4000)))),
        ("deep, open", with(&format!(r#""x":{}"#, "[".repeat(10_000)))),
        ("deep objects", with(&format!(r#""x":{}"#, r#"{"x":"#.repeat(2000)))),
        ("NUL in a claim", with(r#""x":{"y":["\u0000"]}"#)),
        ("NUL in a name", with(r#""\u0000":1"#)),
        ("byte order mark", format!("\u{feff}{good}").into()),
        ("UTF-16", good.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("comment", format!("// x\n{good}").into()),
        ("comment inside", with("/* */\"x\":1")),
        ("trailing text", format!("{good} x").into()),
        ("trailing NUL", format!("{good}\0").into()),
        ("two objects", format!("{good}{good}").into()),
        ("trailing comma", with("")),
        ("single quotes", good.replace('"', "'").into()),
        ("NaN", with(r#""x":NaN"#)),
        ("number too large", with(r#""x":1e400"#)),
        ("invalid UTF-8", [&with("\"x\":\"")[..good.len() + 5], b"\xff\"}"].concat()),
        ("overlong UTF-8", [&with("\"x\":\"")[..good.len() + 5], b"\xc0\x80\"}"].concat()),
        ("surrogate in UTF-8", [&with("\"x\":\"")[..good.len() + 5], b"\xed\xa0\x80\"}"].concat()),
        ("list", format!("[{good}]").into()),
        ("string", json!(good).to_string().into()),
        ("another token", json!(builder.sign()).to_string().into()),
        ("null", "null".into()),
        ("nothing", Vec::new()),
        ("larger than the database gets", with(&format!(r#""x":"{}""#, "é".repeat(3000)))),
    ];
    let twin = builder.sign_bytes(builder.header_json(), with(r#""x":{"a":1}"#));
    let mut cases: Vec<Case> = payloads
        .into_iter()
        .map(|(name, payload)| {
            let wrong = builder.sign_bytes(builder.header_json(), payload);
            case(format!("payload: {name}"), wrong, "RG4019", twin.clone())
        })
        .collect();
    let nested =
        builder.sign_parts(&URL_SAFE_NO_PAD.encode(builder.header_json()), &builder.sign());
    cases.push(case("payload: a token as it is", nested, "RG4011", twin.clone()));
    refuse_all(&gateway, cases).await;
}

#[tokio::test]
async fn dates_and_audiences_in_unusual_but_right_forms_are_accepted() {
    let gateway = gateway(FakeIssuer::start().await).await;
    let soon = unix_now() + 60;
    let usual = || token(&gateway.issuer);
    let tokens = [
        usual().claim("exp", f64::from(u32::try_from(soon).unwrap()) + 0.5),
        usual().claim("exp", 1e18),
        usual().claim("exp", 1e300),
        usual().claim("exp", u64::MAX),
        usual().claim("nbf", 0).claim("iat", 0.5),
        usual().audience(vec![AUDIENCE]),
        usual().audience(vec!["other", AUDIENCE]),
        // Two names for one thing matter at the top only: below it, the database sees what is kept.
        usual().claim("x", json!({ "sub": "bob", "exp": 0 })),
    ];
    for token in &tokens {
        let answer = attempt_with(&gateway, "unusual", &token.sign()).await;
        assert_eq!(answer.rows(), json!([["authenticated", "alice"]]), "{}", token.claims_json());
    }
    assert_eq!(rows_left(&gateway).await.len(), tokens.len());
}

#[tokio::test]
async fn subjects_that_look_like_alice_are_somebody_else() {
    let gateway = gateway(FakeIssuer::start().await).await;
    let lookalikes = [
        "Alice",
        "ALICE",
        "alice ",
        " alice",
        "\u{430}lice",
        "\u{ff41}lice",
        "alice\u{200b}",
        "\u{202e}ecila",
        "ali\u{0063}\u{0327}e",
        "ali\u{00e7}e",
        "alice\n",
        "alice'--",
        "alice\"",
        "alice\\",
        "alice\\u0000",
        "\u{10ffff}",
        "😀",
    ];
    for subject in lookalikes {
        let token = gateway.issuer.token(subject).audience(AUDIENCE).sign();
        let answer = attempt_with(&gateway, subject, &token).await;
        assert_eq!(answer.rows(), json!([["authenticated", subject]]), "{subject:?}");
    }
    let spelt = token(&gateway.issuer).without("sub");
    let claims = format!(r#"{{"\u0073ub":"\u0061lice",{}"#, &spelt.claims_json()[1..]);
    let token = spelt.sign_bytes(spelt.header_json(), claims);
    let answer = attempt_with(&gateway, "escaped", &token).await;
    assert_eq!(answer.rows(), json!([["authenticated", "alice"]]), "an escape is a spelling");
}
