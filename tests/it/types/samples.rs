//! Sample values for every type, and the types that can have none.

use super::Type;

/// What is known about a type's values.
pub enum Sampled {
    /// Literals.
    Values(Vec<String>),
    /// There cannot be any; [`EXCLUDED`] says why.
    Excluded,
    /// Nobody has thought of this type yet.
    Unknown,
}

/// The samples of `kind`: its own, an enum's labels, or those of a domain's base.
pub fn samples_of(kind: &Type) -> Sampled {
    if EXCLUDED.iter().any(|(name, _)| *name == kind.name) {
        return Sampled::Excluded;
    }
    if !kind.labels.is_empty() {
        return Sampled::Values(kind.labels.clone());
    }
    let own = |name: &str| SAMPLES.iter().find(|(names, _)| names.contains(&name));
    let found = own(&kind.name).or_else(|| if kind.kind == "d" { own(&kind.base) } else { None });
    found.map_or(Sampled::Unknown, |(_, values)| {
        Sampled::Values(values.iter().map(|value| (*value).to_owned()).collect())
    })
}

const INPUT_REFUSED: &str = "its input function refuses every text: only the server makes values";

/// Types without a value that a client could write.
const EXCLUDED: &[(&str, &str)] = &[
    ("pg_node_tree", INPUT_REFUSED),
    ("pg_ndistinct", INPUT_REFUSED),
    ("pg_dependencies", INPUT_REFUSED),
    ("pg_mcv_list", INPUT_REFUSED),
    ("pg_brin_bloom_summary", INPUT_REFUSED),
    ("pg_brin_minmax_multi_summary", INPUT_REFUSED),
    ("gtsvector", INPUT_REFUSED),
    ("ghstore", INPUT_REFUSED),
    ("ltree_gist", INPUT_REFUSED),
];

/// Everything that quoting and escaping could stumble over.
const TEXTS: &[&str] = &[
    "plain",
    "",
    " ",
    "NULL",
    "null",
    "{}",
    "{a,b}",
    "a,b;c",
    "it's \"quoted\" \\ and \\\\",
    "tab\tline\nreturn\rbell\u{7}",
    "é ü 漢字 🐘 \u{2028} \u{7f}",
    "[0:1]={1,2}",
    "(1,2)",
    "</script>",
];

/// By name; a domain without an entry has its base's.
const SAMPLES: &[(&[&str], &[&str])] = &[
    (&["bool"], &["true", "false"]),
    (&["bytea"], &[r"\x00ff5c22", r"\x", "abc"]),
    (&["char"], &["a", "\"", "\\", ",", ""]),
    (&["text", "varchar", "bpchar", "citext", "character_data", "refcursor"], TEXTS),
    (&["name", "sql_identifier"], &["todos", "a b", "\"q\"", "a,b", "é"]),
    (&["int2", "small", "smaller"], &["0", "-32768", "32767"]),
    (&["int4"], &["0", "-2147483648", "2147483647"]),
    (&["cardinal_number"], &["0", "2147483647"]),
    (&["int8"], &["0", "-9223372036854775808", "9223372036854775807"]),
    (
        &["numeric"],
        &[
            "0",
            "-0.00",
            "1.50",
            "NaN",
            "123456789012345678901234567890.123456789012345678901234567890",
            "1e-30",
        ],
    ),
    (&["positive"], &["0.001", "1e30"]),
    (&["float4"], &["0", "-0", "0.1", "3.4028235e38", "1e-45", "NaN", "Infinity", "-Infinity"]),
    (
        &["float8"],
        &[
            "0",
            "-0",
            "0.1",
            "1.7976931348623157e308",
            "5e-324",
            "1e21",
            "NaN",
            "Infinity",
            "-Infinity",
        ],
    ),
    (&["money"], &["1.23", "-1234567.89"]),
    (&["oid"], &["0", "4294967295"]),
    (&["xid"], &["0", "4294967295"]),
    (&["cid"], &["0", "4294967295"]),
    (&["xid8"], &["0", "18446744073709551615"]),
    (&["tid"], &["(0,1)", "(4294967295,65535)"]),
    (&["int2vector", "oidvector"], &["1 2 3", ""]),
    (&["regclass"], &["pg_class", "todos", "-"]),
    (&["regproc"], &["pg_backend_pid", "-"]),
    (&["regprocedure"], &["abs(integer)", "-"]),
    (&["regoper"], &["||/", "0"]),
    (&["regoperator"], &["+(integer,integer)", "0"]),
    (&["regtype"], &["integer", "\"Odd Name\"", "timestamp with time zone[]"]),
    (&["regcollation"], &["\"C\"", "\"POSIX\""]),
    (&["regrole"], &["anonymous", "authenticated"]),
    (&["regnamespace"], &["public", "pg_catalog"]),
    (&["regconfig"], &["english", "simple"]),
    (&["regdictionary"], &["simple", "english_stem"]),
    (&["regdatabase"], &["template1"]),
    (
        &["json"],
        &[
            r#"{"a": [1, 2.50, null], "b":"x\"y\\z"}"#,
            "[]",
            r#""text""#,
            "null",
            "1e400",
            "{\"b\":1,\n  \"b\":2}",
            "true",
        ],
    ),
    (
        &["jsonb", "document"],
        &[
            r#"{"a": [1, 2.50, null], "b": "x\"y\\z,{}"}"#,
            "[]",
            r#""text""#,
            "null",
            "123456789012345678901234567890.10",
            "false",
        ],
    ),
    (&["jsonpath"], &["$.a[*] ? (@ > 1)", "strict $"]),
    (&["xml"], &["<a b=\"c\">d &amp; e</a>", "<x/>"]),
    (&["uuid"], &["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "00000000-0000-0000-0000-000000000000"]),
    (&["date"], &["2026-01-02", "infinity", "-infinity", "0044-03-15 BC", "5874897-12-31"]),
    (&["time"], &["00:00", "23:59:59.999999", "24:00"]),
    (&["timetz"], &["00:00+00", "23:59:59.999999-07:30"]),
    (&["timestamp"], &["2026-01-02 03:04:05.678901", "infinity", "0044-03-15 00:00 BC"]),
    (&["timestamptz"], &["2026-01-02 03:04:05.678901+05:30", "-infinity", "0044-03-15 00:00 BC"]),
    (&["time_stamp"], &["2026-01-02 03:04:05.67+00"]),
    (&["yes_or_no"], &["YES", "NO"]),
    (&["interval"], &["1 year -2 mons 3 days -04:05:06.789", "0", "1 day"]),
    (&["point"], &["(1,-2.5)", "(1e300,NaN)"]),
    (&["line"], &["{1,-1,0}"]),
    (&["lseg"], &["[(0,0),(1,1)]"]),
    (&["box"], &["(1,1),(0,0)", "(2,2),(1,1)"]),
    (&["path"], &["((0,0),(1,1))", "[(0,0),(1,1)]"]),
    (&["polygon"], &["((0,0),(1,1),(1,0))"]),
    (&["circle"], &["<(0,0),1.5>"]),
    (&["inet"], &["192.168.0.1/24", "::1", "10.0.0.1"]),
    (&["cidr"], &["192.168.0.0/24", "2001:db8::/32"]),
    (&["macaddr"], &["08:00:2b:01:02:03"]),
    (&["macaddr8"], &["08:00:2b:01:02:03:04:05"]),
    (&["bit", "varbit"], &["101", "0"]),
    (&["tsvector"], &["a:1A fat:2B,4C 'it''s':3", ""]),
    (&["tsquery"], &["'fat' & !'rat' | 'a b'", ""]),
    (&["txid_snapshot", "pg_snapshot"], &["10:20:10,14,15", "1:1:"]),
    (&["pg_lsn"], &["0/0", "FFFFFFFF/FFFFFFFF"]),
    (&["aclitem"], &["authenticated=r/authenticated", "=r*/authenticated"]),
    (&["int4range", "int8range"], &["[1,5)", "empty", "(,)", "[3,]"]),
    (&["numrange", "float8range"], &["[1.5,2.5]", "empty", "(,0)"]),
    (&["daterange"], &["[2026-01-01,2026-02-01)", "empty"]),
    (&["tsrange"], &["[\"2026-01-01 00:00\",\"2026-01-02 00:00\")", "empty"]),
    (&["tstzrange"], &["[\"2026-01-01 00:00+00\",\"2026-01-02 00:00+02\")", "empty"]),
    (&["moodrange"], &["[ok,\"a,b\"]", "empty"]),
    (&["int4multirange", "int8multirange"], &["{[1,3),[5,7)}", "{}"]),
    (&["nummultirange", "float8multirange"], &["{[1.5,2.5],(7,)}", "{}"]),
    (&["datemultirange"], &["{[2026-01-01,2026-02-01)}", "{}"]),
    (&["tsmultirange"], &["{[\"2026-01-01 00:00\",\"2026-01-02 00:00\")}", "{}"]),
    (&["tstzmultirange"], &["{[\"2026-01-01 00:00+00\",\"2026-01-02 00:00+02\")}", "{}"]),
    (&["moodmultirange"], &["{[ok,\"a,b\"]}", "{}"]),
    (&["pair", "whole_pair"], &["(1,x)", "(,)", "(-1,\"a \"\"b\"\" \\\\ , c\")"]),
    (&["nested"], &["(\"(1,x)\",\"{\"\"(2,y)\"\",NULL}\",ok)", "(,,)"]),
    (&["flags"], &["{t,NULL,f}", "{}"]),
    (&["moods"], &["{ok,NULL}", "{}"]),
    (&["boxes"], &["{(1,1),(0,0);(2,2),(1,1)}", "{}"]),
    (&["hstore"], &["a=>1, \"b c\"=>NULL, d=>\"x\\\"y\"", ""]),
    (&["ltree"], &["Top.Science.Astronomy", ""]),
    (&["lquery"], &["Top.*{0,2}.Sc*@%|Art", "*"]),
    (&["ltxtquery"], &["Science & !Art*@"]),
];
