//! The forms that presets' parameters must have, because each becomes a part of `iss` and of a URL.

use url::Url;

use super::{EntraVersion, Preset};
use crate::config::file::Raw;
use crate::config::values::{Parsed, text};

pub(in crate::config) fn preset(raw: &Raw) -> Parsed<Preset> {
    const EXPECTED: &str = "expected clerk, auth0, supabase, firebase, cognito, keycloak, workos, stytch, descope, \
         google, entra, better-auth, neon-auth or oidc";
    Preset::named(text(raw, EXPECTED)?).ok_or(EXPECTED)
}

/// A host, with or without a port and a path; `https://` in front and a slash behind may stay from copying.
pub(in crate::config) fn domain(raw: &Raw) -> Parsed<String> {
    const EXPECTED: &str = "expected a host name in lower case (with a path if the provider shows one), such as \
                            auth.example.com; for http or an address of another kind, give url and \
                            jwks_url instead";
    let text = text(raw, EXPECTED)?;
    let domain = text.strip_prefix("https://").unwrap_or(text).trim_end_matches('/');
    let url = Url::parse(&format!("https://{domain}/")).map_err(|_| EXPECTED)?;
    let is_plain = domain.bytes().all(|b| {
        b.is_ascii_lowercase()
            || b.is_ascii_digit()
            || b"-._~:/ABCDEFGHIJKLMNOPQRSTUVWXYZ".contains(&b)
    });
    let host = domain.split(['/', ':']).next().unwrap_or_default();
    // Hosts are compared byte for byte, so the one in `iss` has to be written as providers write it.
    if is_plain && url.host_str() == Some(host) && !domain.contains("//") {
        Ok(domain.to_owned())
    } else {
        Err(EXPECTED)
    }
}

/// An id or a name that a provider shows, which becomes part of a URL.
pub(in crate::config) fn provider_id(raw: &Raw) -> Parsed<String> {
    const EXPECTED: &str = "expected an id of letters, digits, hyphens, dots and underscores, as the provider shows it";
    let id = text(raw, EXPECTED)?;
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    let is_relative = id.bytes().all(|b| b == b'.');
    if !is_relative && id.bytes().all(fits) { Ok(id.to_owned()) } else { Err(EXPECTED) }
}

pub(in crate::config) fn user_pool(raw: &Raw) -> Parsed<String> {
    const EXPECTED: &str = "expected the user pool's id, which begins with its region, such as \
                            eu-central-1_AbCdEfGhI (Cognito console > User pools > Overview)";
    let id = provider_id(raw).map_err(|_| EXPECTED)?;
    match id.split_once('_') {
        Some((region, rest)) if region.contains('-') && !rest.is_empty() => Ok(id),
        _ => Err(EXPECTED),
    }
}

pub(in crate::config) fn tenant(raw: &Raw) -> Parsed<String> {
    const EXPECTED: &str = "expected the tenant's id, a GUID in lower case such as \
                            8eaef023-2b34-4da1-9baa-8bc8c9d6a490 (Entra admin center > Overview). \
                            `common`, `organizations` and `consumers` are not one issuer: the `iss` of \
                            every token names the tenant of its user, so add an [[issuer]] for each";
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
    let id = text(raw, EXPECTED)?;
    let fits = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let groups: Vec<usize> = id.split('-').map(str::len).collect();
    if groups == GROUPS && id.bytes().all(|b| fits(b) || b == b'-') {
        Ok(id.to_owned())
    } else {
        Err(EXPECTED)
    }
}

pub(in crate::config) fn entra_version(raw: &Raw) -> Parsed<EntraVersion> {
    match raw {
        Raw::Text(word) if word == "v1" => Ok(EntraVersion::V1),
        Raw::Text(word) if word == "v2" => Ok(EntraVersion::V2),
        _ => Err("expected v1 or v2, as the token's `ver` says (1.0 or 2.0)"),
    }
}
