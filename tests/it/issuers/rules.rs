//! Rules as the database sees them: whose user a token is, and which claims arrive.

use hyper::Method;
use rowgate::config::{ClaimPath, ClaimSelection, TokenRules};
use serde_json::{Value, json};

use crate::harness::gateway::{TestAnswer, TestGateway};

/// Asks the database who it is, and what is known about him.
pub async fn whoami(gateway: &TestGateway, token: &str) -> TestAnswer {
    let sql = "select (select auth.user_id()), (select auth.session())";
    let body = json!({ "query": sql, "params": [], "arrayMode": true }).to_string();
    let authorization = format!("Bearer {token}");
    gateway.send(Method::POST, "/sql", &[("authorization", &authorization)], body).await
}

async fn gateway(rules: TokenRules) -> TestGateway {
    TestGateway::with(|config| config.auth.issuers[0].rules = rules).await
}

#[tokio::test]
async fn another_claim_than_sub_decides_whose_rows_one_sees() {
    let user_id_claim = ClaimPath::name("https://app.example/uid");
    let gateway = gateway(TokenRules { user_id_claim, ..TokenRules::default() }).await;
    gateway.seed().await;
    let token = gateway
        .issuer
        .token("auth0|1")
        .claim("https://app.example/uid", "alice")
        .claim("rowgate_original_sub", "bob");
    let seen = whoami(&gateway, &token.sign()).await.rows();
    assert_eq!(seen[0][0], json!("alice"));
    assert_eq!(seen[0][1]["rowgate_original_sub"], json!("auth0|1"));

    let body =
        json!({ "query": "select task from todos order by id", "params": [], "arrayMode": true });
    let authorization = format!("Bearer {}", token.sign());
    let headers = [("authorization", authorization.as_str())];
    let answer = gateway.send(Method::POST, "/sql", &headers, body.to_string()).await;
    assert_eq!(answer.rows(), json!([["alice one"], ["alice two"]]));

    // Neither `sub` nor a claim that looks like the configured one stands in for it.
    for token in [
        gateway.issuer.token("alice"),
        gateway.issuer.token("bob").claim("https://app.example", json!({ "uid": "alice" })),
        gateway.issuer.token("bob").claim("https://app.example/UID", "alice"),
        gateway.issuer.token("bob").claim("https://app.example/uid", json!(["alice"])),
        gateway.issuer.token("bob").claim("https://app.example/uid", ""),
    ] {
        let answer = whoami(&gateway, &token.sign()).await;
        assert_eq!(answer.failure(), (401, "RG4019".to_owned()), "{}", token.claims_json());
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("`https://app.example/uid`"), "{message}");
        assert!(!message.contains("alice") && !message.contains("bob"), "{message}");
    }
}

#[tokio::test]
async fn nested_claim_can_be_the_user_id() {
    let user_id_claim = ClaimPath::parse("/app_metadata/uid").unwrap();
    let gateway = gateway(TokenRules { user_id_claim, ..TokenRules::default() }).await;
    let token = gateway.issuer.token("s").claim("app_metadata", json!({ "uid": "carol" }));
    assert_eq!(whoami(&gateway, &token.sign()).await.rows()[0][0], json!("carol"));
    let flat = gateway.issuer.token("s").claim("app_metadata/uid", "carol");
    assert_eq!(whoami(&gateway, &flat.sign()).await.failure(), (401, "RG4019".to_owned()));
}

#[tokio::test]
async fn only_the_chosen_claims_reach_the_database() {
    let claims = ClaimSelection::Only(vec!["org_id".to_owned()]);
    let gateway = gateway(TokenRules { claims, ..TokenRules::default() }).await;
    let token = gateway.issuer.token("alice").claim("org_id", "acme").claim("email", "a@b.example");
    let session = whoami(&gateway, &token.sign()).await.rows()[0][1].clone();
    let names: Vec<&String> = session.as_object().unwrap().keys().collect();
    assert_eq!(names, ["exp", "iss", "org_id", "sub"]);
    assert_eq!(session["org_id"], json!("acme"));
}

#[tokio::test]
async fn claims_beyond_the_limit_are_refused_with_the_limit() {
    let gateway = gateway(TokenRules { claims_bytes: 1000, ..TokenRules::default() }).await;
    let token = gateway.issuer.token("alice").claim("planted", "x".repeat(1000));
    let answer = whoami(&gateway, &token.sign()).await;
    assert_eq!(answer.failure(), (401, "RG4019".to_owned()));
    let message: Value = answer.json()["message"].clone();
    let message = message.as_str().unwrap();
    assert!(message.contains("1000 bytes") && !message.contains("planted"), "{message}");
}

#[tokio::test]
async fn token_without_exp_is_accepted_only_where_that_is_configured() {
    let lenient = gateway(TokenRules { require_exp: false, ..TokenRules::default() }).await;
    let token = lenient.issuer.token("alice").without("exp").sign();
    // Twice: verified, and remembered.
    for _ in 0..2 {
        assert_eq!(whoami(&lenient, &token).await.rows()[0][0], json!("alice"));
    }
    let expired = lenient.issuer.token("alice").expires_in(-60).sign();
    assert_eq!(whoami(&lenient, &expired).await.failure(), (401, "RG4016".to_owned()));
    let strict = gateway(TokenRules::default()).await;
    let token = strict.issuer.token("alice").without("exp").sign();
    assert_eq!(whoami(&strict, &token).await.failure(), (401, "RG4019".to_owned()));
}

#[tokio::test]
async fn refusals_name_claims_and_configured_values_but_nothing_of_the_token() {
    let gateway = TestGateway::with(|config| {
        let issuer = &mut config.auth.issuers[0];
        issuer.rules.authorized_parties = vec!["web".to_owned()];
        issuer.rules.required_claims = vec![rowgate::config::RequiredClaim::new("use", "access")];
        issuer.rules.client_ids = vec!["client".to_owned()];
    })
    .await;
    let good = || {
        let token = gateway.issuer.token("planted-sub");
        token.claim("azp", "web").claim("use", "access").claim("client_id", "client")
    };
    assert_eq!(whoami(&gateway, &good().sign()).await.status, 200);
    for (name, code) in [("azp", "RG4020"), ("client_id", "RG4021"), ("use", "RG4022")] {
        let answer = whoami(&gateway, &good().claim(name, "planted").sign()).await;
        assert_eq!(answer.failure(), (401, code.to_owned()));
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(text.contains(&format!("`{name}`")) && !text.contains("planted"), "{text}");
    }
}
