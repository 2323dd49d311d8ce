//! Providers that one runs oneself, or that belong to a framework.

use jsonwebtoken::Algorithm::{ES256, EdDSA, HS256, RS256};
use serde_json::{Value, json};

use super::{Provider, Usual, accepted, at, refused};

pub fn providers() -> Vec<Provider> {
    vec![keycloak(), keycloak_with_audience(), better_auth(), neon_auth(), oidc()]
}

const KEYCLOAK_USER: &str = "7b1f6f4e-55d0-4d7c-9a3b-0c9d7f1e2a33";

fn keycloak_claims(issuer: &str) -> Value {
    json!({
        "exp": at(300), "iat": at(0), "auth_time": at(0), "jti": "onrtac:6c1f", "iss": issuer,
        "aud": "account", "sub": KEYCLOAK_USER, "typ": "Bearer", "azp": "web", "sid": "s-1", "acr": "1",
        "allowed-origins": ["https://app.example"], "realm_access": { "roles": ["editor"] },
        "resource_access": { "account": { "roles": ["view-profile"] } },
        "scope": "openid profile email", "email_verified": true, "preferred_username": "ann",
    })
}

fn keycloak() -> Provider {
    let id_token = json!({
        "typ": "ID", "aud": "web", "at_hash": "h", "realm_access": null, "resource_access": null,
    });
    let refresh = json!({ "typ": "Refresh", "aud": "https://sso.example.com/realms/main" });
    let realm = |name: &str| json!({ "iss": format!("https://sso.example.com/realms/{name}") });
    Provider {
        title: "keycloak",
        toml: "preset = \"keycloak\"\ndomain = \"sso.example.com\"\nrealm = \"main\"\n\
               authorized_parties = [\"web\"]",
        usual: Usual {
            algorithm: RS256,
            header: json!({ "typ": "JWT" }),
            claims: keycloak_claims("https://sso.example.com/realms/main"),
        },
        shapes: vec![
            accepted("access token", json!({}), KEYCLOAK_USER),
            accepted("access token without `aud`", json!({ "aud": null }), KEYCLOAK_USER),
            accepted("access token (ES256)", json!({}), KEYCLOAK_USER).signed_with(ES256),
            refused("ID token", id_token, "RG4022"),
            refused("refresh token", refresh, "RG4022"),
            refused("another client", json!({ "azp": "admin-cli" }), "RG4020"),
            refused("without `azp`", json!({ "azp": null }), "RG4020"),
            refused("another realm", realm("master"), "RG4013"),
            refused("the realm in other letters", realm("Main"), "RG4013"),
            refused(
                "the host that Keycloak has inside",
                json!({ "iss": "http://keycloak:8080/realms/main" }),
                "RG4013",
            ),
            refused("lightweight token without `sub`", json!({ "sub": null }), "RG4019"),
        ],
    }
}

fn keycloak_with_audience() -> Provider {
    let with = |audience: Value| json!({ "aud": audience });
    Provider {
        title: "keycloak, with an audience, below a path",
        toml: "preset = \"keycloak\"\ndomain = \"sso.example.com/auth\"\nrealm = \"main\"\n\
               audience = [\"notes-api\"]",
        usual: Usual {
            algorithm: RS256,
            header: json!({ "typ": "JWT" }),
            claims: keycloak_claims("https://sso.example.com/auth/realms/main"),
        },
        shapes: vec![
            accepted("`aud` a list", with(json!(["notes-api", "account"])), KEYCLOAK_USER),
            accepted("`aud` a text", with(json!("notes-api")), KEYCLOAK_USER),
            refused("the `aud` of every token, `account`", json!({}), "RG4018"),
            refused("without `aud`", with(json!(null)), "RG4018"),
            refused(
                "service account's token for another API",
                with(json!(["billing-api"])),
                "RG4018",
            ),
            refused("ID token", json!({ "typ": "ID", "aud": "notes-api" }), "RG4022"),
        ],
    }
}

fn better_auth() -> Provider {
    let user = "kQ2mVn8xTz";
    let url = "https://app.example.com";
    let claims = json!({
        "iat": at(0), "name": "A B", "email": "a@b.example", "emailVerified": true,
        "createdAt": "2026-01-01T00:00:00.000Z", "updatedAt": "2026-01-01T00:00:00.000Z", "id": user,
        "sub": user, "exp": at(900), "iss": url, "aud": url,
    });
    Provider {
        title: "better-auth",
        toml: "preset = \"better-auth\"\ndomain = \"app.example.com\"",
        usual: Usual { algorithm: EdDSA, header: json!({}), claims },
        shapes: vec![
            accepted("token of the JWT plugin (EdDSA)", json!({}), user),
            accepted(
                "with the organisation in a payload of one's own",
                json!({ "org_id": "o1" }),
                user,
            ),
            refused("session cookie cache (HS256)", json!({}), "RG4012").signed_with(HS256),
            refused(
                "`iss` with the base path",
                json!({ "iss": "https://app.example.com/api/auth" }),
                "RG4013",
            ),
            refused(
                "made for another service",
                json!({ "aud": "https://other.example" }),
                "RG4018",
            ),
            refused("without `aud`", json!({ "aud": null }), "RG4018"),
            refused("`id` without `sub`", json!({ "sub": null }), "RG4019"),
        ],
    }
}

fn neon_auth() -> Provider {
    let user = "2d9c1f5e-4b0a-4c6f-8e53-6f0c8b1a7d42";
    let origin = "https://ep-calm-sun-a1b2.neonauth.eu-central-1.aws.neon.tech";
    let claims = json!({
        "iat": at(0), "name": "A B", "email": "a@b.example", "emailVerified": true,
        "createdAt": "2026-01-01T00:00:00.000Z", "updatedAt": "2026-01-01T00:00:00.000Z",
        "role": "authenticated", "banned": false, "id": user, "sub": user, "exp": at(900),
        "iss": origin, "aud": origin,
    });
    Provider {
        title: "neon-auth",
        toml: "preset = \"neon-auth\"\n\
               domain = \"ep-calm-sun-a1b2.neonauth.eu-central-1.aws.neon.tech/neondb/auth\"",
        usual: Usual { algorithm: EdDSA, header: json!({}), claims },
        shapes: vec![
            accepted("token (EdDSA)", json!({}), user),
            refused(
                "`iss` the whole Auth URL",
                json!({ "iss": format!("{origin}/neondb/auth") }),
                "RG4013",
            ),
            refused("another branch", json!({ "iss": origin.replace("calm", "wild") }), "RG4013"),
            refused("another `aud`", json!({ "aud": format!("{origin}/") }), "RG4018"),
            refused("without `aud`", json!({ "aud": null }), "RG4018"),
            refused("without `sub`", json!({ "sub": null }), "RG4019"),
        ],
    }
}

fn oidc() -> Provider {
    let claims = json!({
        "iss": "https://issuer.example/tenant", "sub": "248289761001", "aud": "my-app",
        "exp": at(300), "iat": at(0), "nbf": at(0), "jti": "j-1", "client_id": "web", "scope": "openid",
    });
    Provider {
        title: "oidc, or no preset",
        toml: "url = \"https://issuer.example/tenant\"\naudience = [\"my-app\"]",
        usual: Usual { algorithm: RS256, header: json!({ "typ": "at+jwt" }), claims },
        shapes: vec![
            accepted("access token (RFC 9068)", json!({}), "248289761001"),
            accepted("token without `typ`", json!({}), "248289761001")
                .header(json!({ "typ": null })),
            accepted("`aud` a list", json!({ "aud": ["x", "my-app"] }), "248289761001"),
            refused("another audience", json!({ "aud": "other" }), "RG4018"),
            refused("without `aud`", json!({ "aud": null }), "RG4018"),
            refused(
                "`iss` with a slash",
                json!({ "iss": "https://issuer.example/tenant/" }),
                "RG4013",
            ),
            refused(
                "`iss` in other letters",
                json!({ "iss": "https://issuer.example/Tenant" }),
                "RG4013",
            ),
            refused("without `sub`", json!({ "sub": null }), "RG4019"),
            refused("logout token", json!({}), "RG4011").header(json!({ "typ": "logout+jwt" })),
        ],
    }
}
