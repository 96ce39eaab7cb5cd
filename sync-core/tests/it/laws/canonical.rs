//! The canonical form is the same for equal values and different for different ones.

use proptest::prelude::*;
use sync_core::model::canonical;
use sync_core::{Value, ValueRef};

use super::fixture::{Cells, any_row, any_value, kinds, respelled};
use super::{Law, catches, ensure, holds};

type Encoding = fn(ValueRef<'_>, &mut Vec<u8>);

fn encoded(encoding: Encoding, values: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::new();
    values.iter().for_each(|value| encoding(value.as_ref(), &mut bytes));
    bytes
}

/// Equal bytes exactly for equal lists of values, whatever their lengths.
fn is_faithful(encoding: Encoding, (a, b): &(Cells, Cells)) -> Law {
    let (equal, same_bytes) = (a == b, encoded(encoding, a) == encoded(encoding, b));
    ensure(!equal || same_bytes, "equal values have different bytes")?;
    ensure(equal || !same_bytes, "different values have the same bytes")
}

/// No row of a stream begins with the bytes of another one, so rows may stand behind each other.
fn is_prefix_free(encoding: Encoding, (a, b): &(Cells, Cells)) -> Law {
    ensure(a == b || !encoded(encoding, a).starts_with(&encoded(encoding, b)), "one row begins with another")
}

/// Two rows that are unrelated, or equal in other spellings, or different in one column.
fn related_rows() -> impl Strategy<Value = (Cells, Cells)> {
    let spelled = any_row().prop_map(|row| (row.clone(), row.iter().map(respelled).collect()));
    let one_off = (any_row(), any_row(), 0..kinds().schema().width()).prop_map(|(row, other, column)| {
        let mut changed = row.clone();
        changed[column] = other[column].clone();
        (row, changed)
    });
    prop_oneof![(any_row(), any_row()), spelled, one_off]
}

/// Two short lists of values of any kinds and lengths: where separators would be needed.
fn short_lists() -> impl Strategy<Value = (Cells, Cells)> {
    let any = prop::sample::select(kinds().schema().fields().to_vec()).prop_flat_map(|field| any_value(field.kind()));
    let text = prop::sample::select(vec!["", "a", "b", "ab", "ba"]).prop_map(Value::from);
    let list = prop::collection::vec(prop_oneof![any, text], 0..4);
    let list = list.boxed();
    (list.clone(), list)
}

#[test]
fn equal_rows_and_only_equal_rows_have_equal_bytes() {
    holds(&related_rows(), |rows| is_faithful(canonical::encode, rows));
}

#[test]
fn values_cannot_run_into_each_other() {
    holds(&short_lists(), |lists| is_faithful(canonical::encode, lists));
}

#[test]
fn no_row_begins_with_another() {
    holds(&related_rows(), |rows| is_prefix_free(canonical::encode, rows));
}

#[test]
fn a_row_is_encoded_as_its_values_in_order() {
    let stream = kinds();
    holds(&any_row(), |cells| {
        let page = super::fixture::page(stream, &[cells]);
        let mut row = Vec::new();
        canonical::encode_row(page.row(0), &mut row);
        ensure(row == encoded(canonical::encode, cells), "a row in a page has other bytes than its values")
    });
}

#[test]
fn hashing_and_ordering_agree_on_what_is_equal() {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let hash = |value: &Value| {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        hasher.finish()
    };
    holds(&related_rows(), |(a, b)| {
        for (a, b) in a.iter().zip(b) {
            ensure((a == b) == a.cmp(b).is_eq(), "`==` and the order disagree")?;
            ensure(a != b || hash(a) == hash(b), "equal values have different hashes")?;
        }
        Ok(())
    });
}

#[test]
fn spellings_of_one_value_share_their_bytes() {
    let pairs: [(Value, Value); 5] = [
        (super::fixture::decimal(150, 2), super::fixture::decimal(15, 1)),
        ((-0.0).into(), 0.0.into()),
        (f64::NAN.into(), f64::from_bits(f64::NAN.to_bits() | 1).into()),
        (7_i64.into(), 7_u64.into()),
        (super::fixture::decimal(0, 0), super::fixture::decimal(0, 5)),
    ];
    for (a, b) in &pairs {
        let bytes = |value| encoded(canonical::encode, std::slice::from_ref(value));
        assert_eq!(bytes(a), bytes(b), "{a}");
    }
}

#[test]
fn an_encoding_without_lengths_is_caught() {
    fn without_lengths(value: ValueRef<'_>, bytes: &mut Vec<u8>) {
        match value {
            ValueRef::Text(text) => bytes.extend_from_slice(text.as_bytes()),
            other => canonical::encode(other, bytes),
        }
    }
    catches(&short_lists(), |lists| is_faithful(without_lengths, lists));
    catches(&related_rows(), |rows| is_prefix_free(without_lengths, rows));
}

#[test]
fn an_encoding_of_raw_floats_is_caught() {
    fn raw_floats(value: ValueRef<'_>, bytes: &mut Vec<u8>) {
        match value {
            ValueRef::Float(v) => bytes.extend(v.to_bits().to_le_bytes()),
            other => canonical::encode(other, bytes),
        }
    }
    catches(&related_rows(), |rows| is_faithful(raw_floats, rows));
}

#[test]
fn an_encoding_of_unscaled_decimals_is_caught() {
    fn unscaled(value: ValueRef<'_>, bytes: &mut Vec<u8>) {
        match value {
            ValueRef::Decimal(v) => bytes.extend(v.serialize()),
            other => canonical::encode(other, bytes),
        }
    }
    catches(&related_rows(), |rows| is_faithful(unscaled, rows));
}
