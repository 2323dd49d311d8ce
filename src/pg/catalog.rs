//! What the gateway knows of the database's catalogue: how types print, which functions are plain.
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
use crate::admit::Vocabulary;
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

/// Functions whose mention makes a statement suspect: volatile ones, and everything that is not part of
/// PostgreSQL, an extension written in C, or the `auth` schema's readers of claims. The exceptions are
/// volatile but touch nothing (`random`, whose generator goes on where the last caller left it and can be
/// computed from four of its numbers, is none of them) that outlives the transaction; and functions of the kinds that no statement
/// can call, whose names (`system`, `bernoulli`) may well be a column's.
const SUSPECT_FUNCTIONS: &str = "
    select distinct pg_catalog.lower(p.proname)
    from pg_catalog.pg_proc p
    join pg_catalog.pg_namespace n on n.oid = p.pronamespace
    join pg_catalog.pg_language l on l.oid = p.prolang
    where p.prorettype not in (
            'pg_catalog.trigger'::regtype, 'pg_catalog.event_trigger'::regtype,
            'pg_catalog.internal'::regtype, 'pg_catalog.tsm_handler'::regtype,
            'pg_catalog.index_am_handler'::regtype, 'pg_catalog.table_am_handler'::regtype,
            'pg_catalog.language_handler'::regtype, 'pg_catalog.fdw_handler'::regtype)
      and not (p.provolatile <> 'v'
               and (n.nspname = 'pg_catalog' or (l.lanname = 'c' and exists (
                     select from pg_catalog.pg_depend d
                     where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid
                       and d.deptype = 'e'))))
      and not (n.nspname = 'auth' and p.proname in ('session', 'user_id', 'uid', 'jwt'))
      and not (n.nspname = 'pg_catalog'
               and p.proname in ('gen_random_uuid', 'clock_timestamp', 'timeofday', 'nextval'))";

/// Everything that could begin a statement is a keyword.
const KEYWORDS: &str = "select word from pg_catalog.pg_get_keywords()";

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
    vocabulary: ArcSwap<Vocabulary>,
}

impl Catalog {
    /// Connects and reads everything once.
    pub async fn load(url: ConnectUrl, observer: Observer) -> Result<Arc<Self>, ControlError> {
        let catalog = Arc::new(Self {
            url,
            observer,
            client: Mutex::new(None),
            types: TypeCatalog::default(),
            vocabulary: ArcSwap::default(),
        });
        catalog.refresh().await?;
        Ok(catalog)
    }

    /// The words that make a statement suspect.
    #[must_use]
    pub fn vocabulary(&self) -> arc_swap::Guard<Arc<Vocabulary>> {
        self.vocabulary.load()
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
        let names = client.query_typed(SUSPECT_FUNCTIONS, &[]).await?;
        let keywords = client.query_typed(KEYWORDS, &[]).await?;
        let words = |rows: &'_ [tokio_postgres::Row]| -> Vec<String> {
            rows.iter().map(|row| row.get(0)).collect()
        };
        let (names, keywords) = (words(&names), words(&keywords));
        let vocabulary =
            Vocabulary::new(names.iter().map(String::as_str), keywords.iter().map(String::as_str));
        self.vocabulary.store(Arc::new(vocabulary));
        *slot = Some(client);
        Ok(())
    }
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
