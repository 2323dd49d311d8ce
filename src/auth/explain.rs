//! What a token says about itself, held against the configuration, in words: for the operator who asks why it
//! was refused. Must never be reached by a request, and never show a claim's value other than a date.

use serde_json::{Map, Value};

use super::bearer::RawToken;
use super::claims::{ClaimRules, date, purpose};
use super::issuer::Issuer;
use super::token::{Header, UnverifiedToken};
use super::{Authenticator, unix_now};

impl Authenticator {
    /// One line for each thing that decides, as far as the token can be read. Its signature is not looked at.
    #[must_use]
    pub fn explain(&self, headers: &hyper::HeaderMap) -> Vec<String> {
        let Ok(Some(raw)) = super::bearer::raw_token(headers) else { return Vec::new() };
        self.lines(raw).unwrap_or_default()
    }

    /// `None` for what is no signed JWT: its error says all there is.
    fn lines(&self, raw: RawToken<'_>) -> Option<Vec<String>> {
        let token = UnverifiedToken::parse(raw).ok()?;
        let Some(issuer) = self.issuers.iter().find(|issuer| token.claims_issuer(issuer.name()))
        else {
            return Some(vec![self.unknown_issuer(token.claims_for_explanation())]);
        };
        let mut lines = vec![
            format!("its `iss` is that of the issuer {}", issuer.name()),
            key(issuer, token.header()),
        ];
        let (claims, rules) = (token.claims_for_explanation(), issuer.rules());
        lines.extend(dates(claims, rules));
        lines.extend(demands(claims, rules));
        Some(lines)
    }

    fn unknown_issuer(&self, claims: &Map<String, Value>) -> String {
        let bare = |name: &str| name.trim_end_matches('/').to_ascii_lowercase();
        let Some(found) = claims.get("iss").and_then(Value::as_str) else {
            return "it has no `iss` that is a string".to_owned();
        };
        let near = self.issuers.iter().find(|issuer| bare(issuer.name()) == bare(found));
        let names: Vec<&str> = self.issuers.iter().map(|issuer| &**issuer.name()).collect();
        match near {
            Some(issuer) => format!(
                "its `iss` differs from {} only by a slash at the end or by capitals: configure it as the \
                 token has it",
                issuer.name()
            ),
            None => format!("its `iss` is none of the configured: {}", names.join(", ")),
        }
    }
}

fn key(issuer: &Issuer, header: &Header) -> String {
    let algorithm = header.algorithm;
    let signed = match &header.key_id {
        // Ids are public, but a stranger's may be long or hold control characters.
        Some(id) => {
            format!(
                "signed with {algorithm:?} and the key {:?}",
                id.chars().take(80).collect::<String>()
            )
        }
        None => format!("signed with {algorithm:?} and a key without an id"),
    };
    let verdict = match issuer.fitting_keys(header) {
        _ if !issuer.allows(algorithm) => {
            "`algorithms` does not allow that for this issuer".to_owned()
        }
        0 => "the issuer publishes no such key now".to_owned(),
        1 => "which the issuer publishes".to_owned(),
        several => format!("{several} published keys fit, and which one made it is not guessed"),
    };
    format!("{signed}: {verdict}")
}

fn dates(claims: &Map<String, Value>, rules: &ClaimRules) -> Vec<String> {
    let now = unix_now();
    ["exp", "nbf", "iat"]
        .into_iter()
        .filter_map(|name| match date(claims, name) {
            Ok(Some(date)) if date >= now => Some(format!("its `{name}` is in {} s", date - now)),
            Ok(Some(date)) => Some(format!("its `{name}` was {} s ago", now - date)),
            Ok(None) if name == "exp" && rules.token.require_exp => {
                Some("it has no `exp`, and one is required".to_owned())
            }
            Ok(None) => None,
            Err(_) => Some(format!("its `{name}` is no number of seconds")),
        })
        .collect()
}

/// Whether a claim is, or names, one of those that are accepted.
type Accepts = fn(Option<&Value>, &[String]) -> bool;

/// What is configured, and whether the token has it.
fn demands(claims: &Map<String, Value>, rules: &ClaimRules) -> Vec<String> {
    // `azp` and `client_id` are one text each, and `aud` may be several.
    let lists: [(_, _, Accepts); 3] = [
        ("aud", &rules.audiences, purpose::names_audience),
        ("azp", &rules.token.authorized_parties, purpose::is_one_of),
        ("client_id", &rules.token.client_ids, purpose::is_one_of),
    ];
    let mut lines: Vec<String> = lists
        .into_iter()
        .filter(|(_, accepted, _)| !accepted.is_empty())
        .map(|(name, accepted, is_good)| {
            let standing = match claims.get(name) {
                None => "has none",
                found if is_good(found, accepted) => "has one of them",
                Some(_) => "has another",
            };
            format!("its `{name}` must be one of {}: it {standing}", accepted.join(", "))
        })
        .collect();
    let required = rules.token.required_claims.iter();
    lines.extend(required.map(|claim| {
        let standing = match claims.get(&claim.name) {
            None => "missing",
            Some(value) if purpose::is_exactly(value, claim) => "there",
            Some(_) => "another",
        };
        format!("it must have `{}` with the value {:?}: it is {standing}", claim.name, claim.value)
    }));
    lines
}
