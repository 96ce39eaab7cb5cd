//! Which columns identify a row: the shortest run of leading ones that is unique and never null.

use std::collections::HashMap;

use sync_core::model::{Field, Kind};

use super::columns::Guess;
use super::lines::Lines;
use crate::table::Key;

/// How many leading columns are the key.
///
/// # Errors
/// What stands in the way, as a clause of a sentence.
pub(super) fn width(lines: &Lines, guesses: &[Guess]) -> Result<usize, String> {
    let names = |width: usize| {
        let names: Vec<&str> = guesses[..width].iter().map(|guess| guess.field.name()).collect();
        format!("({})", names.join(", "))
    };
    let mut clash = None;
    for (place, Guess { field, .. }) in guesses.iter().enumerate() {
        if let Some(fault) = unfit(field) {
            return Err(match clash {
                None => format!("the first column {:?} {fault}", field.name()),
                Some((first, second)) => format!(
                    "{} is alike in lines {first} and {second}, and the next column {:?} {fault}",
                    names(place),
                    field.name()
                ),
            });
        }
        clash = twins(lines, place + 1);
        if clash.is_none() {
            return Ok(place + 1);
        }
    }
    let (first, second) = clash.unwrap_or_default();
    Err(format!("lines {first} and {second} are alike in every column"))
}

/// Why a column can't be part of a key.
fn unfit(field: &Field) -> Option<&'static str> {
    match field.kind() {
        _ if field.is_nullable() => Some("is null or missing in some line"),
        Kind::Int | Kind::UInt | Kind::Text | Kind::Bool => None,
        Kind::Decimal { .. } => Some("holds fractions, which do not identify a row reliably"),
        _ => Some("holds nested or mixed values, which do not identify a row"),
    }
}

/// The lines of the first two rows that are alike in this many leading columns.
fn twins(lines: &Lines, width: usize) -> Option<(usize, usize)> {
    let mut seen = HashMap::with_capacity(lines.rows.len());
    lines.rows.iter().zip(&lines.numbers).find_map(|(row, &number)| {
        let key = Key::of(&row[..width]).expect("columns unfit for a key were left out before");
        seen.insert(key, number).map(|earlier| (earlier, number))
    })
}

#[cfg(test)]
mod tests {
    use super::super::columns::guess;
    use super::*;
    use crate::table::Cell;

    fn width_of(columns: &[&str], rows: &str) -> Result<usize, String> {
        let rows: Vec<Vec<Cell>> = serde_json::from_str(rows).expect("a JSON array of rows");
        let lines = Lines {
            columns: columns.iter().map(|&name| name.to_owned()).collect(),
            numbers: (1..=rows.len()).collect(),
            rows,
        };
        width(&lines, &guess(&lines))
    }

    #[test]
    fn one_column_is_the_key_where_it_is_unique() {
        assert_eq!(width_of(&["id", "name"], r#"[[1, "a"], [2, "a"]]"#), Ok(1));
        assert_eq!(width_of(&["code", "name"], r#"[["a", 1], ["A", 1]]"#), Ok(1));
    }

    #[test]
    fn columns_join_the_key_until_it_is_unique() {
        assert_eq!(width_of(&["list", "track"], "[[1, 1], [1, 2], [2, 1]]"), Ok(2));
    }

    #[test]
    fn two_spellings_of_the_same_text_are_one_key() {
        assert_eq!(
            width_of(&["code"], r#"[["\u00e9"], ["é"]]"#),
            Err("lines 1 and 2 are alike in every column".to_owned())
        );
    }

    #[test]
    fn a_column_with_nulls_or_fractions_is_no_part_of_a_key() {
        let error = width_of(&["id", "name"], r#"[[null, "a"], [1, "b"]]"#).expect_err("nulls identify nothing");
        assert_eq!(error, "the first column \"id\" is null or missing in some line");
        let error = width_of(&["id", "price"], "[[1, 0.5], [1, 0.6]]").expect_err("fractions identify nothing");
        assert_eq!(
            error,
            "(id) is alike in lines 1 and 2, and the next column \"price\" holds fractions, which do not identify a row \
             reliably"
        );
    }
}
