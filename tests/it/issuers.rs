//! Identity providers: what a preset makes of a console's values, which of a provider's tokens it accepts,
//! and what the documentation says about both.

mod check;
mod documents;
mod presets;
mod rules;
mod several;
mod shapes;

use std::collections::BTreeMap;

use rowgate::config::{Config, ConfigSources, Environment, IssuerConfig};

/// The `[[issuer]]`s of a file, with variables above it; or everything that is wrong with them.
fn issuers_with(toml: &str, variables: &[(&str, &str)]) -> Result<Vec<IssuerConfig>, String> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rowgate.toml");
    std::fs::write(&file, toml).unwrap();
    let logins = [
        ("DATABASE_AUTHENTICATED_URL", "postgresql://authenticated@db/app"),
        ("DATABASE_ANONYMOUS_URL", "postgresql://anonymous@db/app"),
    ];
    let environment: BTreeMap<String, String> = logins
        .iter()
        .chain(variables)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let environment: Environment = environment.into_iter().collect();
    let sources = ConfigSources { file: Some(file), environment, flags: Vec::new() };
    match Config::load(&sources) {
        Ok(config) => Ok(config.auth.issuers),
        Err(error) => {
            Err(error.to_string().replace(&format!("{}/", directory.path().display()), ""))
        }
    }
}

fn issuers(toml: &str) -> Result<Vec<IssuerConfig>, String> {
    issuers_with(toml, &[])
}

/// The only issuer of a file that has to be good.
#[track_caller]
fn issuer(toml: &str) -> IssuerConfig {
    let issuers = issuers(toml).unwrap_or_else(|error| panic!("{toml}\n{error}"));
    let [issuer] = issuers.as_slice() else { panic!("{issuers:?}") };
    issuer.clone()
}
