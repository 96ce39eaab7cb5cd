//! One byte form for each value, the same on every machine and in every release: what hashes are made of.
//!
//! Equal values have equal bytes (`1.50` and `1.5`, `-0.0` and `0.0`, an integer whatever its sign type), unequal
//! values have unequal bytes, and no row is a prefix of another.

use chrono::Datelike;
use rust_decimal::Decimal;

use super::value::plain_zero;
use super::{Row, ValueRef};

/// Adds the bytes of one value.
pub fn encode(value: ValueRef<'_>, out: &mut Vec<u8>) {
    match value {
        ValueRef::Null => out.push(0),
        ValueRef::Bool(v) => out.extend([1, u8::from(v)]),
        ValueRef::Int(v) => fixed(2, &i128::from(v).to_le_bytes()[..9], out),
        ValueRef::UInt(v) => fixed(2, &i128::from(v).to_le_bytes()[..9], out),
        ValueRef::Float(v) => fixed(3, &plain_zero(v).to_bits().to_le_bytes(), out),
        ValueRef::Decimal(v) => decimal(v, out),
        ValueRef::Text(v) => sized(5, v.as_bytes(), out),
        ValueRef::Bytes(v) => sized(6, v, out),
        ValueRef::Timestamp(v) => fixed(7, &v.micros().to_le_bytes(), out),
        ValueRef::Date(v) => fixed(8, &v.num_days_from_ce().to_le_bytes(), out),
        ValueRef::Json(v) => sized(9, v.as_bytes(), out),
    }
}

/// Adds the bytes of a whole row, in schema order.
pub fn encode_row(row: Row<'_>, out: &mut Vec<u8>) {
    for value in row.values() {
        encode(value, out);
    }
}

fn decimal(value: Decimal, out: &mut Vec<u8>) {
    let plain = value.normalize();
    out.push(4);
    out.extend(plain.mantissa().to_le_bytes());
    out.push(plain.scale() as u8);
}

fn fixed(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(bytes);
}

fn sized(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend((bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}
