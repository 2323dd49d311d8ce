//! Providers that do nothing but sign people in.

use jsonwebtoken::Algorithm::{HS256, RS256};
use serde_json::json;

use super::{Provider, Usual, accepted, at, refused};

pub fn providers() -> Vec<Provider> {
    vec![clerk(), auth0(), workos(), workos_with_url(), stytch(), descope()]
}

fn clerk() -> Provider {
    let claims = json!({
        "azp": "https://app.example", "exp": at(60), "fva": [0, -1], "iat": at(0),
        "iss": "https://clerk.app.example", "jti": "8f6e2a41c0", "nbf": at(-10),
        "sid": "sess_2xKq", "sts": "active", "sub": "user_2xKp", "v": 2,
    });
    let header = json!({ "cat": "cl_B7d4PD111AAA", "typ": "JWT" });
    let organization = json!({ "o": { "id": "org_2xKr", "rol": "admin", "slg": "acme", "per": "read", "fpm": "1" } });
    let older = json!({
        "v": null, "org_id": "org_2xKr", "org_role": "org:admin", "org_slug": "acme",
        "org_permissions": ["org:notes:read"],
    });
    Provider {
        title: "clerk",
        toml: "preset = \"clerk\"\ndomain = \"clerk.app.example\"\n\
               authorized_parties = [\"https://app.example\"]",
        usual: Usual { algorithm: RS256, header, claims },
        shapes: vec![
            accepted("session token, version 2", json!({}), "user_2xKp"),
            accepted("session token with an active organisation", organization, "user_2xKp"),
            accepted("session token, version 1", older, "user_2xKp"),
            accepted("token of a JWT template, with `aud`", json!({ "aud": "other" }), "user_2xKp"),
            refused("page of another origin", json!({ "azp": "https://evil.example" }), "RG4020"),
            refused("origin with a slash", json!({ "azp": "https://app.example/" }), "RG4020"),
            refused("without `azp`", json!({ "azp": null }), "RG4020"),
            refused("`iss` with a slash", json!({ "iss": "https://clerk.app.example/" }), "RG4013"),
            refused(
                "another Clerk instance",
                json!({ "iss": "https://calm-cat-1.clerk.accounts.dev" }),
                "RG4013",
            ),
            refused("not valid before in an hour", json!({ "nbf": at(3600) }), "RG4017"),
        ],
    }
}

fn auth0() -> Provider {
    let claims = json!({
        "iss": "https://acme.eu.auth0.com/", "sub": "auth0|6553da60a54a",
        "aud": ["https://api.example", "https://acme.eu.auth0.com/userinfo"],
        "iat": at(0), "exp": at(3600), "scope": "openid profile", "azp": "K1AUPhZq8mRi",
    });
    let rfc9068 = json!({
        "aud": "https://api.example", "azp": null, "client_id": "K1AUPhZq8mRi", "jti": "73WakrfVbN",
    });
    let namespaced = json!({ "https://app.example/roles": ["editor"], "org_id": "org_9ybsU1" });
    let machine = json!({
        "sub": "awZfdIir8YFd@clients", "aud": "https://api.example", "gty": "client-credentials",
    });
    let id_token =
        json!({ "aud": "K1AUPhZq8mRi", "azp": null, "scope": null, "nonce": "n-1", "sid": "s" });
    let management = json!({ "aud": "https://acme.eu.auth0.com/api/v2/" });
    Provider {
        title: "auth0",
        toml: "preset = \"auth0\"\ndomain = \"acme.eu.auth0.com\"\n\
               audience = [\"https://api.example\"]",
        usual: Usual { algorithm: RS256, header: json!({ "typ": "JWT" }), claims },
        shapes: vec![
            accepted("access token, `aud` a list", json!({}), "auth0|6553da60a54a"),
            accepted("access token of the RFC 9068 profile", rfc9068, "auth0|6553da60a54a")
                .header(json!({ "typ": "at+jwt" })),
            accepted("access token with namespaced claims", namespaced, "auth0|6553da60a54a"),
            accepted("machine to machine", machine, "awZfdIir8YFd@clients"),
            refused("ID token", id_token, "RG4018"),
            refused("token for the Management API", management, "RG4018"),
            refused("without `aud`", json!({ "aud": null }), "RG4018"),
            refused("audience with a slash", json!({ "aud": "https://api.example/" }), "RG4018"),
            refused(
                "`iss` without its slash",
                json!({ "iss": "https://acme.eu.auth0.com" }),
                "RG4013",
            ),
            refused("another tenant", json!({ "iss": "https://other.eu.auth0.com/" }), "RG4013"),
            refused("logout token", json!({}), "RG4011").header(json!({ "typ": "logout+jwt" })),
            refused("signed with the client's secret (HS256)", json!({}), "RG4012")
                .signed_with(HS256),
        ],
    }
}

fn workos() -> Provider {
    let claims = json!({
        "iss": "https://api.workos.com/user_management/client_01HEXAMPLE", "sub": "user_01HBEQ",
        "sid": "session_01HQSX", "jti": "01HQSXZX", "org_id": "org_01HRDM", "role": "member",
        "roles": ["member"], "permissions": ["notes:read"], "entitlements": ["audit-logs"],
        "exp": at(300), "iat": at(0),
    });
    let personal = json!({ "org_id": null, "role": null, "roles": null, "permissions": null, "entitlements": null });
    let of_client = |client: &str| format!("https://api.workos.com/user_management/{client}");
    Provider {
        title: "workos",
        toml: "preset = \"workos\"\nclient_id = \"client_01HEXAMPLE\"",
        usual: Usual { algorithm: RS256, header: json!({ "typ": "JWT" }), claims },
        shapes: vec![
            accepted("access token with an organisation", json!({}), "user_01HBEQ"),
            accepted("access token without an organisation", personal, "user_01HBEQ"),
            accepted(
                "access token while somebody acts for the user",
                json!({ "act": { "sub": "admin@a.example" } }),
                "user_01HBEQ",
            ),
            refused("another client", json!({ "iss": of_client("client_01HOTHER") }), "RG4013"),
            refused(
                "`iss` with a slash",
                json!({ "iss": of_client("client_01HEXAMPLE/") }),
                "RG4013",
            ),
            refused("`iss` without the path", json!({ "iss": "https://api.workos.com" }), "RG4013"),
            refused("without `sub`", json!({ "sub": null }), "RG4019"),
            refused(
                "`client_id` instead of `sub`",
                json!({ "sub": null, "client_id": "client_01HEXAMPLE" }),
                "RG4019",
            ),
        ],
    }
}

fn workos_with_url() -> Provider {
    let claims = json!({
        "iss": "https://auth.app.example", "sub": "user_01HBEQ", "sid": "session_01HQSX",
        "jti": "01HQSXZX", "exp": at(300), "iat": at(0), "client_id": "client_01HEXAMPLE",
    });
    Provider {
        title: "workos, with a custom authentication domain",
        toml: "preset = \"workos\"\nclient_id = \"client_01HEXAMPLE\"\n\
               url = \"https://auth.app.example\"\nclient_ids = [\"client_01HEXAMPLE\"]",
        usual: Usual { algorithm: RS256, header: json!({ "typ": "JWT" }), claims },
        shapes: vec![
            accepted("access token", json!({}), "user_01HBEQ"),
            refused("`iss` with a slash", json!({ "iss": "https://auth.app.example/" }), "RG4013"),
            refused("another client", json!({ "client_id": "client_01HOTHER" }), "RG4021"),
            refused("without `client_id`", json!({ "client_id": null }), "RG4021"),
            refused("`client_id` a list", json!({ "client_id": ["client_01HEXAMPLE"] }), "RG4021"),
        ],
    }
}

fn stytch() -> Provider {
    let project = "project-live-fde03dd1-fff7";
    let session = json!({
        "id": "session-live-fe6c", "started_at": "2026-01-05T17:56:50Z",
        "last_accessed_at": "2026-01-05T17:56:50Z", "expires_at": "2026-01-05T18:56:50Z",
        "attributes": { "ip_address": "", "user_agent": "" },
        "authentication_factors": [{ "type": "magic_link", "delivery_method": "email" }],
    });
    let claims = json!({
        "iss": format!("stytch.com/{project}"), "aud": [project], "sub": "user-live-fde03dd1",
        "exp": at(300), "iat": at(0), "nbf": at(0), "https://stytch.com/session": session,
    });
    let member = json!({
        "sub": "member-live-32fc",
        "https://stytch.com/organization": { "organization_id": "organization-live-dc7c", "slug": "acme" },
    });
    Provider {
        title: "stytch",
        toml: "preset = \"stytch\"\nproject = \"project-live-fde03dd1-fff7\"",
        usual: Usual { algorithm: RS256, header: json!({ "typ": "JWT" }), claims },
        shapes: vec![
            accepted("session JWT of a user", json!({}), "user-live-fde03dd1"),
            accepted("session JWT of a member (B2B)", member, "member-live-32fc"),
            refused(
                "`iss` as a URL",
                json!({ "iss": format!("https://stytch.com/{project}") }),
                "RG4013",
            ),
            refused(
                "the test project",
                json!({ "iss": "stytch.com/project-test-11111111" }),
                "RG4013",
            ),
            refused(
                "token of a connected app",
                json!({ "aud": ["connected-app-live-7a"] }),
                "RG4018",
            ),
            refused("without `aud`", json!({ "aud": null }), "RG4018"),
            refused("another project's `aud`", json!({ "aud": ["project-live-other"] }), "RG4018"),
        ],
    }
}

fn descope() -> Provider {
    let project = "P2aBcDeFgHiJkLmNoPqRsTuVwX12";
    let claims = json!({
        "amr": ["oauth"], "drn": "DS", "exp": at(600), "iat": at(0), "iss": project,
        "rexp": "2026-12-01T00:57:21Z", "sub": "U2ualoWDiRkF", "dct": "T2one",
        "tenants": { "T2one": { "roles": ["Tenant Admin"], "permissions": ["User Admin"] } },
    });
    Provider {
        title: "descope",
        toml: "preset = \"descope\"\nproject = \"P2aBcDeFgHiJkLmNoPqRsTuVwX12\"",
        usual: Usual { algorithm: RS256, header: json!({ "typ": "JWT" }), claims },
        shapes: vec![
            accepted("session token with a tenant", json!({}), "U2ualoWDiRkF"),
            accepted(
                "session token without one",
                json!({ "dct": null, "tenants": {} }),
                "U2ualoWDiRkF",
            ),
            refused("refresh token", json!({ "drn": "DSR", "rexp": null }), "RG4022"),
            refused("without `drn`", json!({ "drn": null }), "RG4022"),
            refused(
                "`iss` in the form of OIDC applications",
                json!({ "iss": format!("https://api.descope.com/v1/apps/{project}") }),
                "RG4013",
            ),
            refused("another project", json!({ "iss": "P2otherotherotherotherother0" }), "RG4013"),
            refused("`sub` empty", json!({ "sub": "" }), "RG4019"),
        ],
    }
}
