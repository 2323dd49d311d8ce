//! Whose tokens are accepted: every `[[issuer]]`, or the one that the environment names.

use std::collections::HashSet;

use super::file::ISSUER;
use super::layers::variable;
use super::presets::{Given, Needed, forms};
use super::reader::Reader;
use super::{IssuerConfig, Preset, key_source, token_rules, values};
use crate::auth::check_keys_url;
use crate::config::KeySource;

/// The keys that only presets read.
const PARAMETERS: [&str; 7] = [
    "issuer.domain",
    "issuer.realm",
    "issuer.project",
    "issuer.user_pool",
    "issuer.client_id",
    "issuer.tenant",
    "issuer.version",
];

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
        let complaint = "no issuer, so no token could be verified; add an [[issuer]] with its url or \
                         a preset, or set ROWGATE_ISSUER_URL=https://issuer.example";
        reader.complain(ISSUER, complaint);
    }
    issuers
}

fn is_of_issuer(key: &str) -> bool {
    key.split_once('.').is_some_and(|(section, _)| section == ISSUER)
}

fn issuer(reader: &mut Reader<'_>, index: usize) -> Option<IssuerConfig> {
    let preset = reader.get("issuer.preset", index, forms::preset);
    let given = Given {
        url: reader.get("issuer.url", index, values::identifier),
        domain: reader.get("issuer.domain", index, forms::domain),
        realm: reader.get("issuer.realm", index, forms::provider_id),
        project: reader.get("issuer.project", index, forms::provider_id),
        user_pool: reader.get("issuer.user_pool", index, forms::user_pool),
        client_id: reader.get("issuer.client_id", index, forms::provider_id),
        tenant: reader.get("issuer.tenant", index, forms::tenant),
        version: reader.get("issuer.version", index, forms::entra_version),
    };
    let keys = key_source::read(reader, index);
    let audiences = reader.get("issuer.audience", index, values::list);
    let algorithms = reader.get("issuer.algorithms", index, values::algorithms);
    let leeway = reader.get("issuer.leeway", index, values::leeway);
    let mut rules = token_rules::read(reader, index);
    if !is_begun(reader, index) {
        return None;
    }
    check_parameters(reader, index, preset);
    let known = preset.unwrap_or(Preset::Oidc);
    if let (Some(find), None) = (known.needs_audience(), &audiences)
        && reader.layers.find("issuer.audience", index).is_none()
    {
        let complaint = format!("missing, and preset {:?} needs it: {find}", known.name());
        reader.complain("issuer.audience", complaint);
    }
    let derived = known.derive(&given)?;
    rules.add_required(derived.required_claims);
    let defaults = IssuerConfig::new(derived.url);
    let keys = keys.into_config(derived.jwks_url);
    let issuer = IssuerConfig {
        preset: known,
        audiences: audiences.unwrap_or(derived.audiences),
        algorithms: algorithms.unwrap_or_else(|| keys.source.default_algorithms()),
        keys,
        leeway: leeway.unwrap_or(defaults.leeway),
        url: defaults.url,
        rules,
    };
    check_url_of_keys(reader, index, &issuer);
    check_algorithms(reader, index, &issuer);
    Some(issuer)
}

/// Whether this issuer stands in the file, or is meant by the environment or by flags.
fn is_begun(reader: &Reader<'_>, index: usize) -> bool {
    let is_given = |key: &&str| is_of_issuer(key) && reader.layers.find(key, index).is_some();
    reader.layers.file.issuers.get(index).is_some() || reader.asked.iter().any(is_given)
}

/// Complains about parameters that the preset needs and does not have, or has and does not read.
fn check_parameters(reader: &mut Reader<'_>, index: usize, preset: Option<Preset>) {
    let has = |reader: &Reader<'_>, key| reader.layers.find(key, index).is_some();
    let is_preset_given = has(reader, "issuer.preset");
    let has_url = has(reader, "issuer.url");
    if is_preset_given && preset.is_none() {
        return; // Which ones it reads is unknown.
    }
    if !has_url && matches!(preset, None | Some(Preset::Oidc)) {
        let complaint = "missing; every issuer needs the `iss` that its tokens carry, or a preset \
                         from which it follows";
        reader.complain("issuer.url", complaint);
    }
    let read = preset.unwrap_or(Preset::Oidc).parameters();
    for parameter in read {
        let is_needed = match parameter.needed {
            Needed::Always => true,
            Needed::WithoutUrl => !has_url,
            Needed::Never => false,
        };
        if is_needed && !has(reader, parameter.key) {
            let name = preset.map_or("", Preset::name);
            let complaint = format!("missing, and preset {name:?} needs it: {}", parameter.find);
            reader.complain(parameter.key, complaint);
        }
    }
    for key in PARAMETERS {
        let Some(found) = reader.layers.find(key, index) else { continue };
        if !read.iter().any(|parameter| parameter.key == key) {
            reader.refuse(key, &found, superfluous(preset));
        }
    }
}

fn superfluous(preset: Option<Preset>) -> String {
    let Some(preset) = preset else {
        return "only a preset reads it; add the preset, such as preset = \"clerk\", or remove this key"
            .to_owned();
    };
    let read: Vec<&str> = preset.parameters().iter().map(|parameter| parameter.key).collect();
    let read = if read.is_empty() { "none".to_owned() } else { read.join(", ") };
    format!("preset {:?} does not read it (it reads: {read}); remove this key", preset.name())
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
