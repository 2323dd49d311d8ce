//! What the gateway knows of the database's catalogue: how types print, what functions there are.
//!
//! Read over a connection of its own, swapped in whole, so that readers never wait. Must never be the
//! reason for letting somebody see a row.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;
use tokio_postgres::Client;

use super::control::{self, ControlError};
use super::url::ConnectUrl;
use crate::admit::Gate;
use crate::admit::residue::{Definition, Kind};
use crate::json::value::{ArrayKind, ValueKind};
use crate::observe::{Event, Observer};

/// How often the catalogue is read again, so that functions made while serving become known.
const REFRESH_INTERVAL: Duration = Duration::from_mins(1);
/// A domain over a domain over a domain …: deeper than this is treated as text.
const MAX_DOMAIN_DEPTH: usize = 16;

const TYPES: &str = "
    select t.oid, t.typelem, t.typbasetype, t.typdelim::text,
           t.typoutput::oid = 'pg_catalog.array_out'::regproc::oid as is_array
    from pg_catalog.pg_type t";

/// What admission needs to know; its comments explain the columns.
const DEFINITIONS: &str = include_str!("../../sql/internal/definitions.sql");

/// How values of each type become typed JSON.
#[derive(Debug, Default)]
pub struct TypeCatalog {
    kinds: ArcSwap<HashMap<u32, ValueKind>>,
}

impl TypeCatalog {
    /// The kind of a type; `None` if it was created since the catalogue was last read.
    #[must_use]
    pub fn kind_of(&self, oid: u32) -> Option<ValueKind> {
        scalar_kind(oid).or_else(|| self.kinds.load().get(&oid).cloned())
    }
}

/// Types of `PostgreSQL` itself that JSON has a form for (`pg_type.dat`).
fn scalar_kind(oid: u32) -> Option<ValueKind> {
    match oid {
        16 => Some(ValueKind::Bool),
        21 | 23 => Some(ValueKind::Integer),
        700 | 701 => Some(ValueKind::Float),
        114 | 3802 => Some(ValueKind::Json),
        _ => None,
    }
}

/// The catalogue as this process knows it.
#[derive(Debug)]
pub struct Catalog {
    url: ConnectUrl,
    observer: Observer,
    client: Mutex<Option<Client>>,
    /// How types print.
    pub types: TypeCatalog,
    gate: Arc<Gate>,
}

impl Catalog {
    /// Connects and reads everything once. The gate learns what the catalogue says, now and later.
    pub async fn load(
        url: ConnectUrl,
        gate: Arc<Gate>,
        observer: Observer,
    ) -> Result<Arc<Self>, ControlError> {
        let catalog = Arc::new(Self {
            url,
            observer,
            client: Mutex::new(None),
            types: TypeCatalog::default(),
            gate,
        });
        catalog.refresh().await?;
        Ok(catalog)
    }

    /// Reads the catalogue again every minute for as long as somebody holds it.
    pub fn spawn_refresher(self: &Arc<Self>) {
        let weak = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(REFRESH_INTERVAL).await;
                let Some(catalog) = weak.upgrade() else { return };
                catalog.refresh_or_report().await;
            }
        });
    }

    /// Reads the catalogue now; on a failure what is known stays in force.
    pub async fn refresh_or_report(&self) {
        if let Err(error) = self.refresh().await {
            self.observer.emit(&Event::CatalogRefreshFailed { reason: error.to_string() });
        }
    }

    /// Reads the catalogue now. Callers that come together share one connection, one after the other.
    pub async fn refresh(&self) -> Result<(), ControlError> {
        let mut slot = self.client.lock().await;
        let client = match slot.take() {
            Some(client) if !client.is_closed() => client,
            _ => control::connect(&self.url).await?,
        };
        // Without named statements: there may be a pooler on the way.
        let types = client.query_typed(TYPES, &[]).await?;
        self.types.kinds.store(Arc::new(kinds(&types)));
        let definitions = client.query_typed(DEFINITIONS, &[]).await?;
        self.gate.learn(definitions.iter().filter_map(definition).collect());
        *slot = Some(client);
        Ok(())
    }
}

/// A row of [`DEFINITIONS`].
fn definition(row: &tokio_postgres::Row) -> Option<Definition> {
    let kind = match row.get(0) {
        "builtin" => Kind::Builtin,
        "codec" => Kind::Codec,
        "sequence" => Kind::Sequence,
        "function" => Kind::Function,
        "trigger" => Kind::Trigger,
        "relation" => Kind::Relation,
        "type" => Kind::Type,
        "implicit" => Kind::Implicit,
        _ => return None,
    };
    Some(Definition {
        kind,
        name: row.get(1),
        language: row.get(2),
        volatile: row.get(3),
        extension: row.get(4),
        code: row.get(5),
    })
}

/// A row of [`TYPES`].
struct TypeRow {
    element: u32,
    base: u32,
    delimiter: u8,
    is_array: bool,
}

fn kinds(rows: &[tokio_postgres::Row]) -> HashMap<u32, ValueKind> {
    let types: HashMap<u32, TypeRow> = rows
        .iter()
        .map(|row| {
            let delimiter: String = row.get(3);
            let delimiter = delimiter.bytes().next().unwrap_or(b',');
            (
                row.get::<_, u32>(0),
                TypeRow { element: row.get(1), base: row.get(2), delimiter, is_array: row.get(4) },
            )
        })
        .collect();
    types.keys().map(|oid| (*oid, kind(*oid, &types, 0))).collect()
}

fn kind(oid: u32, types: &HashMap<u32, TypeRow>, depth: usize) -> ValueKind {
    if let Some(kind) = scalar_kind(oid) {
        return kind;
    }
    match types.get(&oid) {
        Some(_) if depth >= MAX_DOMAIN_DEPTH => ValueKind::Text,
        Some(row) if row.is_array => ValueKind::Array(Arc::new(ArrayKind {
            delimiter: types.get(&row.element).map_or(row.delimiter, |element| element.delimiter),
            element: kind(row.element, types, depth + 1),
        })),
        Some(row) if row.base != 0 => kind(row.base, types, depth + 1),
        _ => ValueKind::Text,
    }
}
