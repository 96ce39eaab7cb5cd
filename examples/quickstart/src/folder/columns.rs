//! What each column holds, judged by all its values.

use serde_json::value::RawValue;
use sync_core::model::{Field, Kind};

use super::lines::Lines;
use crate::table::{Shape, shape};

/// The most digits a decimal column keeps.
const MOST_DIGITS: i64 = 38;

/// What is known of a column once every value has been seen.
#[derive(Debug)]
pub(super) struct Guess {
    pub(super) field: Field,
    /// Values that mean something to a machine (dates, addresses), although they are text.
    formatted: bool,
}

/// The columns of a file: whole numbers, exact decimals, true or false, text; whatever is nested or of several kinds
/// stays JSON. Dates and times stay the text they are.
pub(super) fn guess(lines: &Lines) -> Vec<Guess> {
    let mut seen = vec![Seen::default(); lines.columns.len()];
    for row in &lines.rows {
        for (seen, cell) in seen.iter_mut().zip(row) {
            seen.add(cell);
        }
    }
    let guess = |(name, seen): (&String, &Seen)| {
        let field = Field::new(name.as_str(), seen.kind());
        Guess { field: if seen.nulls { field } else { field.required() }, formatted: seen.formatted }
    };
    lines.columns.iter().zip(&seen).map(guess).collect()
}

/// The columns worth changing for show: plain words if there are any, else amounts, and references only at the last.
pub(super) fn editable(guesses: &[Guess], key_width: usize) -> Vec<usize> {
    let rank = |guess: &Guess| match guess.field.kind() {
        Kind::Text if !guess.formatted => 0,
        Kind::Decimal { .. } => 1,
        Kind::Bool => 2,
        Kind::Int | Kind::UInt if !guess.field.name().to_lowercase().ends_with("id") => 3,
        Kind::Json => 4,
        Kind::Text => 5,
        _ => 6,
    };
    let others = guesses.iter().enumerate().skip(key_width);
    let best = others.clone().map(|(_, guess)| rank(guess)).min();
    others.filter(|(_, guess)| Some(rank(guess)) == best).map(|(place, _)| place).collect()
}

#[derive(Debug, Clone, Default)]
struct Seen {
    nulls: bool,
    bools: bool,
    text: bool,
    formatted: bool,
    nested: bool,
    numbers: Option<Numbers>,
}

impl Seen {
    fn add(&mut self, cell: &RawValue) {
        match shape(cell) {
            Shape::Null => self.nulls = true,
            Shape::Bool => self.bools = true,
            Shape::Object | Shape::Array => self.nested = true,
            Shape::Text => {
                self.text = true;
                self.formatted |= is_formatted(cell.get());
            }
            Shape::Number => {
                let number = Numbers::of(cell.get());
                self.numbers = Some(self.numbers.map_or(number, |others| others.and(number)));
            }
        }
    }

    fn kind(&self) -> Kind {
        match (self.nested, self.text, self.bools, self.numbers) {
            (false, false, false, Some(numbers)) => numbers.kind(),
            (false, false, true, None) => Kind::Bool,
            // A column of nothing but nulls can hold anything; text is the least surprising.
            (false, _, false, None) => Kind::Text,
            _ => Kind::Json,
        }
    }
}

/// Whether a JSON string begins like an ISO date, or holds an address.
fn is_formatted(token: &str) -> bool {
    let digits = |range: std::ops::Range<usize>| token.as_bytes()[range].iter().all(u8::is_ascii_digit);
    let date = token.len() >= 12 && digits(1..5) && &token.as_bytes()[5..6] == b"-" && digits(6..8);
    date || token.contains('@') || token.contains("://")
}

/// What a column must have room for to hold these numbers exactly.
#[derive(Debug, Clone, Copy)]
struct Numbers {
    /// Digits before the point, at least one; and after it.
    before: i64,
    after: i64,
    fraction: bool,
    /// Whether all fit into 64 bits, with a sign and without.
    signed: bool,
    unsigned: bool,
}

impl Numbers {
    /// The room one number takes, by its digits alone: it is never turned into a float.
    fn of(token: &str) -> Self {
        let plain = token.trim_start_matches('-');
        let (mantissa, exponent) = plain.split_once(['e', 'E']).unwrap_or((plain, "0"));
        let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        // An exponent beyond 64 bits is beyond every column, too.
        let shift = exponent.parse::<i64>().unwrap_or(i64::from(i32::MAX)).clamp(-100_000, 100_000);
        let digits = format!("{whole}{part}");
        let leading = digits.len() - digits.trim_start_matches('0').len();
        let length = |text: &str| i64::try_from(text.len()).expect("a line is shorter than that");
        let before = if leading == digits.len() { 1 } else { length(whole) + shift - length(&digits[..leading]) };
        Self {
            before: before.max(1),
            after: (length(part) - shift).max(0),
            fraction: plain.contains(['.', 'e', 'E']),
            signed: token.parse::<i64>().is_ok(),
            unsigned: token.parse::<u64>().is_ok(),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            before: self.before.max(other.before),
            after: self.after.max(other.after),
            fraction: self.fraction || other.fraction,
            signed: self.signed && other.signed,
            unsigned: self.unsigned && other.unsigned,
        }
    }

    fn kind(self) -> Kind {
        let digits = self.before + self.after;
        match (u8::try_from(digits), u8::try_from(self.after)) {
            _ if self.signed && !self.fraction => Kind::Int,
            _ if self.unsigned && !self.fraction => Kind::UInt,
            (Ok(precision), Ok(scale)) if digits <= MOST_DIGITS => Kind::Decimal { precision, scale },
            // As JSON they stay exactly what was written.
            _ => Kind::Json,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Cell;

    fn column(values: &str) -> Field {
        let cells: Vec<Cell> = serde_json::from_str(values).expect("a JSON array");
        let lines = Lines {
            columns: vec!["c".into()],
            numbers: (1..=cells.len()).collect(),
            rows: cells.into_iter().map(|cell| vec![cell]).collect(),
        };
        guess(&lines).remove(0).field
    }

    fn kind(values: &str) -> Kind {
        column(values).kind()
    }

    fn decimal(precision: u8, scale: u8) -> Kind {
        Kind::Decimal { precision, scale }
    }

    #[test]
    fn whole_numbers_take_the_narrowest_kind_that_holds_them_all() {
        assert_eq!(kind("[1, -2]"), Kind::Int);
        assert_eq!(kind("[1, 18446744073709551615]"), Kind::UInt);
        assert_eq!(kind("[-1, 18446744073709551615]"), decimal(20, 0));
    }

    #[test]
    fn one_fraction_makes_a_column_decimal_with_room_for_every_value() {
        assert_eq!(kind("[0.99, 1]"), decimal(3, 2));
        assert_eq!(kind("[1234, 0.5, -7.125]"), decimal(7, 3));
        assert_eq!(kind("[1.50e3]"), decimal(4, 0));
        assert_eq!(kind("[25e-3]"), decimal(4, 3));
        assert_eq!(kind("[0.001]"), decimal(4, 3));
        assert_eq!(kind("[0e9]"), decimal(1, 0));
    }

    #[test]
    fn numbers_with_more_digits_than_a_decimal_keeps_stay_json() {
        assert_eq!(kind("[1e400]"), Kind::Json);
        assert_eq!(kind("[1e-99999999999999999999]"), Kind::Json);
        assert_eq!(kind("[0.12345678901234567890123456789012345678]"), Kind::Json);
    }

    #[test]
    fn text_stays_text_even_where_it_looks_like_a_date_or_a_number() {
        assert_eq!(kind(r#"["2021-01-01 00:00:00", "12"]"#), Kind::Text);
        assert_eq!(kind("[null, null]"), Kind::Text);
    }

    #[test]
    fn nested_and_mixed_values_stay_json() {
        assert_eq!(kind(r#"[{"a": 1}, null]"#), Kind::Json);
        assert_eq!(kind(r#"[1, "one"]"#), Kind::Json);
        assert_eq!(kind("[true, 1]"), Kind::Json);
    }

    #[test]
    fn only_a_column_without_nulls_is_required() {
        assert!(!column("[true, false]").is_nullable());
        assert!(column("[true, null]").is_nullable());
    }

    #[test]
    fn plain_words_are_changed_before_amounts_and_references_last() {
        let pick = |columns: &[(&'static str, Kind, bool)]| {
            let guess = |&(name, kind, formatted)| Guess { field: Field::new(name, kind), formatted };
            editable(&columns.iter().map(guess).collect::<Vec<_>>(), 1)
        };
        let id = ("id", Kind::Int, false);
        let price = ("price", decimal(3, 2), false);
        let date = ("date", Kind::Text, true);
        let album = ("album_id", Kind::Int, false);
        assert_eq!(pick(&[id, album, date, price, ("name", Kind::Text, false)]), [4]);
        assert_eq!(pick(&[id, album, date, price]), [3]);
        assert_eq!(pick(&[id, album]), [1]);
        assert!(pick(&[id]).is_empty());
    }

    #[test]
    fn dates_and_addresses_are_known_by_their_form() {
        assert!(is_formatted("\"2021-01-01 00:00:00\""));
        assert!(is_formatted("\"a@example.com\""));
        assert!(!is_formatted("\"Ænima\""));
        assert!(!is_formatted("\"90’s Music\""));
    }
}
