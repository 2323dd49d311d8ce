//! The shapes in which a type's values are asked for, and the JSON that each must arrive as.

use serde_json::Value;

use super::Type;

/// One column of a test's query.
pub struct Cell {
    /// The expression.
    pub sql: String,
    /// The type to which its text is cast on the way back.
    pub cast: String,
    /// The typed JSON that must arrive, byte for byte.
    pub json: String,
    /// The type that the field must be announced as.
    pub announced: u32,
}

/// The typed JSON of one value, whose text the server prints as `text`.
fn scalar(base: &str, text: &str) -> String {
    let quoted = || Value::from(text).to_string();
    match base {
        "bool" => (if text == "t" { "true" } else { "false" }).to_owned(),
        "int2" | "int4" | "json" | "jsonb" => text.to_owned(),
        "float4" | "float8" if !text.ends_with(['N', 'y']) => text.to_owned(),
        // Domains over arrays: their samples are written in the same way as JSON would be.
        "_bool" | "_mood" | "_box" => match (base, text) {
            (_, "{}") => "[]".to_owned(),
            (_, "{t,NULL,f}") => "[true,null,false]".to_owned(),
            (_, "{ok,NULL}") => r#"["ok",null]"#.to_owned(),
            (_, "{(1,1),(0,0);(2,2),(1,1)}") => r#"["(1,1),(0,0)","(2,2),(1,1)"]"#.to_owned(),
            other => panic!("no JSON is written down for {other:?}"),
        },
        _ => quoted(),
    }
}

/// Every shape: single values, NULL, and arrays (flat, empty, nested, with other lower bounds).
pub fn cells(kind: &Type, scalars: &[String], texts: &[String]) -> Vec<Cell> {
    let json: Vec<String> = texts.iter().map(|text| scalar(&kind.base, text)).collect();
    let single = |sql: String, json: String| Cell {
        sql,
        cast: kind.sql.clone(),
        json,
        announced: kind.announced,
    };
    let array = |sql: String, json: String| Cell {
        sql,
        cast: format!("{}[]", kind.sql),
        json,
        announced: kind.array,
    };
    let (first, last) = (&scalars[0], &scalars[scalars.len() - 1]);
    let (first_json, last_json) = (&json[0], &json[json.len() - 1]);
    let mut cells: Vec<Cell> =
        scalars.iter().zip(&json).map(|(sql, json)| single(sql.clone(), json.clone())).collect();
    cells.push(single(format!("null::{}", kind.sql), "null".to_owned()));
    let domain_over_array = kind.base.starts_with('_');
    let flat = if domain_over_array {
        // array[…] would take their elements for a second dimension.
        let items: Vec<String> = texts.iter().map(|text| format!("\"{text}\"")).collect();
        format!("'{{{},NULL}}'::{}[]", items.join(","), kind.sql)
    } else {
        // Without the cast, arrays of a domain would be arrays of its base.
        format!("array[{}, null]::{}[]", scalars.join(", "), kind.sql)
    };
    cells.push(array(flat, format!("[{},null]", json.join(","))));
    cells.push(array(format!("'{{}}'::{}[]", kind.sql), "[]".to_owned()));
    cells.push(array(
        format!("array_fill({first}, array[2], array[-3])"),
        format!("[{first_json},{first_json}]"),
    ));
    if !domain_over_array {
        cells.push(array(
            format!("array[[{first}, {last}], [null, {last}]]::{}[]", kind.sql),
            format!("[[{first_json},{last_json}],[null,{last_json}]]"),
        ));
        cells.push(array(
            format!("array_fill({last}, array[1,2,1], array[0,5,7])"),
            format!("[[[{last_json}],[{last_json}]]]"),
        ));
    }
    cells
}

/// The JSON of a flat array, if lists of this type go back in the form in which they arrive: JSON values
/// inside a list lose their quotes, an array's domain looks like a dimension, and box wants another
/// delimiter.
pub fn flat_list<'a>(kind: &Type, cells: &'a [Cell]) -> Option<&'a str> {
    if kind.base.starts_with('_') || matches!(kind.base.as_str(), "json" | "jsonb" | "box") {
        return None;
    }
    cells.iter().find(|cell| cell.sql.starts_with("array[")).map(|cell| cell.json.as_str())
}
