//! Another value of the same kind, near enough to the first to be believed.

use serde_json::value::RawValue;
use sync_core::model::Kind;

use crate::table::{Cell, Shape, shape, text_cell, token};

/// Another value for a column of this kind. It differs from the one given and takes no more room.
///
/// Text gains a revision number, the last digit of a number moves by one, true becomes false. Columns of other kinds
/// are never offered for a change.
pub(crate) fn altered(cell: &RawValue, kind: Kind) -> Cell {
    match (shape(cell), kind) {
        (Shape::Null, kind) => token(first_value(kind)),
        (Shape::Bool, _) => token((cell.get() != "true").to_string()),
        (Shape::Number, _) | (Shape::Text, Kind::Decimal { .. }) => token(last_digit_moved(cell.get())),
        (Shape::Text, _) => text_cell(&revised(&text_of(cell))),
        // A change in nested data is shown by what is wrapped around it, so that no number inside is rounded.
        (Shape::Object | Shape::Array, _) => token(wrapped(cell.get())),
    }
}

/// A value where there was none.
fn first_value(kind: Kind) -> String {
    match kind {
        Kind::Bool => "true".to_owned(),
        Kind::Int | Kind::UInt => "1".to_owned(),
        Kind::Decimal { scale: 0, .. } => "1".to_owned(),
        Kind::Decimal { scale, .. } => format!("0.{:0>width$}", 1, width = usize::from(scale)),
        Kind::Json => "[]".to_owned(),
        _ => "\"(rev 1)\"".to_owned(),
    }
}

/// The number with the last digit of its mantissa changed by one; it keeps its length, its sign and its quotes.
fn last_digit_moved(number: &str) -> String {
    let end = number.find(['e', 'E']).unwrap_or(number.len());
    let Some(place) = number[..end].rfind(|c: char| c.is_ascii_digit()) else { return "1".to_owned() };
    // Down, since that can't overflow; but up from 1, lest -1 become -0.
    let moved = match number.as_bytes()[place] {
        b'0' => '1',
        b'1' => '2',
        digit => char::from(digit - 1),
    };
    format!("{}{moved}{}", &number[..place], &number[place + 1..])
}

/// `Oslo` → `Oslo (rev 1)` → `Oslo (rev 2)`.
fn revised(text: &str) -> String {
    let earlier = text.strip_suffix(')').and_then(|open| {
        let (before, number) = open.rsplit_once("(rev ")?;
        Some((before.trim_end(), number.parse::<u32>().ok()?))
    });
    let (before, number) = earlier.unwrap_or((text, 0));
    let space = if before.is_empty() { "" } else { " " };
    format!("{before}{space}(rev {})", number.saturating_add(1))
}

/// `{…}` → `[{…}]` → `{…}`.
fn wrapped(json: &str) -> String {
    match serde_json::from_str::<Vec<Cell>>(json).as_deref() {
        Ok([only]) if matches!(shape(only), Shape::Object | Shape::Array) => only.get().to_owned(),
        _ => format!("[{json}]"),
    }
}

fn text_of(cell: &RawValue) -> String {
    serde_json::from_str(cell.get()).expect("strings are checked when they are read")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alter(json: &str, kind: Kind) -> String {
        let cell: Cell = serde_json::from_str(json).expect("JSON");
        altered(&cell, kind).get().to_owned()
    }

    const MONEY: Kind = Kind::Decimal { precision: 4, scale: 2 };

    #[test]
    fn text_counts_its_revisions() {
        assert_eq!(alter("\"Kraków\"", Kind::Text), "\"Kraków (rev 1)\"");
        assert_eq!(alter("\"Kraków (rev 9)\"", Kind::Text), "\"Kraków (rev 10)\"");
        assert_eq!(alter("\"\"", Kind::Text), "\"(rev 1)\"");
        assert_eq!(alter("\"(rev 1)\"", Kind::Text), "\"(rev 2)\"");
        assert_eq!(alter("\"rev\"", Kind::Text), "\"rev (rev 1)\"");
    }

    #[test]
    fn numbers_move_by_their_last_digit_and_keep_their_room() {
        assert_eq!(alter("0.99", MONEY), "0.98");
        assert_eq!(alter("\"10.00\"", MONEY), "\"10.01\"");
        assert_eq!(alter("1.5e3", MONEY), "1.4e3");
        assert_eq!(alter("-1", Kind::Int), "-2");
        assert_eq!(alter("9", Kind::Int), "8");
        for limit in [i64::MIN, i64::MAX] {
            assert!(alter(&limit.to_string(), Kind::Int).parse::<i64>().is_ok_and(|moved| moved != limit));
        }
        assert!(alter(&u64::MAX.to_string(), Kind::UInt).parse::<u64>().is_ok());
    }

    #[test]
    fn a_null_becomes_a_value_of_the_columns_kind() {
        assert_eq!(alter("null", Kind::Text), "\"(rev 1)\"");
        assert_eq!(alter("null", MONEY), "0.01");
        assert_eq!(alter("null", Kind::Decimal { precision: 9, scale: 0 }), "1");
        assert_eq!(alter("null", Kind::Bool), "true");
    }

    #[test]
    fn nested_values_change_without_touching_what_is_inside() {
        assert_eq!(alter("{\"n\":1.10}", Kind::Json), "[{\"n\":1.10}]");
        assert_eq!(alter("[{\"n\":1.10}]", Kind::Json), "{\"n\":1.10}");
        assert_eq!(alter("[1]", Kind::Json), "[[1]]");
        assert_eq!(alter("true", Kind::Bool), "false");
    }

    #[test]
    fn no_value_stays_what_it_is_however_often_it_changes() {
        for (start, kind) in
            [("\"a\"", Kind::Text), ("1.90", MONEY), ("5", Kind::Int), ("[]", Kind::Json), ("null", MONEY)]
        {
            let mut value = start.to_owned();
            for _ in 0..30 {
                let next = alter(&value, kind);
                assert_ne!(next, value);
                value = next;
            }
        }
    }
}
