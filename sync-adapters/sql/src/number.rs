//! Exact decimals as text: one form for each number of a column.
//!
//! SQLite has no decimal type, and a `NUMERIC` column would turn decimals into floats. The text has exactly as many
//! digits after the point as the column declares, so that `1.5` and `1.50` are one value.

use std::cmp::Ordering;

#[cfg(any(feature = "mysql", feature = "postgres"))]
use sync_core::ValueRef;
use sync_core::model::Decimal;

/// The most digits of a decimal, besides a zero before the point.
const MOST_DIGITS: u8 = 38;

/// Room for the text of any decimal of up to 38 digits.
pub(crate) type DecimalText = [u8; 48];

/// The text of a decimal with `scale` digits after the point; `None` when it has more digits than that.
pub(crate) fn write_decimal(value: Decimal, scale: u8, text: &mut DecimalText) -> Option<&str> {
    let value = if value.scale() > u32::from(scale) { value.normalize() } else { value };
    let missing = u32::from(scale).checked_sub(value.scale())?;
    let mut rest = value.mantissa().unsigned_abs();
    let mut start = text.len();
    let mut place = 0;
    while rest > 0 || place <= scale {
        if place > MOST_DIGITS {
            return None;
        }
        if place == scale && scale > 0 {
            start -= 1;
            text[start] = b'.';
        }
        start -= 1;
        text[start] = b'0' + if u32::from(place) < missing { 0 } else { take_last_digit(&mut rest) };
        place += 1;
    }
    if value.is_sign_negative() && !value.is_zero() {
        start -= 1;
        text[start] = b'-';
    }
    std::str::from_utf8(&text[start..]).ok()
}

fn take_last_digit(number: &mut u128) -> u8 {
    // Nearly all numbers are short, and dividing 64 bits takes a fraction of dividing 128.
    let (rest, digit) = match u64::try_from(*number) {
        Ok(short) => (u128::from(short / 10), (short % 10) as u8),
        Err(_) => (*number / 10, (*number % 10) as u8),
    };
    *number = rest;
    digit
}

/// The same form for a number that is too long for [`Decimal`] and came as text; `None` when it is no plain decimal, or
/// has more digits after the point than the column.
pub(crate) fn plain_decimal(number: &str, scale: u8) -> Option<String> {
    let Parts { negative, whole, fraction } = Parts::of(number)?;
    let missing = usize::from(scale).checked_sub(fraction.len())?;
    let mut text = String::with_capacity(number.len() + missing + 2);
    if negative {
        text.push('-');
    }
    text.push_str(if whole.is_empty() { "0" } else { whole });
    if scale > 0 {
        text.push('.');
        text.push_str(fraction);
        text.extend(std::iter::repeat_n('0', missing));
    }
    Some(text)
}

/// Whether two decimals are one number with `scale` digits after the point: a long one is text, and may be written in
/// two ways.
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(crate) fn same_decimal(one: ValueRef<'_>, other: ValueRef<'_>, scale: u8) -> bool {
    let text = |value| match value {
        ValueRef::Decimal(value) => write_decimal(value, scale, &mut [0; 48]).map(str::to_owned),
        ValueRef::Text(value) => plain_decimal(value, scale),
        _ => None,
    };
    text(one).is_some_and(|one| text(other).is_some_and(|other| one == other))
}

/// How two plain decimals of any length compare; `None` when one is none.
#[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "other databases compare decimals by themselves"))]
pub(crate) fn compare(one: &str, other: &str) -> Option<Ordering> {
    let (one, other) = (Parts::of(one)?, Parts::of(other)?);
    Some(match (one.negative, other.negative) {
        (false, false) => one.size().cmp(&other.size()),
        (true, true) => other.size().cmp(&one.size()),
        (one, other) => other.cmp(&one),
    })
}

/// A plain decimal without the zeros that say nothing.
struct Parts<'n> {
    negative: bool,
    whole: &'n str,
    fraction: &'n str,
}

impl<'n> Parts<'n> {
    fn of(number: &'n str) -> Option<Self> {
        let digits = number.strip_prefix(['-', '+']).unwrap_or(number);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() && fraction.is_empty() || !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        let zero = whole.is_empty() && fraction.is_empty();
        Some(Self { negative: number.starts_with('-') && !zero, whole, fraction })
    }

    /// What decides which of two numbers is farther from zero.
    fn size(&self) -> (usize, &'n str, &'n str) {
        (self.whole.len(), self.whole, self.fraction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(number: &str, scale: u8) -> Option<String> {
        let mut text = [0; 48];
        write_decimal(number.parse().expect("a decimal"), scale, &mut text).map(str::to_owned)
    }

    #[test]
    fn a_decimal_has_as_many_digits_after_the_point_as_its_column() {
        let written = [("1.5", 2), ("1.50", 2), ("-0.07", 2), ("12", 0), ("0", 2), ("-3", 3), ("1.500", 2), ("-0", 2)]
            .map(|(number, scale)| written(number, scale));
        let expected =
            ["1.50", "1.50", "-0.07", "12", "0.00", "-3.000", "1.50", "0.00"].map(|text| Some(text.to_owned()));
        assert_eq!(written, expected);
    }

    #[test]
    fn a_decimal_is_never_rounded() {
        assert_eq!(written("1.005", 2), None);
        assert_eq!(plain_decimal("1.005", 2), None);
    }

    #[test]
    fn both_ways_of_writing_agree() {
        for number in ["0", "7", "-7", "0.1", "-0.10", "123456789.01", "79228162514264337593543950335"] {
            assert_eq!(written(number, 4), plain_decimal(number, 4), "{number}");
        }
    }

    #[test]
    fn a_number_of_38_digits_stays_exact() {
        let long = "12345678901234567890123456789012345.678";
        assert_eq!(plain_decimal(long, 3).as_deref(), Some(long));
        assert_eq!(plain_decimal(&format!("+000{long}000"), 3).as_deref(), Some(long));
    }

    #[test]
    fn what_is_no_plain_decimal_is_refused() {
        for text in ["", "-", ".", "1e5", "abc", "1.2.3", " 1", "٣"] {
            assert_eq!(plain_decimal(text, 2), None, "{text:?}");
        }
    }

    #[cfg(any(feature = "mysql", feature = "postgres"))]
    #[test]
    fn a_number_that_is_written_in_two_ways_is_the_same() {
        let (short, long) = (ValueRef::Decimal("1.5".parse().expect("a decimal")), ValueRef::Text("001.500"));
        assert!(same_decimal(short, long, 3));
        assert!(!same_decimal(short, ValueRef::Text("1.501"), 3));
        assert!(!same_decimal(ValueRef::Text("no number"), ValueRef::Text("no number"), 3));
    }

    #[test]
    fn decimals_of_any_length_compare_as_numbers() {
        let ascending = [
            "-100",
            "-9.5",
            "-9.45",
            "-0.1",
            "0",
            "0.05",
            "0.5",
            "9.00",
            "10.0",
            "11",
            "100",
            "12345678901234567890123456789012345.678",
        ];
        for (place, one) in ascending.iter().enumerate() {
            for (other_place, other) in ascending.iter().enumerate() {
                assert_eq!(compare(one, other), Some(place.cmp(&other_place)), "{one} and {other}");
            }
        }
        assert_eq!(compare("-0.00", "0"), Some(Ordering::Equal));
        assert_eq!(compare("+1.50", "01.5"), Some(Ordering::Equal));
        assert_eq!(compare("1e5", "1"), None);
    }
}
