//! Hashes of what stands in a row.

use crate::model::{Row, Schema, ValueRef, canonical};

/// Bytes kept of a hash of a row. Two rows that differ share them with a chance of 2^-128.
pub(super) const ROW_HASH: usize = 16;
/// Bytes kept of a hash of one field, which only says *where* a row differs.
pub(super) const FIELD_HASH: usize = 8;

/// The hash of the columns that are looked at, each under its name: a renamed column is another one.
pub(super) fn of_row(row: Row<'_>, looks_at: impl Fn(&str) -> bool) -> [u8; ROW_HASH] {
    let mut bytes = Vec::with_capacity(32 * row.schema().width());
    for (field, value) in row.schema().fields().iter().zip(row.values()) {
        if looks_at(field.name()) {
            named(field.name(), value, &mut bytes);
        }
    }
    first(&bytes)
}

/// The hash of every column in schema order.
pub(super) fn of_fields(row: Row<'_>) -> impl Iterator<Item = [u8; FIELD_HASH]> {
    let schema: &Schema = row.schema();
    schema.fields().iter().zip(row.values()).map(|(field, value)| {
        let mut bytes = Vec::with_capacity(32);
        named(field.name(), value, &mut bytes);
        first(&bytes)
    })
}

fn named(name: &str, value: ValueRef<'_>, bytes: &mut Vec<u8>) {
    canonical::encode(ValueRef::Text(name), bytes);
    canonical::encode(value, bytes);
}

/// The first bytes of BLAKE3: any part of its output is as good as any other of that length.
fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut kept = [0; N];
    kept.copy_from_slice(&blake3::hash(bytes).as_bytes()[..N]);
    kept
}
