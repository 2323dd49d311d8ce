//! Every type of the server, there and back: what a client gets is what the server prints.
//!
//! Walks `pg_type`, so that a type of a newer server fails here until somebody has looked at it. Expected
//! texts come from the server itself over another client; expected JSON is put together from the texts of
//! single values by the rules of `docs/wire.md`, without reading arrays.

mod samples;
mod shapes;

use hyper::Method;
use rowgate::config::StatementKinds;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::harness::cluster;
use crate::harness::gateway::{TestAnswer, TestGateway};
use samples::{Sampled, samples_of};
use shapes::{Cell, cells, flat_list};

/// Types made by an application, and by extensions that Rowgate knows nothing of.
const APPLICATION_TYPES: &str = r#"
    create extension citext;
    create extension hstore;
    create extension ltree;
    create type mood as enum ('ok', 'so so', 'a,b', 'NULL', '{}', 'it"s\');
    create type "Odd Name" as enum ('x');
    create type pair as (a int4, "B b" text);
    create type nested as (p pair, ps pair[], m mood);
    create domain small as int2;
    create domain smaller as small;
    create domain flags as bool[];
    create domain moods as mood[];
    create domain positive as numeric check (value > 0);
    create domain document as jsonb;
    create domain boxes as box[];
    create domain whole_pair as pair;
    create type float8range as range (subtype = float8);
    create type moodrange as range (subtype = mood);
"#;

/// A type that is to be tested.
#[derive(Debug)]
struct Type {
    name: String,
    /// As it stands in a statement.
    sql: String,
    /// The array type over it.
    array: u32,
    /// What fields of this type are announced as: a domain's base.
    announced: u32,
    kind: String,
    base: String,
    labels: Vec<String>,
}

const TYPES: &str = "
    select t.oid, t.typname, quote_ident(t.typname), t.typarray, t.typtype::text,
           coalesce(array_agg(e.enumlabel::text order by e.enumsortorder) filter (where e.oid is not null), '{}')
    from pg_type t
    left join pg_enum e on e.enumtypid = t.oid
    left join pg_class c on c.oid = t.typrelid
    where t.typtype <> 'p'
      -- Arrays are tested with their elements.
      and t.typoutput <> 'array_out'::regproc
      -- The row types of tables and views are composites like any other.
      and (t.typrelid = 0 or c.relkind = 'c')
    group by t.oid
    order by t.oid";

const BASES: &str = "
    with recursive base as (
      select oid, typbasetype as base from pg_type where typtype = 'd'
      union all
      select base.oid, t.typbasetype from base join pg_type t on t.oid = base.base where t.typtype = 'd')
    select base.oid, base.base, t.typname
    from base join pg_type t on t.oid = base.base where t.typtype <> 'd'";

async fn types(superuser: &Client) -> Vec<Type> {
    let bases = superuser.query(BASES, &[]).await.unwrap();
    let rows = superuser.query(TYPES, &[]).await.unwrap();
    rows.iter()
        .map(|row| {
            let oid: u32 = row.get(0);
            let name: String = row.get(1);
            let base = bases.iter().find(|base| base.get::<_, u32>(0) == oid);
            Type {
                sql: row.get(2),
                array: row.get(3),
                announced: base.map_or(oid, |base| base.get(1)),
                kind: row.get(4),
                base: base.map_or_else(|| name.clone(), |base| base.get(2)),
                labels: row.get(5),
                name,
            }
        })
        .collect()
}

struct World {
    gateway: TestGateway,
    /// Prints what the server prints.
    server: Client,
}

impl World {
    async fn start() -> Self {
        let database = cluster::fresh_database().await;
        database.superuser().await.batch_execute(APPLICATION_TYPES).await.unwrap();
        let gateway = TestGateway::on(database, |config| {
            // The information schema's domains are found by their bare names, too.
            config.database.search_path = "public, information_schema".to_owned();
            // Types whose values are names of the catalogue are among them.
            config.limits.statements = StatementKinds::All;
        })
        .await;
        let server = gateway.database.superuser().await;
        server
            .batch_execute(
                "set timezone = 'UTC'; set datestyle = 'ISO'; set intervalstyle = 'postgres';
                 set bytea_output = 'hex'; set search_path = public, information_schema",
            )
            .await
            .unwrap();
        Self { gateway, server }
    }

    /// The only row of a query, as the server prints it.
    async fn printed(&self, query: &str) -> Vec<Option<String>> {
        let messages = self.server.simple_query(query).await;
        let messages = messages.unwrap_or_else(|error| panic!("{query}: {error:?}"));
        let row = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let row = row.unwrap_or_else(|| panic!("{query}: no row"));
        (0..row.len()).map(|index| row.get(index).map(str::to_owned)).collect()
    }

    async fn answer(&self, query: &str, params: &[Value], raw: bool) -> TestAnswer {
        let headers: &[_] = if raw { &[("neon-raw-text-output", "true")] } else { &[] };
        let body = json!({"query": query, "params": params, "arrayMode": true}).to_string();
        self.post(headers, body).await
    }

    async fn post(&self, headers: &[(&str, &str)], body: String) -> TestAnswer {
        let answer = self.gateway.send(Method::POST, "/sql", headers, body.clone()).await;
        assert_eq!(answer.status, 200, "{body}: {}", String::from_utf8_lossy(&answer.body));
        answer
    }
}

#[derive(serde::Deserialize)]
struct Rows<'a> {
    #[serde(borrow)]
    rows: Vec<Vec<&'a RawValue>>,
}

/// The values of the only row, byte for byte.
fn values(answer: &TestAnswer) -> Vec<&str> {
    let answer: Rows<'_> = serde_json::from_slice(&answer.body).unwrap();
    answer.rows[0].iter().map(|value| value.get()).collect()
}

#[tokio::test]
async fn every_type_arrives_as_the_server_prints_it_and_goes_back_as_it_came() {
    let world = World::start().await;
    let mut tested = 0;
    let mut unknown = Vec::new();
    for kind in types(&world.server).await {
        match samples_of(&kind) {
            Sampled::Values(values) => {
                check(&world, &kind, &values).await;
                tested += 1;
            }
            Sampled::Excluded => {}
            Sampled::Unknown => unknown.push(kind.name),
        }
    }
    assert_eq!(unknown, Vec::<String>::new(), "types without samples, see types/samples.rs");
    assert!(tested > 90, "only {tested} types were found");
}

/// One type: single values, and all shapes of arrays of them.
async fn check(world: &World, kind: &Type, literals: &[String]) {
    let scalars = literals.iter().map(|literal| cast(literal, &kind.sql)).collect::<Vec<_>>();
    let printed = world.printed(&format!("select {}", scalars.join(", "))).await;
    let texts: Vec<String> = printed.into_iter().map(Option::unwrap).collect();
    let cells = cells(kind, &scalars, &texts);
    let query = cells.iter().map(|cell| cell.sql.as_str()).collect::<Vec<_>>().join(", ");
    let query = format!("select {query}");
    let expected = world.printed(&query).await;

    let raw = world.answer(&query, &[], true).await;
    let as_strings: Vec<String> = expected.iter().map(|text| json!(text).to_string()).collect();
    assert_eq!(values(&raw), as_strings, "raw text of {}", kind.name);
    check_fields(&raw.json(), &cells, &kind.name);

    let typed = world.answer(&query, &[], false).await;
    let by_the_rules: Vec<&str> = cells.iter().map(|cell| cell.json.as_str()).collect();
    assert_eq!(values(&typed), by_the_rules, "typed JSON of {}", kind.name);

    let back = cells.iter().enumerate().map(|(n, cell)| format!("${}::{}", n + 1, cell.cast));
    let back = format!("select {}", back.collect::<Vec<_>>().join(", "));
    let params: Vec<Value> = expected.iter().map(|text| json!(text)).collect();
    let returned = world.answer(&back, &params, true).await;
    assert_eq!(values(&returned), as_strings, "{} as a text parameter", kind.name);

    if let Some(list) = flat_list(kind, &cells) {
        let query = json!(format!("select $1::{}[]", kind.sql));
        let body = format!("{{\"query\":{query},\"params\":[{list}],\"arrayMode\":true}}");
        let returned = world.post(&[], body).await;
        assert_eq!(values(&returned), [list], "{} as a JSON list", kind.name);
    }
}

fn cast(literal: &str, sql: &str) -> String {
    format!("'{}'::{sql}", literal.replace('\'', "''"))
}

fn check_fields(answer: &Value, cells: &[Cell], name: &str) {
    let announced: Vec<u32> = answer["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|field| u32::try_from(field["dataTypeID"].as_u64().unwrap()).unwrap())
        .collect();
    let expected: Vec<u32> = cells.iter().map(|cell| cell.announced).collect();
    assert_eq!(announced, expected, "dataTypeID of {name}");
}

#[tokio::test]
async fn results_that_no_column_can_have_are_answered_too() {
    let world = World::start().await;
    let query = "select row(1, 'a b', null), array[row(1, 'x'), null], pg_notify('c', ''), \
                 '1 2 3'::int2vector, array['1 2', '3']::int2vector[], null::int4[], null, 'untyped'";
    let raw = world.answer(query, &[], true).await;
    assert_eq!(
        raw.rows(),
        json!([[
            "(1,\"a b\",)",
            "{\"(1,x)\",NULL}",
            "",
            "1 2 3",
            "{\"1 2\",3}",
            null,
            null,
            "untyped"
        ]])
    );
    let typed = world.answer(query, &[], false).await;
    assert_eq!(
        typed.rows(),
        json!([[
            "(1,\"a b\",)",
            ["(1,x)", null],
            "",
            "1 2 3",
            ["1 2", "3"],
            null,
            null,
            "untyped"
        ]])
    );
}

#[tokio::test]
async fn numbers_keep_every_digit_in_both_directions() {
    let world = World::start().await;
    let digits = "1234567890".repeat(100);
    let numbers = [
        ("int8", "9223372036854775807".to_owned()),
        ("int8", "-9223372036854775808".to_owned()),
        ("numeric", digits.clone()),
        ("numeric", format!("-{digits}")),
        ("numeric", format!("0.{digits}")),
        ("numeric", format!("{}.{}", &digits[..500], &digits[..500])),
        ("float8", "1.7976931348623157e+308".to_owned()),
        ("float8", "5e-324".to_owned()),
        ("float8", "0.1".to_owned()),
        ("float4", "3.4028235e+38".to_owned()),
        ("int4", "-2147483648".to_owned()),
        ("int2", "32767".to_owned()),
    ];
    for (name, number) in &numbers {
        // As a number, not as a string: that the digits survive is the point.
        let body = format!(
            "{{\"query\":\"select $1::{name}, $2::{name}[]\",\"params\":[{number},[{number},null]],\"arrayMode\":true}}"
        );
        let answer = world.post(&[], body).await;
        let quoted = matches!(*name, "int8" | "numeric");
        let expected = if quoted { format!("\"{number}\"") } else { number.clone() };
        assert_eq!(values(&answer), [expected.clone(), format!("[{expected},null]")], "{name}");
    }
}
