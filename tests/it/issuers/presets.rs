//! From the values that a provider's console shows to `iss`, keys and rules; and what is said when one of
//! them is missing, superfluous or of another form.

use rowgate::config::{
    ClaimSelection, EntraVersion, IssuerConfig, KeysConfig, Preset, RequiredClaim, TokenRules,
};

use super::{issuer, issuers, issuers_with};

/// `iss`, the address of the keys, and the audiences that follow from a preset.
#[track_caller]
fn assert_derived(toml: &str, url: &str, jwks_url: &str, audiences: &[&str]) {
    let derived = issuer(&format!("[[issuer]]\n{toml}"));
    assert_eq!((&*derived.url, derived.keys), (url, KeysConfig::at(jwks_url)), "{toml}");
    assert_eq!(derived.audiences, audiences, "{toml}");
}

#[test]
fn presets_derive_issuer_keys_and_audience() {
    assert_derived(
        "preset = 'clerk'\ndomain = 'a.clerk.accounts.dev'",
        "https://a.clerk.accounts.dev",
        "https://a.clerk.accounts.dev/.well-known/jwks.json",
        &[],
    );
    assert_derived(
        "preset = 'auth0'\ndomain = 'a.eu.auth0.com'\naudience = ['api']",
        "https://a.eu.auth0.com/",
        "https://a.eu.auth0.com/.well-known/jwks.json",
        &["api"],
    );
    assert_derived(
        "preset = 'supabase'\nproject = 'abcdefghijklmnopqrst'",
        "https://abcdefghijklmnopqrst.supabase.co/auth/v1",
        "https://abcdefghijklmnopqrst.supabase.co/auth/v1/.well-known/jwks.json",
        &["authenticated"],
    );
    assert_derived(
        "preset = 'firebase'\nproject = 'my-app'",
        "https://securetoken.google.com/my-app",
        "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com",
        &["my-app"],
    );
    assert_derived(
        "preset = 'cognito'\nuser_pool = 'us-east-1_AbC'",
        "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_AbC",
        "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_AbC/.well-known/jwks.json",
        &[],
    );
    assert_derived(
        "preset = 'cognito'\nuser_pool = 'cn-north-1_AbC'",
        "https://cognito-idp.cn-north-1.amazonaws.com.cn/cn-north-1_AbC",
        "https://cognito-idp.cn-north-1.amazonaws.com.cn/cn-north-1_AbC/.well-known/jwks.json",
        &[],
    );
    assert_derived(
        "preset = 'keycloak'\ndomain = 'sso.example:8443/auth'\nrealm = 'main'",
        "https://sso.example:8443/auth/realms/main",
        "https://sso.example:8443/auth/realms/main/protocol/openid-connect/certs",
        &[],
    );
    assert_derived(
        "preset = 'workos'\nclient_id = 'client_1'",
        "https://api.workos.com/user_management/client_1",
        "https://api.workos.com/sso/jwks/client_1",
        &[],
    );
    assert_derived(
        "preset = 'google'\naudience = ['1.apps.googleusercontent.com']",
        "https://accounts.google.com",
        "https://www.googleapis.com/oauth2/v3/certs",
        &["1.apps.googleusercontent.com"],
    );
    assert_derived(
        "preset = 'better-auth'\ndomain = 'https://app.example.com/'",
        "https://app.example.com",
        "https://app.example.com/api/auth/jwks",
        &["https://app.example.com"],
    );
    assert_derived(
        "preset = 'neon-auth'\ndomain = 'ep-1.neonauth.eu-central-1.aws.neon.tech/neondb/auth'",
        "https://ep-1.neonauth.eu-central-1.aws.neon.tech",
        "https://ep-1.neonauth.eu-central-1.aws.neon.tech/neondb/auth/.well-known/jwks.json",
        &["https://ep-1.neonauth.eu-central-1.aws.neon.tech"],
    );
}

#[test]
fn projects_say_in_their_id_where_their_keys_are() {
    for (project, environment) in [("project-live-1", "api"), ("project-test-1", "test")] {
        assert_derived(
            &format!("preset = 'stytch'\nproject = '{project}'"),
            &format!("stytch.com/{project}"),
            &format!("https://{environment}.stytch.com/v1/sessions/jwks/{project}"),
            &[project],
        );
    }
    for (project, host) in [
        ("P2aAc4T2V93bddihGEx2Ryhc8e5Z", "api.descope.com"),
        ("Peuc12aAc4T2V93bddihGEx2Ryhc8e5Z", "api.euc1.descope.com"),
    ] {
        assert_derived(
            &format!("preset = 'descope'\nproject = '{project}'"),
            project,
            &format!("https://{host}/v2/keys/{project}"),
            &[],
        );
    }
}

#[test]
fn entras_issuer_depends_on_tenant_and_version() {
    let tenant = "8eaef023-2b34-4da1-9baa-8bc8c9d6a490";
    let toml = format!("preset = 'entra'\ntenant = '{tenant}'\naudience = ['a']");
    let v2 = format!("https://login.microsoftonline.com/{tenant}/v2.0");
    let keys = format!("https://login.microsoftonline.com/{tenant}/discovery/v2.0/keys");
    assert_derived(&toml, &v2, &keys, &["a"]);
    assert_derived(&format!("{toml}\nversion = 'v2'"), &v2, &keys, &["a"]);
    let keys = format!("https://login.microsoftonline.com/{tenant}/discovery/keys");
    let v1 = format!("https://sts.windows.net/{tenant}/");
    assert_derived(&format!("{toml}\nversion = 'v1'"), &v1, &keys, &["a"]);
    assert_ne!(EntraVersion::V1, EntraVersion::V2);
}

#[test]
fn explicit_url_keys_and_audience_win_over_the_presets() {
    let toml = "preset = 'supabase'\nproject = 'abc'\nurl = 'https://auth.example/auth/v1'\naudience = ['x']";
    let keys = "https://auth.example/auth/v1/.well-known/jwks.json";
    assert_derived(toml, "https://auth.example/auth/v1", keys, &["x"]);
    assert_derived(
        "preset = 'keycloak'\nurl = 'https://sso.example/realms/x'\njwks_url = 'https://keys.example/k'",
        "https://sso.example/realms/x",
        "https://keys.example/k",
        &[],
    );
}

#[test]
fn a_url_alone_is_plain_oidc() {
    for toml in [
        "[[issuer]]\nurl = 'https://i.example'",
        "[[issuer]]\npreset = 'oidc'\nurl = 'https://i.example'",
    ] {
        let plain = issuer(toml);
        assert_eq!(format!("{plain:?}"), format!("{:?}", IssuerConfig::new("https://i.example")));
        assert_eq!((plain.preset, plain.rules), (Preset::Oidc, TokenRules::default()));
    }
}

#[test]
fn presets_demand_the_claims_that_tell_the_right_tokens() {
    let demanded = |toml: &str| issuer(&format!("[[issuer]]\n{toml}")).rules.required_claims;
    let cognito = "preset = 'cognito'\nuser_pool = 'us-east-1_AbC'";
    assert_eq!(demanded(cognito), [RequiredClaim::new("token_use", "access")]);
    let id = format!("{cognito}\nrequired_claims = ['token_use=id', 'email_verified=true']");
    let expected =
        [RequiredClaim::new("token_use", "id"), RequiredClaim::new("email_verified", "true")];
    assert_eq!(demanded(&id), expected);
    let keycloak =
        "preset = 'keycloak'\ndomain = 'sso.example'\nrealm = 'main'\nrequired_claims = ['acr=2']";
    let expected = [RequiredClaim::new("acr", "2"), RequiredClaim::new("typ", "Bearer")];
    assert_eq!(demanded(keycloak), expected);
}

#[test]
fn rules_are_read_from_file_and_environment_alike() {
    let file = "[[issuer]]\nurl = 'https://i.example'\nauthorized_parties = ['a', 'b']\nclient_ids = ['c']\n\
                required_claims = ['x=y=z']\nrequire_exp = false\nuser_id_claim = '/app/uid'\n\
                claims = ['org_id']\nclaims_bytes = '4KiB'";
    let variables = [
        ("ROWGATE_ISSUER_URL", "https://i.example"),
        ("ROWGATE_ISSUER_AUTHORIZED_PARTIES", "a, b"),
        ("ROWGATE_ISSUER_CLIENT_IDS", "c"),
        ("ROWGATE_ISSUER_REQUIRED_CLAIMS", "x=y=z"),
        ("ROWGATE_ISSUER_REQUIRE_EXP", "false"),
        ("ROWGATE_ISSUER_USER_ID_CLAIM", "/app/uid"),
        ("ROWGATE_ISSUER_CLAIMS", "org_id"),
        ("ROWGATE_ISSUER_CLAIMS_BYTES", "4096"),
    ];
    let from_file = issuer(file);
    let from_environment = issuers_with("", &variables).unwrap();
    assert_eq!(format!("{:?}", [&from_file]), format!("{from_environment:?}"));
    let rules = from_file.rules;
    assert_eq!(rules.authorized_parties, ["a", "b"]);
    assert_eq!(rules.client_ids, ["c"]);
    assert_eq!(rules.required_claims, [RequiredClaim::new("x", "y=z")]);
    assert_eq!((rules.require_exp, rules.claims_bytes), (false, 4096));
    assert_eq!(rules.user_id_claim.steps(), ["app", "uid"]);
    assert_eq!(rules.claims, ClaimSelection::Only(vec!["org_id".to_owned()]));
    let none = issuer("[[issuer]]\nurl = 'https://i.example'\nclaims = []").rules.claims;
    assert_eq!(none, ClaimSelection::Only(Vec::new()));
}

#[test]
fn a_preset_may_come_from_the_environment_alone() {
    let variables = [
        ("ROWGATE_ISSUER_PRESET", "entra"),
        ("ROWGATE_ISSUER_TENANT", "8eaef023-2b34-4da1-9baa-8bc8c9d6a490"),
        ("ROWGATE_ISSUER_VERSION", "v1"),
        ("ROWGATE_ISSUER_AUDIENCE", "api://x"),
    ];
    let [issuer] = issuers_with("", &variables).unwrap().try_into().unwrap();
    assert_eq!(issuer.url, "https://sts.windows.net/8eaef023-2b34-4da1-9baa-8bc8c9d6a490/");
}

#[test]
fn a_missing_parameter_says_where_to_find_it() {
    let presets = Preset::ALL.map(|preset| format!("[[issuer]]\npreset = '{}'\n", preset.name()));
    insta::assert_snapshot!(issuers(&presets.concat()).unwrap_err());
}

#[test]
fn superfluous_and_ill_formed_parameters_are_refused() {
    let wrong = [
        "url = 'https://a.example'\ndomain = 'a.example'",
        "preset = 'oidc'\nurl = 'https://b.example'\nrealm = 'x'",
        "preset = 'google'\naudience = ['x']\nclient_id = 'y'",
        "preset = 'clerk'\ndomain = 'c.example'\ntenant = '8eaef023-2b34-4da1-9baa-8bc8c9d6a490'",
        "preset = 'clerc'\ndomain = 'd.example'",
        "preset = 'clerk'\ndomain = 'http://e.example'",
        "preset = 'clerk'\ndomain = 'F.example'",
        "preset = 'clerk'\ndomain = 'user@g.example'",
        "preset = 'clerk'\ndomain = 'h.example/?x#y'",
        "preset = 'firebase'\nproject = '../other'",
        "preset = 'cognito'\nuser_pool = 'AbCdEfGhI'",
        "preset = 'entra'\naudience = ['x']\ntenant = 'common'",
        "preset = 'entra'\naudience = ['x']\ntenant = '8EAEF023-2B34-4DA1-9BAA-8BC8C9D6A490'",
        "preset = 'entra'\naudience = ['x']\ntenant = '8eaef023-2b34-4da1-9baa-8bc8c9d6a490'\nversion = '2'",
        "url = 'https://i.example'\nrequired_claims = ['x']",
        "url = 'https://j.example'\nuser_id_claim = '/'",
        "url = 'https://k.example'\nclaims = true\nclaims_bytes = '17KiB'",
    ];
    let tables: String = wrong.iter().map(|toml| format!("[[issuer]]\n{toml}\n")).collect();
    insta::assert_snapshot!(issuers(&tables).unwrap_err());
}
