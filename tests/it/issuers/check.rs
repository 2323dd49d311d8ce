//! `rowgate check` on issuers: what their rules leave open.

use std::process::Command;

use crate::harness::cluster;
use crate::harness::issuer::FakeIssuer;

/// The findings about issuers, with this configuration.
async fn findings(toml: &str) -> Vec<String> {
    let database = cluster::fresh_database().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rowgate.toml");
    std::fs::write(&file, toml).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rowgate"));
    command.arg("check").current_dir(directory.path()).env_clear().envs([
        ("DATABASE_URL", database.owner_url.as_str()),
        ("DATABASE_AUTHENTICATED_URL", database.authenticated_url.as_str()),
        ("DATABASE_ANONYMOUS_URL", database.anonymous_url.as_str()),
        ("ROWGATE_CONFIG", file.to_str().unwrap()),
    ]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let of_issuers: Vec<String> =
        text.lines().filter(|line| line.contains("issuer")).map(str::to_owned).collect();
    assert!(of_issuers.iter().any(|line| line.contains("usable key(s)")), "{text}");
    of_issuers
}

fn warnings(findings: &[String]) -> Vec<&String> {
    findings.iter().filter(|line| line.starts_with("warning")).collect()
}

#[tokio::test]
async fn clerk_without_authorized_parties_is_warned_of() {
    let issuer = FakeIssuer::start().await;
    let toml = format!(
        "[[issuer]]\npreset = 'clerk'\ndomain = 'clerk.app.example'\njwks_url = '{}'\n",
        issuer.jwks_url()
    );
    let open = findings(&toml).await;
    let [warning] = warnings(&open)[..] else { panic!("{open:?}") };
    assert!(warning.contains("https://clerk.app.example: without authorized_parties"), "{warning}");
    let closed = findings(&format!("{toml}authorized_parties = ['https://app.example']")).await;
    assert!(warnings(&closed).is_empty(), "{closed:?}");
}

#[tokio::test]
async fn loose_rules_and_several_issuers_are_warned_of() {
    let issuer = FakeIssuer::start().await;
    let keys = issuer.jwks_url();
    let toml = format!(
        "[[issuer]]\npreset = 'cognito'\nuser_pool = 'eu-central-1_A'\njwks_url = '{keys}'\n\
         [[issuer]]\npreset = 'keycloak'\ndomain = 'sso.example'\nrealm = 'main'\njwks_url = '{keys}'\n\
         require_exp = false\nuser_id_claim = 'preferred_username'"
    );
    let found = findings(&toml).await;
    let warnings = warnings(&found);
    for words in [
        "eu-central-1_A: without client_ids",
        "realms/main: without an audience or authorized_parties",
        "realms/main: tokens without `exp`",
        "user_id_claim \"preferred_username\"",
        "several issuers",
    ] {
        assert!(warnings.iter().any(|line| line.contains(words)), "{words}: {found:#?}");
    }
    assert_eq!(warnings.len(), 5, "{found:#?}");
}

/// What is said of a token, with its claims' values looked for in all of it.
async fn said_of(token: &str, toml: &str) -> Vec<String> {
    let database = cluster::fresh_database().await;
    let directory = tempfile::tempdir().unwrap();
    let (config, file) =
        (directory.path().join("rowgate.toml"), directory.path().join("token.jwt"));
    std::fs::write(&config, toml).unwrap();
    std::fs::write(&file, token).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rowgate"));
    command.args(["check", "--token-file", file.to_str().unwrap()]).env_clear().envs([
        ("DATABASE_URL", database.owner_url.as_str()),
        ("DATABASE_AUTHENTICATED_URL", database.authenticated_url.as_str()),
        ("DATABASE_ANONYMOUS_URL", database.anonymous_url.as_str()),
        ("ROWGATE_CONFIG", config.to_str().unwrap()),
    ]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("secret-subject") && !text.contains("another-api"), "{text}");
    text.lines().filter(|line| line.contains(" token: ")).map(str::to_owned).collect()
}

#[tokio::test]
async fn what_a_token_would_do_is_explained_without_its_values() {
    let issuer = FakeIssuer::start().await;
    let toml = format!(
        "[[issuer]]\nurl = '{}'\njwks_url = '{}'\naudience = ['api']\n",
        issuer.url(),
        issuer.jwks_url()
    );
    let token = || issuer.token("secret-subject").audience("api");
    let has = |said: &[String], words: &str| {
        assert!(said.iter().any(|line| line.contains(words)), "{words}: {said:#?}");
    };

    let said = said_of(&token().sign(), &toml).await;
    has(&said, "its `iss` is that of the issuer http");
    has(&said, "which the issuer publishes");
    has(&said, "its `exp` is in ");
    has(&said, "its `aud` must be one of api: it has one of them");
    has(&said, "token: accepted");

    let said = said_of(&token().audience("another-api").sign(), &toml).await;
    has(&said, "its `aud` must be one of api: it has another");
    has(&said, "not accepted");
    has(&said, "(RG4018)");

    let claims = "authorized_parties = ['web']\nrequired_claims = ['use=access']\n";
    let of_another = token().claim("azp", ["web"]).claim("use", "id").sign();
    let said = said_of(&of_another, &format!("{toml}{claims}")).await;
    has(&said, "its `azp` must be one of web: it has another");
    has(&said, "with the value \"access\": it is another");

    let said = said_of(&token().kid("k-9").sign(), &toml).await;
    has(&said, "the key \"k-9\": the issuer publishes no such key now");
    has(&said, "(RG4014)");

    let said = said_of(&token().issuer(&format!("{}/", issuer.url())).sign(), &toml).await;
    has(&said, "only by a slash at the end");
    has(&said, "(RG4013)");
}
