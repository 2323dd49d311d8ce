//! What is known of the database's functions and relations, and what was found out about statements with it.

use std::collections::HashSet;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::Verdict;
use super::residue::{Definition, Kind, Residues};

/// Bytes of statements whose verdicts are remembered.
const REMEMBERED_BYTES: u64 = 8 * 1024 * 1024;
/// Statements remembered, if they are short.
const REMEMBERED: usize = 16 * 1024;
/// What remembering a statement costs besides its text, in bytes.
const ENTRY_BYTES: u64 = 128;

/// Functions of the server that are volatile, and that callers may use all the same.
const FREE_FUNCTIONS: [&str; 7] = [
    "random",
    "random_normal",
    "gen_random_uuid",
    "uuidv4",
    "uuidv7",
    "clock_timestamp",
    "timeofday",
];

/// Functions with a system prefix that only compute.
const COMPUTING_FUNCTIONS: [&str; 8] = [
    "pg_typeof",
    "pg_column_size",
    "pg_column_compression",
    "pg_size_pretty",
    "pg_size_bytes",
    "pg_input_is_valid",
    "pg_input_error_info",
    "pg_collation_for",
];

/// Families of the server's functions that show other sessions, the server or its files, or take locks; not
/// all of them are volatile.
const SERVER_PREFIXES: [&str; 6] = ["pg_", "lo_", "txid_", "binary_upgrade_", "to_reg", "fmgr_"];

/// Single functions that show settings, addresses, and names from the catalogue.
const SERVER_FUNCTIONS: [&str; 19] = [
    "acldefault",
    "aclcontains",
    "aclexplode",
    "aclinsert",
    "aclitemin",
    "aclitemout",
    "aclremove",
    "col_description",
    "current_setting",
    "format_type",
    "inet_client_addr",
    "inet_client_port",
    "inet_server_addr",
    "inet_server_port",
    "makeaclitem",
    "obj_description",
    "oidvectortypes",
    "row_security_active",
    "shobj_description",
];

/// Families of functions of extensions that show as much, connect elsewhere, or run SQL from a string.
const EXTENSION_PREFIXES: [&str; 6] =
    ["pg_", "dblink", "postgres_fdw", "crosstab", "connectby", "xpath_table"];

/// Types whose input looks names up in the catalogue, whoever may see them; as functions, too. The names
/// of text search configurations are no secret, and full-text search needs them.
const LOOKUP_TYPES: [&str; 10] = [
    "aclitem",
    "regclass",
    "regcollation",
    "regnamespace",
    "regoper",
    "regoperator",
    "regproc",
    "regprocedure",
    "regrole",
    "regtype",
];

/// The database's functions and relations, as admission sees them.
#[derive(Debug)]
pub struct Knowledge {
    definitions: Vec<Definition>,
    builtins: HashSet<Box<str>>,
    volatile: HashSet<Box<str>>,
    codecs: HashSet<Box<str>>,
    sequences: HashSet<Box<str>>,
    /// What objects leave behind.
    pub residues: Residues,
    /// Verdicts that rest on this knowledge, by the statement's text.
    pub verdicts: Cache<Box<str>, Verdict, ByLength>,
}

impl Default for Knowledge {
    /// Knows nothing: every function of the server is one that nobody has heard of.
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Knowledge {
    /// Works out what follows from the database's definitions.
    #[must_use]
    pub fn new(definitions: Vec<Definition>) -> Self {
        let names = |wanted: fn(&&Definition) -> bool| {
            definitions.iter().filter(wanted).map(|d| d.name.as_str().into()).collect()
        };
        Self {
            builtins: names(|d| d.kind == Kind::Builtin),
            volatile: names(|d| d.kind == Kind::Builtin && d.volatile),
            codecs: names(|d| d.kind == Kind::Codec),
            sequences: names(|d| d.kind == Kind::Sequence),
            residues: Residues::of(&definitions),
            verdicts: Cache::with_weighter(REMEMBERED, REMEMBERED_BYTES, ByLength),
            definitions,
        }
    }

    /// Whether it follows from these definitions.
    #[must_use]
    pub fn rests_on(&self, definitions: &[Definition]) -> bool {
        self.definitions == definitions
    }

    /// Whether the server has a function of this name.
    #[must_use]
    pub fn is_builtin(&self, function: &str) -> bool {
        self.builtins.contains(function)
    }

    /// Whether a function of the server, or of an extension that reaches as far, is kept from callers.
    #[must_use]
    pub fn is_system_function(&self, name: &str) -> bool {
        if FREE_FUNCTIONS.contains(&name) || COMPUTING_FUNCTIONS.contains(&name) {
            return false;
        }
        let of_server = || {
            self.volatile.contains(name)
                || self.codecs.contains(name)
                || SERVER_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
                || SERVER_FUNCTIONS.contains(&name)
                || name.contains("_to_xml")
                || (name.starts_with("has_") && name.ends_with("_privilege"))
        };
        LOOKUP_TYPES.contains(&name) || reaches_far(name) || (self.is_builtin(name) && of_server())
    }

    /// Whether selecting a field of this name may call such a function: `(x).f` is `f(x)`, if there is
    /// one.
    #[must_use]
    pub fn may_call_system_function(&self, field: &str) -> bool {
        let exists = || self.is_builtin(field) || self.residues.get(field).is_some();
        self.is_system_function(field) && (LOOKUP_TYPES.contains(&field) || exists())
    }

    /// Whether a relation of this name is one of the system's, or a sequence.
    #[must_use]
    pub fn is_system_relation(&self, name: &str) -> bool {
        name.starts_with("pg_") || self.sequences.contains(name)
    }
}

/// Types of values, not of rows, in spite of their names.
const PLAIN_TYPES: [&str; 2] = ["pg_lsn", "pg_snapshot"];

/// Whether a function is one of those that are refused in whatever schema they are.
#[must_use]
pub fn reaches_far(function: &str) -> bool {
    EXTENSION_PREFIXES.iter().any(|prefix| function.starts_with(prefix))
}

/// Whether values of this type are looked up in the catalogue.
#[must_use]
pub fn is_lookup_type(name: &str) -> bool {
    // An array's type has an underscore before its element's name.
    let element = name.trim_start_matches('_');
    // The row types of the catalogue's relations have columns of such types.
    let row_of_catalogue = element.starts_with("pg_") && !PLAIN_TYPES.contains(&element);
    LOOKUP_TYPES.contains(&element) || row_of_catalogue
}

/// Whether a schema is the system's. Temporary schemas are: nobody has a temporary object here.
#[must_use]
pub fn is_system_schema(schema: &str) -> bool {
    schema == "information_schema" || schema.starts_with("pg_")
}

/// Long statements take the place of several short ones.
#[derive(Clone, Debug)]
pub struct ByLength;

impl Weighter<Box<str>, Verdict> for ByLength {
    fn weight(&self, text: &Box<str>, _: &Verdict) -> u64 {
        text.len() as u64 + ENTRY_BYTES
    }
}
