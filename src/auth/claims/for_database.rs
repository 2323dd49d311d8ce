//! The claims as the database gets them: which ones, under which names, in which bytes.

use std::io;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};
use serde_json::{Map, Value};

use crate::auth::error::AuthError;
use crate::config::{ClaimSelection, TokenRules};

/// What no request can do without: `sub` is what `auth.user_id()` answers, `iss` tells the users of two
/// issuers apart, `exp` says until when any of it holds.
const ALWAYS: [&str; 3] = ["iss", "sub", "exp"];

/// Where the token's own `sub` goes if another claim is the user's id. Only the gateway writes it: a
/// token's claim of this name is left out, so that no issuer can fill it.
const ORIGINAL_SUBJECT: &str = "rowgate_original_sub";

/// The claims as compact JSON in which every non-ASCII character is a `\u` escape, so that the bytes
/// mean the same in every encoding a database can have. Their `sub` is `subject`.
pub(super) fn json(
    claims: &Map<String, Value>,
    subject: &str,
    rules: &TokenRules,
) -> Result<Box<str>, AuthError> {
    let chosen = Chosen { claims, subject, rules };
    let mut bytes = Vec::new();
    chosen
        .serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, AsciiFormatter))
        .map_err(|_| AuthError::Claims("a string in them contains the character U+0000"))?;
    if bytes.len() > rules.claims_bytes {
        return Err(AuthError::ClaimsTooLarge { limit: rules.claims_bytes });
    }
    let text = String::from_utf8(bytes).map_err(|_| AuthError::Claims("they are not text"))?;
    Ok(text.into_boxed_str())
}

/// The claims that reach the database, written without copying one.
struct Chosen<'a> {
    claims: &'a Map<String, Value>,
    subject: &'a str,
    rules: &'a TokenRules,
}

impl Chosen<'_> {
    fn keeps(&self, name: &str) -> bool {
        match &self.rules.claims {
            _ if name == ORIGINAL_SUBJECT => false,
            ClaimSelection::All => true,
            ClaimSelection::Only(names) => {
                ALWAYS.contains(&name) || names.iter().any(|kept| kept == name)
            }
        }
    }
}

impl Serialize for Chosen<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        let kept = |(name, _): &(&String, &Value)| *name != "sub" && self.keeps(name);
        for (name, value) in self.claims.iter().filter(kept) {
            object.serialize_entry(name, value)?;
        }
        object.serialize_entry("sub", self.subject)?;
        if !self.rules.user_id_claim.is("sub")
            && let Some(original) = self.claims.get("sub")
        {
            object.serialize_entry(ORIGINAL_SUBJECT, original)?;
        }
        object.end()
    }
}

/// Writes ASCII only and fails on U+0000, which `PostgreSQL`'s `text` and `jsonb` cannot hold.
struct AsciiFormatter;

impl Formatter for AsciiFormatter {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(start) = rest.find(|character: char| !character.is_ascii()) {
            let (ascii, other) = rest.split_at(start);
            writer.write_all(ascii.as_bytes())?;
            let end = other.find(|character: char| character.is_ascii()).unwrap_or(other.len());
            for unit in other[..end].encode_utf16() {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &other[end..];
        }
        writer.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        if matches!(escape, CharEscape::AsciiControl(0)) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        CompactFormatter.write_char_escape(writer, escape)
    }
}
