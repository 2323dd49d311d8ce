//! Which keys each preset reads, and where its provider shows them.

use super::Preset;

/// A key that a preset reads.
pub(in crate::config) struct Parameter {
    pub(in crate::config) key: &'static str,
    pub(in crate::config) needed: Needed,
    /// Where the provider shows it.
    pub(in crate::config) find: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum Needed {
    Always,
    /// Only to derive `iss`: `url` stands for it.
    WithoutUrl,
    Never,
}

const fn always(key: &'static str, find: &'static str) -> Parameter {
    Parameter { key, needed: Needed::Always, find }
}

const fn without_url(key: &'static str, find: &'static str) -> Parameter {
    Parameter { key, needed: Needed::WithoutUrl, find }
}

const CLERK: [Parameter; 1] = [without_url(
    "issuer.domain",
    "Clerk Dashboard > Configure > API keys > Frontend API URL, such as your-app.clerk.accounts.dev",
)];

const AUTH0: [Parameter; 1] = [without_url(
    "issuer.domain",
    "Auth0 Dashboard > Applications > (yours) > Settings > Domain, such as your-tenant.eu.auth0.com, or \
     your custom domain",
)];

const SUPABASE: [Parameter; 1] = [without_url(
    "issuer.project",
    "Supabase Dashboard > Project Settings > General > Project ID, such as abcdefghijklmnopqrst",
)];

const FIREBASE: [Parameter; 1] = [always(
    "issuer.project",
    "Firebase console > Project settings > General > Project ID, such as my-app-1a2b3",
)];

const COGNITO: [Parameter; 1] = [without_url(
    "issuer.user_pool",
    "Amazon Cognito console > User pools > (yours) > Overview > User pool ID, such as \
     eu-central-1_AbCdEfGhI",
)];

const KEYCLOAK: [Parameter; 2] = [
    without_url(
        "issuer.domain",
        "the host where Keycloak is reached, with the path before /realms if there is one, such as \
         sso.example.com",
    ),
    without_url("issuer.realm", "Keycloak Admin Console > Realm settings > General > Realm name"),
];

const WORKOS: [Parameter; 1] =
    [always("issuer.client_id", "WorkOS Dashboard > API Keys > Client ID, such as client_01H…")];

const STYTCH: [Parameter; 1] = [always(
    "issuer.project",
    "Stytch Dashboard > Project Settings > Project ID, such as project-live-…",
)];

const DESCOPE: [Parameter; 1] =
    [always("issuer.project", "Descope Console > Project > Project ID, such as P2aBc…")];

const ENTRA: [Parameter; 2] = [
    always("issuer.tenant", "Microsoft Entra admin center > Overview > Tenant ID, a GUID"),
    Parameter {
        key: "issuer.version",
        needed: Needed::Never,
        find: "v1 or v2, as the `ver` of your tokens says",
    },
];

const BETTER_AUTH: [Parameter; 1] = [without_url(
    "issuer.domain",
    "the host of BETTER_AUTH_URL (baseURL), such as app.example.com",
)];

const NEON_AUTH: [Parameter; 1] = [always(
    "issuer.domain",
    "Neon Console > (project, branch) > Auth > Configuration > Auth URL, such as \
     ep-….neonauth.eu-central-1.aws.neon.tech/neondb/auth",
)];

impl Preset {
    /// Which keys it reads.
    pub(in crate::config) fn parameters(self) -> &'static [Parameter] {
        match self {
            Self::Clerk => &CLERK,
            Self::Auth0 => &AUTH0,
            Self::Supabase => &SUPABASE,
            Self::Firebase => &FIREBASE,
            Self::Cognito => &COGNITO,
            Self::Keycloak => &KEYCLOAK,
            Self::Workos => &WORKOS,
            Self::Stytch => &STYTCH,
            Self::Descope => &DESCOPE,
            Self::Entra => &ENTRA,
            Self::BetterAuth => &BETTER_AUTH,
            Self::NeonAuth => &NEON_AUTH,
            Self::Google | Self::Oidc => &[],
        }
    }

    /// Where to find the audience, if the preset's tokens mean nothing without one: the issuer signs for
    /// every application in the world, or signs ID tokens and access tokens alike.
    pub(in crate::config) fn needs_audience(self) -> Option<&'static str> {
        match self {
            Self::Google => Some(
                "Google signs ID tokens for every application there is, so give your own: Google Cloud \
                 console > APIs & Services > Credentials > OAuth 2.0 Client ID, such as \
                 audience = [\"1234-abc.apps.googleusercontent.com\"]",
            ),
            Self::Entra => Some(
                "Entra signs tokens for every application of the tenant, Microsoft Graph among them, so \
                 give your own: Entra admin center > App registrations > (your API) > Application \
                 (client) ID; in tokens of version v1, the Application ID URI, such as \
                 audience = [\"api://1f0e…\"]",
            ),
            Self::Auth0 => Some(
                "Auth0 signs ID tokens and tokens for other APIs with the same keys, so give your own: \
                 Auth0 Dashboard > Applications > APIs > (yours) > Identifier, such as \
                 audience = [\"https://api.example.com\"]",
            ),
            _ => None,
        }
    }
}
