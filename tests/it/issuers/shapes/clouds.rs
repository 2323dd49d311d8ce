//! Providers that are a part of a cloud.

use jsonwebtoken::Algorithm::{ES256, HS256, RS256};
use serde_json::json;

use super::{Provider, Usual, accepted, at, refused};

pub fn providers() -> Vec<Provider> {
    vec![supabase(), firebase(), cognito(), cognito_id_tokens(), google(), entra(), entra_v1()]
}

fn supabase() -> Provider {
    let url = "https://abcdefghijklmnopqrst.supabase.co/auth/v1";
    let user = "5f2c9a6e-1b7d-4c7e-9a57-0a1f6b7c8d90";
    let claims = json!({
        "iss": url, "sub": user, "aud": "authenticated", "exp": at(3600), "iat": at(0),
        "email": "a@b.example", "phone": "", "role": "authenticated", "aal": "aal1",
        "app_metadata": { "provider": "email", "providers": ["email"] }, "user_metadata": {},
        "amr": [{ "method": "password", "timestamp": at(0) }],
        "session_id": "9d4c2a10-7a30-4a0e-8d1f-2f5f0a8a1c11", "is_anonymous": false,
    });
    let api_key = json!({
        "iss": "supabase", "ref": "abcdefghijklmnopqrst", "role": "anon", "sub": null, "aud": null,
    });
    Provider {
        title: "supabase",
        toml: "preset = \"supabase\"\nproject = \"abcdefghijklmnopqrst\"",
        usual: Usual { algorithm: ES256, header: json!({ "typ": "JWT" }), claims },
        shapes: vec![
            accepted("access token (ES256)", json!({}), user),
            accepted("access token (RS256)", json!({}), user).signed_with(RS256),
            accepted("user who signed in anonymously", json!({ "is_anonymous": true }), user),
            refused("`anon` API key", api_key, "RG4013"),
            refused("token of the legacy secret (HS256)", json!({}), "RG4012").signed_with(HS256),
            refused("another `aud`", json!({ "aud": "anon" }), "RG4018"),
            refused("without `aud`", json!({ "aud": null }), "RG4018"),
            refused(
                "another project",
                json!({ "iss": "https://tsrqponmlkjihgfedcba.supabase.co/auth/v1" }),
                "RG4013",
            ),
            refused(
                "`iss` without the path",
                json!({ "iss": "https://abcdefghijklmnopqrst.supabase.co" }),
                "RG4013",
            ),
            refused("without `sub`", json!({ "sub": null }), "RG4019"),
        ],
    }
}

fn firebase() -> Provider {
    let user = "Xk9vQm2LrTb0";
    let claims = json!({
        "iss": "https://securetoken.google.com/my-app-1a2b3", "aud": "my-app-1a2b3",
        "auth_time": at(-60), "user_id": user, "sub": user, "iat": at(-60), "exp": at(3540),
        "email": "a@b.example", "email_verified": true,
        "firebase": { "identities": { "email": ["a@b.example"] }, "sign_in_provider": "password" },
    });
    let anonymous = json!({
        "email": null, "email_verified": null, "provider_id": "anonymous",
        "firebase": { "identities": {}, "sign_in_provider": "anonymous" },
    });
    let custom = json!({
        "iss": "firebase-adminsdk@my-app-1a2b3.iam.gserviceaccount.com", "uid": user,
        "aud": "https://identitytoolkit.googleapis.com/google.identity.identitytoolkit.v1.IdentityToolkit",
    });
    let session = json!({ "iss": "https://session.firebase.google.com/my-app-1a2b3" });
    Provider {
        title: "firebase",
        toml: "preset = \"firebase\"\nproject = \"my-app-1a2b3\"",
        usual: Usual { algorithm: RS256, header: json!({ "typ": "JWT" }), claims },
        shapes: vec![
            accepted("ID token", json!({}), user),
            accepted(
                "ID token with custom claims",
                json!({ "org_id": "acme", "admin": true }),
                user,
            ),
            accepted("user who signed in anonymously", anonymous, user),
            refused("session cookie", session, "RG4013"),
            refused("custom token", custom, "RG4013"),
            refused(
                "another project",
                json!({ "iss": "https://securetoken.google.com/other", "aud": "other" }),
                "RG4013",
            ),
            refused("another project's `aud`", json!({ "aud": "other" }), "RG4018"),
            refused("the project's number as `aud`", json!({ "aud": 123_456_789 }), "RG4018"),
            refused("`sub` empty", json!({ "sub": "" }), "RG4019"),
        ],
    }
}

fn cognito() -> Provider {
    let user = "c27a05a2-4ce1-4173-be51-9bbc3fe65a0a";
    let claims = json!({
        "sub": user, "cognito:groups": ["editors"],
        "iss": "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEfGhI", "version": 2,
        "client_id": "4v9f0example", "origin_jti": "o-1", "event_id": "e-1", "token_use": "access",
        "scope": "openid email", "auth_time": at(-5), "exp": at(3600), "iat": at(-5), "jti": "j-1",
        "username": "sai",
    });
    let id_token = json!({
        "token_use": "id", "aud": "4v9f0example", "client_id": null, "scope": null, "username": null,
        "cognito:username": "sai", "email": "a@b.example", "email_verified": true,
    });
    let machine = json!({
        "sub": "4v9f0example", "username": null, "cognito:groups": null, "scope": "api/read",
        "origin_jti": null, "event_id": null,
    });
    let pool = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Other";
    Provider {
        title: "cognito",
        toml: "preset = \"cognito\"\nuser_pool = \"eu-central-1_AbCdEfGhI\"\n\
               client_ids = [\"4v9f0example\"]",
        usual: Usual { algorithm: RS256, header: json!({}), claims },
        shapes: vec![
            accepted("access token", json!({}), user),
            accepted("access token of an app client itself", machine, "4v9f0example"),
            refused("ID token", id_token, "RG4022"),
            refused("without `token_use`", json!({ "token_use": null }), "RG4022"),
            refused("another app client", json!({ "client_id": "7other" }), "RG4021"),
            refused("without `client_id`", json!({ "client_id": null }), "RG4021"),
            refused(
                "the app client as `aud` instead",
                json!({ "client_id": null, "aud": "4v9f0example" }),
                "RG4021",
            ),
            refused("another user pool", json!({ "iss": pool }), "RG4013"),
        ],
    }
}

fn cognito_id_tokens() -> Provider {
    let user = "c27a05a2-4ce1-4173-be51-9bbc3fe65a0a";
    let claims = json!({
        "sub": user, "iss": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_IdTokens",
        "aud": "4v9f0example", "token_use": "id", "cognito:username": "sai", "email": "a@b.example",
        "email_verified": true, "custom:tenant": "acme", "origin_jti": "o-1", "event_id": "e-1",
        "auth_time": at(-5), "exp": at(3600), "iat": at(-5), "jti": "j-1",
    });
    let access = json!({ "token_use": "access", "aud": null, "client_id": "4v9f0example" });
    let pool = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Other";
    Provider {
        title: "cognito, for ID tokens",
        toml: "preset = \"cognito\"\nuser_pool = \"eu-west-1_IdTokens\"\n\
               required_claims = [\"token_use=id\"]\naudience = [\"4v9f0example\"]",
        usual: Usual { algorithm: RS256, header: json!({}), claims },
        shapes: vec![
            accepted("ID token", json!({}), user),
            refused("access token", access, "RG4022"),
            refused("another app client", json!({ "aud": "7other" }), "RG4018"),
            refused("without `aud`", json!({ "aud": null }), "RG4018"),
            refused("another user pool", json!({ "iss": pool }), "RG4013"),
        ],
    }
}

fn google() -> Provider {
    let client = "1234-abc.apps.googleusercontent.com";
    let user = "110169484474386276334";
    let claims = json!({
        "iss": "https://accounts.google.com", "azp": client, "aud": client, "sub": user,
        "email": "a@b.example", "email_verified": true, "at_hash": "HK6E_P6Dh8Y9", "name": "A B",
        "iat": at(0), "exp": at(3600),
    });
    let other = "9876-xyz.apps.googleusercontent.com";
    let account = json!({
        "iss": "svc@my-app.iam.gserviceaccount.com", "sub": "svc@my-app.iam.gserviceaccount.com",
    });
    Provider {
        title: "google",
        toml: "preset = \"google\"\naudience = [\"1234-abc.apps.googleusercontent.com\"]",
        usual: Usual { algorithm: RS256, header: json!({ "typ": "JWT" }), claims },
        shapes: vec![
            accepted("ID token", json!({}), user),
            accepted("ID token of a Workspace account", json!({ "hd": "b.example" }), user),
            accepted("made by the application's Android client", json!({ "azp": other }), user),
            refused("another application", json!({ "azp": other, "aud": other }), "RG4018"),
            refused("without `aud`", json!({ "aud": null }), "RG4018"),
            refused("`iss` without https://", json!({ "iss": "accounts.google.com" }), "RG4013"),
            refused("signed by a service account for itself", account, "RG4013"),
            refused("`aud` a list of others", json!({ "aud": [other] }), "RG4018"),
        ],
    }
}

const TENANT: &str = "8eaef023-2b34-4da1-9baa-8bc8c9d6a490";
const API: &str = "1f0e6a2c-0000-4000-8000-3c1d5b7a9e11";

fn entra() -> Provider {
    let claims = json!({
        "aud": API, "iss": format!("https://login.microsoftonline.com/{TENANT}/v2.0"), "iat": at(-5),
        "nbf": at(-5), "exp": at(3600), "azp": "2b6c0000-0000-4000-8000-000000000001", "azpacr": "0",
        "name": "A B", "oid": "690222be-ff1a-4d56-abd1-7e4f7d38e474", "preferred_username": "a@b.example",
        "rh": "0.AX", "scp": "access_as_user", "sub": "HKZpfaHyWadeOouYlitjrI", "tid": TENANT,
        "uti": "u-1", "ver": "2.0",
    });
    let first = json!({
        "iss": format!("https://sts.windows.net/{TENANT}/"), "ver": "1.0", "aud": format!("api://{API}"),
        "azp": null, "appid": "2b6c0000-0000-4000-8000-000000000001",
    });
    let other = "11111111-2222-4333-8444-555555555555";
    let common = "https://login.microsoftonline.com/common/v2.0";
    Provider {
        title: "entra",
        toml: "preset = \"entra\"\ntenant = \"8eaef023-2b34-4da1-9baa-8bc8c9d6a490\"\n\
               audience = [\"1f0e6a2c-0000-4000-8000-3c1d5b7a9e11\"]",
        usual: Usual { algorithm: RS256, header: json!({ "typ": "JWT" }), claims },
        shapes: vec![
            accepted("access token, version 2.0", json!({}), "HKZpfaHyWadeOouYlitjrI"),
            accepted(
                "access token with app roles",
                json!({ "roles": ["Notes.Write"] }),
                "HKZpfaHyWadeOouYlitjrI",
            ),
            refused("the same tenant's token of version 1.0", first, "RG4013"),
            refused(
                "another tenant",
                json!({ "tid": other, "iss": format!("https://login.microsoftonline.com/{other}/v2.0") }),
                "RG4013",
            ),
            refused("`common` in `iss`", json!({ "iss": common }), "RG4013"),
            refused(
                "`iss` with a slash",
                json!({ "iss": format!("https://login.microsoftonline.com/{TENANT}/v2.0/") }),
                "RG4013",
            ),
            refused(
                "token for Microsoft Graph",
                json!({ "aud": "00000003-0000-0000-c000-000000000000" }),
                "RG4018",
            ),
            refused(
                "ID token of the web application",
                json!({ "aud": "2b6c0000-0000-4000-8000-000000000001", "azp": null, "scp": null }),
                "RG4018",
            ),
        ],
    }
}

fn entra_v1() -> Provider {
    let tenant = "72f988bf-86f1-41af-91ab-2d7cd011db47";
    let user = "690222be-ff1a-4d56-abd1-7e4f7d38e474";
    let claims = json!({
        "aud": format!("api://{API}"), "iss": format!("https://sts.windows.net/{tenant}/"),
        "iat": at(-5), "nbf": at(-5), "exp": at(3600), "acr": "1", "amr": ["pwd"], "appidacr": "0",
        "appid": "2b6c0000-0000-4000-8000-000000000001", "oid": user, "rh": "0.AX", "tid": tenant,
        "scp": "access_as_user", "sub": "l3_roISQU222bULS9yi2k0", "unique_name": "a@b.example",
        "upn": "a@b.example", "uti": "u-1", "ver": "1.0",
    });
    let second = format!("https://login.microsoftonline.com/{tenant}/v2.0");
    Provider {
        title: "entra, tokens of version 1.0, `oid` as user id",
        toml: "preset = \"entra\"\ntenant = \"72f988bf-86f1-41af-91ab-2d7cd011db47\"\n\
               version = \"v1\"\naudience = [\"api://1f0e6a2c-0000-4000-8000-3c1d5b7a9e11\"]\n\
               user_id_claim = \"oid\"",
        usual: Usual { algorithm: RS256, header: json!({ "typ": "JWT" }), claims },
        shapes: vec![
            accepted("access token, version 1.0", json!({}), user),
            refused(
                "`iss` without its slash",
                json!({ "iss": format!("https://sts.windows.net/{tenant}") }),
                "RG4013",
            ),
            refused("version 2.0", json!({ "iss": second, "ver": "2.0" }), "RG4013"),
            refused("the API's id instead of its URI", json!({ "aud": API }), "RG4018"),
            refused(
                "token for Microsoft Graph",
                json!({ "aud": "https://graph.microsoft.com" }),
                "RG4018",
            ),
            refused("without `oid`", json!({ "oid": null }), "RG4019"),
        ],
    }
}
