//! `RowDescription` → what answers need of it, made once per prepared statement.

use std::io::Write as _;
use std::sync::Arc;

use super::PgError;
use super::catalog::TypeCatalog;
use super::frame::Reader;
use crate::json::value::ValueKind;
use crate::json::write_string;

/// The columns of a statement's result.
#[derive(Debug, Default)]
pub struct Description {
    /// In the order of the select list.
    pub columns: Box<[Column]>,
    /// The `fields` member of the answer, ready to be copied.
    pub fields_json: Box<[u8]>,
    /// Types whose output form the catalogue did not know when this was made.
    pub unknown_types: Box<[u32]>,
}

/// One column.
#[derive(Debug)]
pub struct Column {
    /// `"name":`, escaped, for rows as objects.
    pub key_json: Box<[u8]>,
    /// How its values become typed JSON.
    pub kind: ValueKind,
}

/// A column as the message gives it.
struct RawColumn<'a> {
    name: &'a [u8],
    table: u32,
    number: i16,
    type_oid: u32,
    type_size: i16,
    type_modifier: i32,
}

impl Description {
    /// What a statement without a result has: no columns.
    #[must_use]
    pub fn none() -> Arc<Self> {
        Arc::new(Self { fields_json: Box::from(*b"[]"), ..Self::default() })
    }

    /// Reads the body of a `RowDescription`.
    pub fn parse(body: &[u8], types: &TypeCatalog) -> Result<Self, PgError> {
        let mut reader = Reader::new(body);
        let count = reader.count()?;
        let mut columns = Vec::with_capacity(count);
        let mut unknown = Vec::new();
        let mut fields = vec![b'['];
        for index in 0..count {
            let raw = RawColumn::read(&mut reader)?;
            if index > 0 {
                fields.push(b',');
            }
            raw.write_field(&mut fields);
            let kind = types.kind_of(raw.type_oid).unwrap_or_else(|| {
                unknown.push(raw.type_oid);
                ValueKind::Text
            });
            columns.push(Column { key_json: raw.key(), kind });
        }
        fields.push(b']');
        Ok(Self {
            columns: columns.into(),
            fields_json: fields.into(),
            unknown_types: unknown.into(),
        })
    }
}

impl<'a> RawColumn<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, PgError> {
        let column = Self {
            name: reader.cstr()?,
            table: reader.oid()?,
            number: reader.i16()?,
            type_oid: reader.oid()?,
            type_size: reader.i16()?,
            type_modifier: reader.i32()?,
        };
        let _format = reader.i16()?;
        Ok(column)
    }

    fn key(&self) -> Box<[u8]> {
        let mut key = Vec::with_capacity(self.name.len() + 3);
        write_string(&String::from_utf8_lossy(self.name), &mut key);
        key.push(b':');
        key.into()
    }

    fn write_field(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"name\":");
        write_string(&String::from_utf8_lossy(self.name), out);
        // Writing into a Vec cannot fail.
        let _ = write!(
            out,
            ",\"dataTypeID\":{},\"tableID\":{},\"columnID\":{},\"dataTypeSize\":{},\"dataTypeModifier\":{},\"format\":\"text\"}}",
            self.type_oid, self.table, self.number, self.type_size, self.type_modifier,
        );
    }
}
