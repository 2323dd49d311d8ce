//! What is known of each identity provider: what its console shows, how `iss` and the address of its keys
//! follow from that, and what its tokens must carry. Must never make a rule looser than plain OIDC's.

pub(super) mod forms;
mod parameters;

use super::RequiredClaim;

pub(super) use parameters::Needed;

/// An identity provider whose quirks are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Clerk: session tokens, with `azp` and without `aud`.
    Clerk,
    /// Auth0: access tokens for an API.
    Auth0,
    /// Supabase Auth with asymmetric keys.
    Supabase,
    /// Firebase Authentication (and Identity Platform): ID tokens.
    Firebase,
    /// Amazon Cognito user pools: access tokens, with `client_id` and without `aud`.
    Cognito,
    /// Keycloak: access tokens.
    Keycloak,
    /// `WorkOS` `AuthKit`: access tokens.
    Workos,
    /// Stytch: session JWTs.
    Stytch,
    /// Descope: session tokens.
    Descope,
    /// Google: ID tokens.
    Google,
    /// Microsoft Entra ID, one tenant.
    Entra,
    /// Better Auth with its JWT plugin.
    BetterAuth,
    /// Neon Auth (Better Auth, run by Neon).
    NeonAuth,
    /// Any other provider: nothing is known but the standard.
    Oidc,
}

/// The form of Entra's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntraVersion {
    /// `ver` 1.0: what APIs get that ask for nothing else.
    V1,
    /// `ver` 2.0.
    V2,
}

/// The parameters that were given, each checked for its form.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) url: Option<String>,
    pub(super) domain: Option<String>,
    pub(super) realm: Option<String>,
    pub(super) project: Option<String>,
    pub(super) user_pool: Option<String>,
    pub(super) client_id: Option<String>,
    pub(super) tenant: Option<String>,
    pub(super) version: Option<EntraVersion>,
}

/// What follows from them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Derived {
    pub(super) url: String,
    /// None: nothing but the url is known.
    pub(super) jwks_url: Option<String>,
    pub(super) audiences: Vec<String>,
    pub(super) required_claims: Vec<RequiredClaim>,
}

impl Preset {
    /// Every preset, in the order of the documentation.
    pub const ALL: [Self; 14] = [
        Self::Clerk,
        Self::Auth0,
        Self::Supabase,
        Self::Firebase,
        Self::Cognito,
        Self::Keycloak,
        Self::Workos,
        Self::Stytch,
        Self::Descope,
        Self::Google,
        Self::Entra,
        Self::BetterAuth,
        Self::NeonAuth,
        Self::Oidc,
    ];

    /// As it is written in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Clerk => "clerk",
            Self::Auth0 => "auth0",
            Self::Supabase => "supabase",
            Self::Firebase => "firebase",
            Self::Cognito => "cognito",
            Self::Keycloak => "keycloak",
            Self::Workos => "workos",
            Self::Stytch => "stytch",
            Self::Descope => "descope",
            Self::Google => "google",
            Self::Entra => "entra",
            Self::BetterAuth => "better-auth",
            Self::NeonAuth => "neon-auth",
            Self::Oidc => "oidc",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.name() == name)
    }

    /// Everything that follows from the parameters; none if a needed one is missing.
    pub(super) fn derive(self, given: &Given) -> Option<Derived> {
        let url = given.url.clone().or_else(|| self.url(given))?;
        Some(Derived {
            jwks_url: self.jwks_url(given, &url),
            audiences: self.audiences(given, &url),
            required_claims: self.required_claims(),
            url,
        })
    }

    fn url(self, given: &Given) -> Option<String> {
        let domain = || given.domain.as_deref();
        let project = || given.project.as_deref();
        Some(match self {
            Self::Clerk | Self::BetterAuth => format!("https://{}", domain()?),
            Self::Auth0 => format!("https://{}/", domain()?),
            Self::Supabase => format!("https://{}.supabase.co/auth/v1", project()?),
            Self::Firebase => format!("https://securetoken.google.com/{}", project()?),
            Self::Cognito => cognito_url(given.user_pool.as_deref()?)?,
            Self::Keycloak => {
                format!("https://{}/realms/{}", domain()?, given.realm.as_deref()?)
            }
            Self::Workos => {
                format!("https://api.workos.com/user_management/{}", given.client_id.as_deref()?)
            }
            // Neither is a URL.
            Self::Stytch => format!("stytch.com/{}", project()?),
            Self::Descope => project()?.to_owned(),
            Self::Google => "https://accounts.google.com".to_owned(),
            Self::Entra => {
                let tenant = given.tenant.as_deref()?;
                match given.version {
                    Some(EntraVersion::V1) => format!("https://sts.windows.net/{tenant}/"),
                    _ => format!("https://login.microsoftonline.com/{tenant}/v2.0"),
                }
            }
            Self::NeonAuth => format!("https://{}", domain()?.split('/').next()?),
            Self::Oidc => return None,
        })
    }

    fn jwks_url(self, given: &Given, url: &str) -> Option<String> {
        let base = url.trim_end_matches('/');
        let project = || given.project.as_deref();
        Some(match self {
            Self::Clerk | Self::Auth0 | Self::Supabase | Self::Cognito => {
                format!("{base}/.well-known/jwks.json")
            }
            Self::Firebase => "https://www.googleapis.com/service_accounts/v1/jwk/\
                               securetoken@system.gserviceaccount.com"
                .to_owned(),
            Self::Keycloak => format!("{base}/protocol/openid-connect/certs"),
            Self::Workos => {
                format!("https://api.workos.com/sso/jwks/{}", given.client_id.as_deref()?)
            }
            Self::Stytch => stytch_keys(project()?),
            Self::Descope => descope_keys(project()?),
            Self::Google => "https://www.googleapis.com/oauth2/v3/certs".to_owned(),
            Self::Entra => {
                let tenant = given.tenant.as_deref()?;
                let version = if given.version == Some(EntraVersion::V1) { "" } else { "v2.0/" };
                format!("https://login.microsoftonline.com/{tenant}/discovery/{version}keys")
            }
            Self::BetterAuth => format!("{base}/api/auth/jwks"),
            Self::NeonAuth => {
                format!("https://{}/.well-known/jwks.json", given.domain.as_deref()?)
            }
            Self::Oidc => return None,
        })
    }

    /// The `aud` that the provider writes when nobody asks for another.
    fn audiences(self, given: &Given, url: &str) -> Vec<String> {
        match self {
            Self::Firebase | Self::Stytch => given.project.iter().cloned().collect(),
            Self::Supabase => vec!["authenticated".to_owned()],
            Self::BetterAuth | Self::NeonAuth => vec![url.to_owned()],
            _ => Vec::new(),
        }
    }

    /// What tells the right kind of token from others that the provider signs with the same keys.
    fn required_claims(self) -> Vec<RequiredClaim> {
        match self {
            Self::Cognito => vec![RequiredClaim::new("token_use", "access")],
            Self::Keycloak => vec![RequiredClaim::new("typ", "Bearer")],
            // A refresh token says DSR.
            Self::Descope => vec![RequiredClaim::new("drn", "DS")],
            _ => Vec::new(),
        }
    }
}

/// A pool's id begins with its region.
fn cognito_url(user_pool: &str) -> Option<String> {
    let (region, _) = user_pool.split_once('_')?;
    let partition = if region.starts_with("cn-") { ".cn" } else { "" };
    Some(format!("https://cognito-idp.{region}.amazonaws.com{partition}/{user_pool}"))
}

fn stytch_keys(project: &str) -> String {
    let environment = if project.starts_with("project-test-") { "test" } else { "api" };
    format!("https://{environment}.stytch.com/v1/sessions/jwks/{project}")
}

/// Longer ids name the region of their project in the four characters after the P, as Descope's own
/// libraries read them.
fn descope_keys(project: &str) -> String {
    const LEAST_WITH_REGION: usize = 32;
    let region = project.get(1..5).filter(|_| project.len() >= LEAST_WITH_REGION);
    let region = region.map(|region| format!(".{region}")).unwrap_or_default();
    format!("https://api{region}.descope.com/v2/keys/{project}")
}
