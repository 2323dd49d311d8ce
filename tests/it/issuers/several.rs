//! Several issuers at once: a key verifies the tokens of its own issuer, and of no other.

use jsonwebtoken::Algorithm;
use serde_json::json;

use super::issuers;
use crate::harness::cluster;
use crate::harness::gateway::TestGateway;
use crate::harness::issuer::FakeIssuer;

const CLERK: &str = "https://clerk.app.example";
const AUTH0: &str = "https://acme.eu.auth0.com/";

/// A gateway that believes the one as Clerk and the other as Auth0.
async fn gateway(clerk: FakeIssuer, auth0: &FakeIssuer) -> TestGateway {
    let toml = format!(
        "[[issuer]]\npreset = 'clerk'\ndomain = 'clerk.app.example'\njwks_url = '{}'\n\
         [[issuer]]\npreset = 'auth0'\ndomain = 'acme.eu.auth0.com'\naudience = ['api']\njwks_url = '{}'",
        clerk.jwks_url(),
        auth0.jwks_url(),
    );
    let configured = issuers(&toml).unwrap();
    let database = cluster::fresh_database().await;
    TestGateway::believing(clerk, database, |config| config.auth.issuers = configured).await
}

async fn answer(gateway: &TestGateway, token: &str) -> (u16, String) {
    let answer = super::rules::whoami(gateway, token).await;
    if answer.status == 200 { (200, answer.rows()[0][0].to_string()) } else { answer.failure() }
}

#[tokio::test]
async fn a_key_of_one_issuer_verifies_no_token_that_names_another() {
    let (clerk, auth0) = (FakeIssuer::start().await, FakeIssuer::start().await);
    // Other RSA keys than the first; the ids differ as well, unless a token lies about them.
    auth0.rotate();
    let (clerk_keys, auth0_keys) = (clerk.keys(), auth0.keys());
    let gateway = gateway(clerk, &auth0).await;
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        let of_clerk = || gateway.issuer.token("ann").alg(algorithm).issuer(CLERK).audience("api");
        let of_auth0 = || auth0.token("bob").alg(algorithm).issuer(AUTH0).audience("api");
        let kid = |keys: &crate::harness::issuer::keys::KeyRing| {
            keys.for_algorithm(algorithm).kid.clone()
        };

        assert_eq!(answer(&gateway, &of_clerk().sign()).await, (200, "\"ann\"".to_owned()));
        assert_eq!(answer(&gateway, &of_auth0().sign()).await, (200, "\"bob\"".to_owned()));

        // Each signs, with its own keys, what names the other.
        let refused = |code: &str| (401, code.to_owned());
        let as_auth0 = of_clerk().issuer(AUTH0);
        assert_eq!(answer(&gateway, &as_auth0.sign()).await, refused("RG4014"));
        let as_clerk = of_auth0().issuer(CLERK);
        assert_eq!(answer(&gateway, &as_clerk.sign()).await, refused("RG4014"));

        // The same under the key id that the other publishes.
        let as_auth0 = of_clerk().issuer(AUTH0).kid(&kid(&auth0_keys));
        assert_eq!(answer(&gateway, &as_auth0.sign()).await, refused("RG4015"));
        let as_clerk = of_auth0().issuer(CLERK).kid(&kid(&clerk_keys));
        assert_eq!(answer(&gateway, &as_clerk.sign()).await, refused("RG4015"));
    }
}

#[tokio::test]
async fn each_issuer_holds_its_tokens_to_its_own_rules() {
    let (clerk, auth0) = (FakeIssuer::start().await, FakeIssuer::start().await);
    let gateway = gateway(clerk, &auth0).await;
    let of_clerk = gateway.issuer.token("ann").issuer(CLERK).sign();
    assert_eq!(answer(&gateway, &of_clerk).await, (200, "\"ann\"".to_owned()));
    let of_auth0 = auth0.token("bob").issuer(AUTH0);
    assert_eq!(answer(&gateway, &of_auth0.sign()).await, (401, "RG4018".to_owned()));
    let listed = of_auth0.claim("iss", json!([AUTH0])).audience("api");
    assert_eq!(answer(&gateway, &listed.sign()).await, (401, "RG4013".to_owned()));
}
