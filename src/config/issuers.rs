//! Whose tokens are accepted: every `[[issuer]]`, or the one that the environment names.

use std::collections::HashSet;

use super::file::ISSUER;
use super::layers::variable;
use super::reader::Reader;
use super::{IssuerConfig, key_source, values};
use crate::auth::check_keys_url;
use crate::config::KeySource;

/// Every `[[issuer]]`; environment and flags may stand for one of them, or change the only one.
pub(super) fn read(reader: &mut Reader<'_>) -> Vec<IssuerConfig> {
    let in_file = reader.layers.file.issuers.len();
    let before = reader.problems.len();
    let issuers: Vec<_> = (0..in_file.max(1)).filter_map(|index| issuer(reader, index)).collect();
    let keys: Vec<&str> = reader.asked.iter().copied().filter(|key| is_of_issuer(key)).collect();
    let above = keys.iter().find_map(|key| {
        reader.layers.in_flags(key).or_else(|| reader.layers.in_environment(&variable(key)))
    });
    if let (Some(found), 2..) = (above, in_file) {
        let complaint = "the file has several [[issuer]]s, so it is unclear which one is meant";
        reader.problem(found.origin, ISSUER, None, complaint);
    }
    let mut seen = HashSet::new();
    for issuer in &issuers {
        if !seen.insert(&issuer.url) {
            let complaint = format!("{:?} is configured twice; keep one [[issuer]]", issuer.url);
            reader.complain("issuer.url", complaint);
        }
    }
    if issuers.is_empty() && reader.problems.len() == before {
        let complaint = "no issuer, so no token could be verified; add an [[issuer]] with its url, or \
                         set ROWGATE_ISSUER_URL=https://issuer.example";
        reader.complain(ISSUER, complaint);
    }
    issuers
}

fn is_of_issuer(key: &str) -> bool {
    key.split_once('.').is_some_and(|(section, _)| section == ISSUER)
}

fn issuer(reader: &mut Reader<'_>, index: usize) -> Option<IssuerConfig> {
    let url = reader.get("issuer.url", index, values::identifier);
    let keys = key_source::read(reader, index);
    let audiences = reader.get("issuer.audience", index, values::list);
    let algorithms = reader.get("issuer.algorithms", index, values::algorithms);
    let leeway = reader.get("issuer.leeway", index, values::leeway);
    let is_given =
        keys.is_something() || audiences.is_some() || algorithms.is_some() || leeway.is_some();
    let Some(url) = url else {
        let is_in_file = reader.layers.file.issuers.get(index).is_some();
        if (is_given || is_in_file) && reader.layers.find("issuer.url", index).is_none() {
            let complaint = "missing; every issuer needs the `iss` that its tokens carry";
            reader.complain("issuer.url", complaint);
        }
        return None;
    };
    let defaults = IssuerConfig::new(url);
    let keys = keys.into_config();
    let issuer = IssuerConfig {
        audiences: audiences.unwrap_or_default(),
        algorithms: algorithms.unwrap_or_else(|| keys.source.default_algorithms()),
        keys,
        leeway: leeway.unwrap_or(defaults.leeway),
        url: defaults.url,
    };
    check_url_of_keys(reader, index, &issuer);
    check_algorithms(reader, index, &issuer);
    Some(issuer)
}

fn check_url_of_keys(reader: &mut Reader<'_>, index: usize, issuer: &IssuerConfig) {
    let Err(reason) = check_keys_url(issuer) else { return };
    if let Some(found) = reader.layers.find("issuer.jwks_url", index) {
        reader.problem(found.origin, "issuer.jwks_url", None, reason);
        return;
    }
    let complaint = format!(
        "keys cannot be found below issuer.url {:?}: {reason}; say where they are, for example \
         https://issuer.example/.well-known/jwks.json",
        issuer.url,
    );
    reader.complain("issuer.jwks_url", complaint);
}

fn check_algorithms(reader: &mut Reader<'_>, index: usize, issuer: &IssuerConfig) {
    let source: &KeySource = &issuer.keys.source;
    let objection = issuer.algorithms.iter().find_map(|algorithm| source.objection_to(*algorithm));
    if let (Some(objection), Some(found)) =
        (objection, reader.layers.find("issuer.algorithms", index))
    {
        reader.refuse("issuer.algorithms", &found, objection);
    }
}
