//! `rowgate token`: one token of a development environment's demo issuer.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::dev::home::{DEFAULT_DATA_DIR, Home};
use crate::dev::issuer::{Issuer, IssuerError};

/// Print a token for trying things out
///
/// Signs a token with the demo issuer of `rowgate dev` and prints it, and nothing else, so that it
/// fits into a command:
///
///   curl -H "Authorization: Bearer $(rowgate token --sub alice)" …
///
/// Only a gateway started by `rowgate dev` with the same data directory accepts it. `rowgate serve`
/// knows nothing of this issuer.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Whom the token is for: what `auth.user_id()` answers in policies
    #[arg(long, value_name = "USER")]
    pub sub: String,

    /// A further claim, its value as JSON: --claim org='"acme"' --claim admin=true
    #[arg(long, value_name = "NAME=JSON", value_parser = parse_claim)]
    pub claim: Vec<(String, Value)>,

    /// How long the token is good for: a number and s, m, h or d
    #[arg(long, value_name = "TIME", default_value = "12h", value_parser = parse_lifetime)]
    pub expires_in: Duration,

    /// The data directory of the `rowgate dev` that is to accept it
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR)]
    pub data_dir: PathBuf,
}

/// Prints the token on standard output.
#[allow(clippy::unused_async, reason = "all commands are called alike")]
pub async fn run(args: Args) -> Result<(), IssuerError> {
    let issuer = Issuer::load(&Home::at(&args.data_dir).issuer())?;
    let claims: Map<String, Value> = args.claim.into_iter().collect();
    println!("{}", issuer.mint(&args.sub, &claims, args.expires_in)?);
    Ok(())
}

fn parse_claim(text: &str) -> Result<(String, Value), String> {
    let (name, json) = text.split_once('=').ok_or("expected NAME=JSON, such as admin=true")?;
    if name.is_empty() {
        return Err("the claim has no name".into());
    }
    let value = serde_json::from_str(json).map_err(|_| {
        format!("the value of `{name}` is not JSON (a string needs its quotes: {name}='\"…\"')")
    })?;
    Ok((name.to_owned(), value))
}

/// `90s`, `15m`, `12h`, `7d`.
fn parse_lifetime(text: &str) -> Result<Duration, String> {
    const EXPECTED: &str = "expected a number and s, m, h or d, such as 30m or 12h";
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or(EXPECTED)?;
    let (number, unit) = text.split_at(split);
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(EXPECTED.into()),
    };
    let total = number.parse::<u64>().ok().and_then(|n| n.checked_mul(seconds)).ok_or(EXPECTED)?;
    Ok(Duration::from_secs(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_a_number_and_a_unit() {
        assert_eq!(parse_lifetime("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_lifetime("12h"), Ok(Duration::from_hours(12)));
        for wrong in ["", "12", "h", "1w", "-1h", "99999999999999999999h"] {
            assert!(parse_lifetime(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn unquoted_string_claim_is_refused_without_repeating_its_value() {
        let refused = parse_claim("org=acme").unwrap_err();
        assert!(refused.contains("`org`") && !refused.contains("acme"), "{refused}");
        assert_eq!(parse_claim("org=\"acme\""), Ok(("org".into(), "acme".into())));
    }
}
