//! What an issuer's tokens are held to besides signature, `iss`, `aud` and dates, and what of them the
//! database gets. Knows no provider.

use super::file::Raw;
use super::reader::Reader;
use super::values::{self, Parsed, list, memory_size, names, text};

/// Bytes of the claims that the database gets, at most and by default.
pub const MOST_CLAIMS_BYTES: usize = 16 * 1024;

/// Rules for the tokens of one issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRules {
    /// Of which a token's `azp` must be one; empty: `azp` is not looked at.
    pub authorized_parties: Vec<String>,
    /// Of which a token's `client_id` must be one; empty: `client_id` is not looked at.
    pub client_ids: Vec<String>,
    /// Claims that a token must have, with exactly these values.
    pub required_claims: Vec<RequiredClaim>,
    /// Whether a token without `exp` is refused.
    pub require_exp: bool,
    /// The claim that says who the user is.
    pub user_id_claim: ClaimPath,
    /// What reaches the database.
    pub claims: ClaimSelection,
    /// Bytes of what reaches the database; a token with more is refused.
    pub claims_bytes: usize,
}

impl Default for TokenRules {
    fn default() -> Self {
        Self {
            authorized_parties: Vec::new(),
            client_ids: Vec::new(),
            required_claims: Vec::new(),
            require_exp: true,
            user_id_claim: ClaimPath::name("sub"),
            claims: ClaimSelection::All,
            claims_bytes: MOST_CLAIMS_BYTES,
        }
    }
}

impl TokenRules {
    /// Adds claims that a provider's tokens must have; what is configured of the same name wins.
    pub(super) fn add_required(&mut self, claims: Vec<RequiredClaim>) {
        for claim in claims {
            if !self.required_claims.iter().any(|configured| configured.name == claim.name) {
                self.required_claims.push(claim);
            }
        }
    }
}

/// `name=value`: a claim and the text, number or truth value that it must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequiredClaim {
    /// The claim's name, at the token's top level.
    pub name: String,
    /// Its value; a number or `true` as JSON writes it.
    pub value: String,
}

impl RequiredClaim {
    /// A claim that must have this value.
    #[must_use]
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

/// Which claims reach the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimSelection {
    /// All that the token has.
    All,
    /// Those of these names, and the ones that no request can do without.
    Only(Vec<String>),
}

/// Where a claim stands: a name, taken whole whatever characters it has (`https://app.example/uid`), or,
/// with a slash in front, a JSON pointer (RFC 6901) through objects (`/app_metadata/uid`). So no name can
/// be read in two ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimPath {
    written: String,
    steps: Vec<String>,
}

impl ClaimPath {
    /// A claim at the top level.
    #[must_use]
    pub fn name(name: impl Into<String>) -> Self {
        let name = name.into();
        Self { steps: vec![name.clone()], written: name }
    }

    /// Reads a name or a JSON pointer; none if a step of it is empty or badly escaped.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let Some(pointer) = text.strip_prefix('/') else {
            return (!text.is_empty()).then(|| Self::name(text));
        };
        let steps: Option<Vec<String>> = pointer.split('/').map(unescape).collect();
        Some(Self { written: text.to_owned(), steps: steps? })
    }

    /// As it was configured.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// The names to follow from the token's top level; at least one.
    #[must_use]
    pub fn steps(&self) -> &[String] {
        &self.steps
    }

    /// Whether it is the claim of this name at the top level.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        matches!(self.steps.as_slice(), [only] if only == name)
    }
}

/// RFC 6901 §3: `~1` is a slash, `~0` a tilde, and no other tilde is allowed.
fn unescape(step: &str) -> Option<String> {
    let mut parts = step.split('~');
    let mut name = parts.next()?.to_owned();
    for part in parts {
        let (character, rest) = match part.split_at_checked(1)? {
            ("0", rest) => ('~', rest),
            ("1", rest) => ('/', rest),
            _ => return None,
        };
        name.push(character);
        name.push_str(rest);
    }
    (!name.is_empty()).then_some(name)
}

pub(super) fn read(reader: &mut Reader<'_>, index: usize) -> TokenRules {
    let rules = TokenRules::default();
    TokenRules {
        authorized_parties: reader
            .get("issuer.authorized_parties", index, list)
            .unwrap_or(rules.authorized_parties),
        client_ids: reader.get("issuer.client_ids", index, list).unwrap_or(rules.client_ids),
        required_claims: reader
            .get("issuer.required_claims", index, required_claims)
            .unwrap_or(rules.required_claims),
        require_exp: reader
            .get("issuer.require_exp", index, values::flag)
            .unwrap_or(rules.require_exp),
        user_id_claim: reader
            .get("issuer.user_id_claim", index, claim_path)
            .unwrap_or(rules.user_id_claim),
        claims: reader.get("issuer.claims", index, claim_selection).unwrap_or(rules.claims),
        claims_bytes: reader
            .get("issuer.claims_bytes", index, claims_bytes)
            .unwrap_or(rules.claims_bytes),
    }
}

/// `name=value`, split at the first `=`.
fn required_claims(raw: &Raw) -> Parsed<Vec<RequiredClaim>> {
    const EXPECTED: &str = "expected claims with their values, such as [\"token_use=access\"] (in the \
                            environment: token_use=access,typ=Bearer)";
    let required = |item: &String| match item.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok(RequiredClaim::new(name, value)),
        _ => Err(EXPECTED),
    };
    list(raw).map_err(|_| EXPECTED)?.iter().map(required).collect()
}

fn claim_path(raw: &Raw) -> Parsed<ClaimPath> {
    const EXPECTED: &str = "expected a claim's name, such as sub or https://app.example/uid, or the way to \
                            it, such as /app_metadata/uid";
    ClaimPath::parse(text(raw, EXPECTED)?).ok_or(EXPECTED)
}

fn claim_selection(raw: &Raw) -> Parsed<ClaimSelection> {
    const EXPECTED: &str = "expected all, or the names of claims, such as [\"org_id\", \"email\"] (in the \
                            environment: org_id,email)";
    match raw {
        Raw::Text(word) if word == "all" => Ok(ClaimSelection::All),
        raw => names(raw).map(ClaimSelection::Only).ok_or(EXPECTED),
    }
}

fn claims_bytes(raw: &Raw) -> Parsed<usize> {
    const EXPECTED: &str = "expected a number of bytes up to 16KiB, such as 4KiB";
    memory_size(raw).ok().filter(|bytes| *bytes <= MOST_CLAIMS_BYTES).ok_or(EXPECTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(text: &str) -> Option<Vec<String>> {
        ClaimPath::parse(text).map(|path| path.steps().to_vec())
    }

    #[test]
    fn a_name_is_taken_whole() {
        for name in ["sub", "https://app.example/uid", "a.b", "x~1y", "cognito:username"] {
            assert_eq!(steps(name), Some(vec![name.to_owned()]), "{name}");
        }
    }

    #[test]
    fn a_leading_slash_makes_it_a_json_pointer() {
        let split = |text: &str| steps(text).unwrap().join(" | ");
        assert_eq!(split("/sub"), "sub");
        assert_eq!(split("/app_metadata/uid"), "app_metadata | uid");
        assert_eq!(
            split("/https:~1~1app.example~1claims/u~0id"),
            "https://app.example/claims | u~id"
        );
        assert!(ClaimPath::parse("/sub").unwrap().is("sub"));
    }

    #[test]
    fn empty_steps_and_stray_tildes_are_refused() {
        for text in ["", "/", "//", "/a/", "/a//b", "/a~", "/a~2b", "/~é"] {
            assert_eq!(steps(text), None, "{text:?}");
        }
    }
}
