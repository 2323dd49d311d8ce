//! From a written value to a typed one. A parser's error is the expected form, with an example.

use std::net::SocketAddr;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use url::{Origin, Url};

use super::file::Raw;
use super::network::Network;
use super::{
    ConcurrentRequests, ExtraKind, LogFormat, MOST_PARAMETERS, MOST_THREADS, Pooler, SealKeyConfig,
    SealMethod, StatementKinds,
};

pub(super) type Parsed<T> = Result<T, &'static str>;

/// hyper refuses to work with less.
const LEAST_HEADER_BYTES: usize = 8 * 1024;
/// More is not a difference between clocks but a longer life for stolen tokens.
const MOST_LEEWAY: Duration = Duration::from_mins(5);
/// A century: later times than so far ahead cannot be reckoned with everywhere.
const MOST_DURATION: Duration = Duration::from_hours(24 * 36525);
/// Letters and digits of a key id at most (the seal's format).
const LONGEST_KEY_ID: usize = 16;

pub(super) fn address(raw: &Raw) -> Parsed<SocketAddr> {
    const EXPECTED: &str =
        "expected an IP address and a port, such as 127.0.0.1:8080, 0.0.0.0:8080 or [::]:8080";
    text(raw, EXPECTED)?.parse().map_err(|_| EXPECTED)
}

pub(super) fn optional_address(raw: &Raw) -> Parsed<Option<SocketAddr>> {
    match raw {
        Raw::Text(word) if word == "none" => Ok(None),
        _ => address(raw)
            .map(Some)
            .map_err(|_| "expected an IP address and a port, such as 127.0.0.1:9090, or none"),
    }
}

/// Where a claim is: its name, or a list of names that lead into objects.
pub(super) fn claim_path(raw: &Raw) -> Parsed<Vec<String>> {
    const EXPECTED: &str = "expected a claim's name, such as \"app_role\" (taken as it is, dots and all), or a \
                            list of names that lead to a nested one, such as [\"realm_access\", \"roles\"]";
    let path = match raw {
        Raw::Text(name) => vec![name.clone()],
        Raw::List(names) => names.clone(),
        _ => return Err(EXPECTED),
    };
    let is_good = !path.is_empty() && path.iter().all(|name| !name.is_empty());
    if is_good { Ok(path) } else { Err(EXPECTED) }
}

/// What a claim is compared with.
pub(super) fn claim_value(raw: &Raw) -> Parsed<String> {
    match raw {
        Raw::Text(value) if !value.is_empty() => Ok(value.clone()),
        _ => Err("expected the text that the claim must be, such as \"support\""),
    }
}

/// A database role that can be part of a variable's name, too.
pub(super) fn role(raw: &Raw) -> Parsed<String> {
    const EXPECTED: &str =
        "expected a role's name of small letters, digits and _, such as support_agent";
    /// `NAMEDATALEN` of PostgreSQL, less the end.
    const LONGEST: usize = 63;
    let Raw::Text(name) = raw else { return Err(EXPECTED) };
    let is_good = name.len() <= LONGEST
        && name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if is_good { Ok(name.clone()) } else { Err(EXPECTED) }
}

pub(super) fn count(raw: &Raw) -> Parsed<usize> {
    const EXPECTED: &str = "expected a whole number of at least 1, such as 100";
    match number(raw).and_then(|number| usize::try_from(number).ok()) {
        Some(count) if count > 0 => Ok(count),
        _ => Err(EXPECTED),
    }
}

pub(super) fn count_or_off(raw: &Raw) -> Parsed<Option<usize>> {
    const EXPECTED: &str = "expected a whole number of at least 1, such as 100, or off";
    or_off(raw, count).map_err(|_| EXPECTED)
}

pub(super) fn threads(raw: &Raw) -> Parsed<Option<usize>> {
    const EXPECTED: &str = "expected a whole number from 1 to 256, or auto (half of the cores)";
    match raw {
        Raw::Text(word) if word == "auto" => Ok(None),
        _ => count(raw).ok().filter(|count| *count <= MOST_THREADS).map(Some).ok_or(EXPECTED),
    }
}

pub(super) fn rows(raw: &Raw) -> Parsed<Option<u64>> {
    const EXPECTED: &str = "expected a whole number of at least 1, such as 100000, or off";
    or_off(raw, |raw| number(raw).filter(|rows| *rows > 0).ok_or(EXPECTED)).map_err(|_| EXPECTED)
}

pub(super) fn parameters(raw: &Raw) -> Parsed<usize> {
    const EXPECTED: &str = "expected a whole number from 1 to 65535";
    count(raw).ok().filter(|count| *count <= MOST_PARAMETERS).ok_or(EXPECTED)
}

pub(super) fn concurrent_requests(raw: &Raw) -> Parsed<ConcurrentRequests> {
    match raw {
        Raw::Text(word) if word == "half" => Ok(ConcurrentRequests::HalfThePool),
        Raw::Text(word) if word == "off" => Ok(ConcurrentRequests::Unlimited),
        _ => count(raw)
            .map(ConcurrentRequests::AtMost)
            .map_err(|_| "expected a whole number of at least 1, or half (of the pool), or off"),
    }
}

fn or_off<T>(raw: &Raw, parse: impl FnOnce(&Raw) -> Parsed<T>) -> Parsed<Option<T>> {
    match raw {
        Raw::Text(word) if word == "off" => Ok(None),
        _ => parse(raw).map(Some),
    }
}

pub(super) fn networks(raw: &Raw) -> Parsed<Vec<Network>> {
    const EXPECTED: &str = "expected addresses or networks such as [\"private\", \"192.0.2.0/24\"] (in the \
                            environment: private,192.0.2.0/24), or none";
    if matches!(raw, Raw::Text(word) if word == "none") {
        return Ok(Vec::new());
    }
    let mut networks = Vec::new();
    for item in list(raw).map_err(|_| EXPECTED)? {
        match item.as_str() {
            "private" => networks.extend(Network::PRIVATE),
            text => networks.push(text.parse().map_err(|_| EXPECTED)?),
        }
    }
    Ok(networks)
}

/// A duration of more than nothing.
pub(super) fn duration(raw: &Raw) -> Parsed<Duration> {
    const EXPECTED: &str =
        "expected a number above 0 and a unit (ms, s, m, h), such as 30s, 500ms or 5m";
    match any_duration(raw) {
        Some(duration) if duration > MOST_DURATION => Err("expected a century (876600h) at most"),
        Some(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(EXPECTED),
    }
}

pub(super) fn leeway(raw: &Raw) -> Parsed<Duration> {
    const EXPECTED: &str = "expected a number and a unit, from 0s to 5m, such as 30s";
    any_duration(raw).filter(|leeway| *leeway <= MOST_LEEWAY).ok_or(EXPECTED)
}

fn any_duration(raw: &Raw) -> Option<Duration> {
    let Raw::Text(text) = raw else { return None };
    duration_of(text)
}

/// A number and a unit, as durations are written everywhere; it may be nothing.
#[must_use]
pub fn duration_of(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        "h" => Some(Duration::from_secs(number.checked_mul(60 * 60)?)),
        _ => None,
    }
}

/// A number of bytes of at least 1.
pub(super) fn size(raw: &Raw) -> Parsed<u64> {
    const EXPECTED: &str =
        "expected a number of bytes, with or without a unit (KiB, MiB, GiB), such as 10MiB";
    let bytes = match raw {
        Raw::Text(text) if !text.bytes().all(|b| b.is_ascii_digit()) => {
            split_unit(text).and_then(|(number, unit)| {
                let factor: u64 = match unit {
                    "B" => 1,
                    "KiB" => 1 << 10,
                    "MiB" => 1 << 20,
                    "GiB" => 1 << 30,
                    _ => return None,
                };
                number.checked_mul(factor)
            })
        }
        _ => number(raw),
    };
    bytes.filter(|bytes| *bytes > 0).ok_or(EXPECTED)
}

/// A size of something that is held in memory.
pub(super) fn memory_size(raw: &Raw) -> Parsed<usize> {
    let bytes = size(raw)?;
    usize::try_from(bytes).map_err(|_| "expected a number of bytes that fits into memory")
}

/// A size in memory, or `off`.
pub(super) fn memory_size_or_off(raw: &Raw) -> Parsed<Option<usize>> {
    match raw {
        Raw::Text(word) if word == "off" => Ok(None),
        _ => memory_size(raw).map(Some).map_err(|_| {
            "expected a number of bytes, with or without a unit (KiB, MiB, GiB), such as 16KiB, or off"
        }),
    }
}

pub(super) fn header_size(raw: &Raw) -> Parsed<usize> {
    const EXPECTED: &str = "expected a number of bytes of at least 8KiB, such as 32KiB";
    memory_size(raw).ok().filter(|bytes| *bytes >= LEAST_HEADER_BYTES).ok_or(EXPECTED)
}

pub(super) fn flag(raw: &Raw) -> Parsed<bool> {
    match raw {
        Raw::Bool(flag) => Ok(*flag),
        Raw::Text(word) if word == "true" => Ok(true),
        Raw::Text(word) if word == "false" => Ok(false),
        _ => Err("expected true or false"),
    }
}

pub(super) fn search_path(raw: &Raw) -> Parsed<String> {
    const EXPECTED: &str =
        "expected names of schemas separated by commas, such as public or \"app, public\"";
    match raw {
        Raw::Text(path) if !path.trim().is_empty() && !path.contains('\0') => Ok(path.clone()),
        _ => Err(EXPECTED),
    }
}

pub(super) fn identifier(raw: &Raw) -> Parsed<String> {
    const EXPECTED: &str =
        "expected the `iss` of the tokens, byte for byte, such as https://issuer.example";
    let url = text(raw, EXPECTED)?;
    if url.is_empty() || url.contains(char::is_whitespace) { Err(EXPECTED) } else { Ok(url.into()) }
}

pub(super) fn list(raw: &Raw) -> Parsed<Vec<String>> {
    let items: Vec<String> = match raw {
        Raw::List(items) => items.clone(),
        Raw::Text(text) => text.split(',').map(|item| item.trim().to_owned()).collect(),
        _ => Vec::new(),
    };
    if items.is_empty() || items.iter().any(String::is_empty) {
        return Err(
            "expected one or more texts, such as [\"app\", \"api\"] (in the environment: app,api)",
        );
    }
    Ok(items)
}

pub(super) fn algorithms(raw: &Raw) -> Parsed<Vec<Algorithm>> {
    const EXPECTED: &str = "expected signature algorithms, such as [\"RS256\", \"ES256\"] (known: \
                            RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA or Ed25519, \
                            and HS256, HS384, HS512 with a shared secret; none is refused)";
    let known = |name: &String| match name.as_str() {
        "RS256" => Ok(Algorithm::RS256),
        "RS384" => Ok(Algorithm::RS384),
        "RS512" => Ok(Algorithm::RS512),
        "PS256" => Ok(Algorithm::PS256),
        "PS384" => Ok(Algorithm::PS384),
        "PS512" => Ok(Algorithm::PS512),
        "ES256" => Ok(Algorithm::ES256),
        "ES384" => Ok(Algorithm::ES384),
        // RFC 9864: the same under the name of its only curve here.
        "EdDSA" | "Ed25519" => Ok(Algorithm::EdDSA),
        "HS256" => Ok(Algorithm::HS256),
        "HS384" => Ok(Algorithm::HS384),
        "HS512" => Ok(Algorithm::HS512),
        _ => Err(EXPECTED),
    };
    list(raw).map_err(|_| EXPECTED)?.iter().map(known).collect()
}

pub(super) fn origins(raw: &Raw) -> Parsed<Vec<String>> {
    const EXPECTED: &str = "expected [\"*\"] alone, or origins without a path, such as \
                            [\"https://app.example\", \"http://localhost:5173\"]";
    let origins = list(raw).map_err(|_| EXPECTED)?;
    let any = origins.iter().any(|origin| origin == "*");
    if any && origins.len() == 1 || !any && origins.iter().all(|origin| is_origin(origin)) {
        return Ok(origins);
    }
    Err(EXPECTED)
}

/// Whether a browser would send exactly this as `Origin` (RFC 6454 section 6.1).
fn is_origin(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        matches!(url.origin(), Origin::Tuple(..)) && url.origin().ascii_serialization() == text
    })
}

pub(super) fn log_format(raw: &Raw) -> Parsed<LogFormat> {
    match raw {
        Raw::Text(word) if word == "json" => Ok(LogFormat::Json),
        Raw::Text(word) if word == "pretty" => Ok(LogFormat::Pretty),
        _ => Err("expected json or pretty"),
    }
}

pub(super) fn pooler(raw: &Raw) -> Parsed<Pooler> {
    match raw {
        Raw::Text(word) if word == "none" => Ok(Pooler::None),
        Raw::Text(word) if word == "transaction" => Ok(Pooler::Transaction),
        _ => Err("expected none or transaction"),
    }
}

pub(super) fn seal_method(raw: &Raw) -> Parsed<SealMethod> {
    match raw {
        Raw::Text(word) if word == "auto" => Ok(SealMethod::Auto),
        Raw::Text(word) if word == "own" => Ok(SealMethod::Own),
        Raw::Text(word) if word == "pg_session_jwt" => Ok(SealMethod::PgSessionJwt),
        _ => Err("expected auto, own or pg_session_jwt"),
    }
}

pub(super) fn statement_kinds(raw: &Raw) -> Parsed<StatementKinds> {
    match raw {
        Raw::Text(word) if word == "data" => Ok(StatementKinds::Data),
        Raw::Text(word) if word == "all" => Ok(StatementKinds::All),
        _ => Err("expected data or all"),
    }
}

pub(super) fn extra_kinds(raw: &Raw) -> Parsed<Vec<ExtraKind>> {
    const EXPECTED: &str = "expected kinds of statements, such as [\"call\", \"notify\"] (known: call, do, \
                            explain, listen, lock, notify, refresh, set, show, truncate)";
    names(raw).ok_or(EXPECTED)?.iter().map(|word| ExtraKind::named(word).ok_or(EXPECTED)).collect()
}

pub(super) fn system_names(raw: &Raw) -> Parsed<Vec<String>> {
    const EXPECTED: &str =
        "expected lower-case names without a schema, such as [\"pg_advisory_xact_lock\"]";
    let fits = |name: &String| {
        name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    names(raw).filter(|names| names.iter().all(fits)).ok_or(EXPECTED)
}

/// A list that may be empty.
pub(super) fn names(raw: &Raw) -> Option<Vec<String>> {
    match raw {
        Raw::List(items) if items.is_empty() => Some(Vec::new()),
        Raw::Text(text) if text.is_empty() => Some(Vec::new()),
        raw => list(raw).ok(),
    }
}

/// Stricter than the filter's own grammar, in which a misspelt level is the name of a target and
/// silences everything else.
pub(super) fn log_filter(raw: &Raw) -> Parsed<String> {
    const EXPECTED: &str = "expected a level (error, warn, info, debug, trace, off), or targets with levels, such as \
         info or warn,rowgate=debug";
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    let is_directive = |part: &str| match part.split_once('=') {
        Some((target, level)) => !target.is_empty() && LEVELS.contains(&level),
        None => LEVELS.contains(&part),
    };
    let filter = text(raw, EXPECTED)?;
    if filter.split(',').all(is_directive) { Ok(filter.to_owned()) } else { Err(EXPECTED) }
}

/// One key in each line, the best first.
pub(super) fn seal_keys(text: &str) -> Parsed<Vec<SealKeyConfig>> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(seal_key).collect()
}

/// `<kid>:<64 hex digits>`, with `:unbound` after it for a key that is not bound to a backend.
fn seal_key(line: &str) -> Parsed<SealKeyConfig> {
    const EXPECTED: &str = "expected <key id>:<64 hex digits> as `rowgate keys export` writes it, \
                            the key id of up to 16 lower-case letters and digits";
    const UNBOUND: &str = ":unbound";
    let unmarked = line.strip_suffix(UNBOUND);
    let (kid, hex) = unmarked.unwrap_or(line).split_once(':').ok_or(EXPECTED)?;
    let fits = |b: u8| b.is_ascii_digit() || b.is_ascii_lowercase();
    if kid.is_empty() || kid.len() > LONGEST_KEY_ID || !kid.bytes().all(fits) {
        return Err(EXPECTED);
    }
    let mut key = [0; 32];
    hex::decode_to_slice(hex, &mut key).map_err(|_| EXPECTED)?;
    Ok(SealKeyConfig { kid: kid.to_owned(), key, bound: unmarked.is_none() })
}

pub(super) fn text<'a>(raw: &'a Raw, expected: &'static str) -> Parsed<&'a str> {
    if let Raw::Text(text) = raw { Ok(text) } else { Err(expected) }
}

fn number(raw: &Raw) -> Option<u64> {
    match raw {
        Raw::Integer(number) => u64::try_from(*number).ok(),
        Raw::Text(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok(),
        _ => None,
    }
}

/// `10MiB` → (10, `MiB`).
fn split_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim_start()))
}
