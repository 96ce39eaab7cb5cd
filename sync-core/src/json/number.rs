//! Exact numbers from their text: integers of 64 bits, decimals of up to 38 digits. Nothing is rounded here.

use rust_decimal::Decimal;

use crate::model::{Value, ValueRef};

/// Why a value was refused: a phrase that follows the column's name and never holds the value.
pub(crate) type Refusal = &'static str;

const NOT_AN_INTEGER: Refusal = "not an integer";
const OUT_OF_RANGE: Refusal = "an integer that does not fit 64 bits";
const NOT_A_NUMBER: Refusal = "not a number";
const TOO_MANY_DIGITS: Refusal = "a number with more digits than the column is declared for";

/// A signed integer. `5.0` and `5e0` are the integer 5.
pub(crate) fn int(text: &str) -> Result<i64, Refusal> {
    if let Some(short) = short_int(text.as_bytes()) {
        return Ok(short);
    }
    i64::try_from(integer(text)?).map_err(|_| OUT_OF_RANGE)
}

/// An unsigned integer.
pub(crate) fn uint(text: &str) -> Result<u64, Refusal> {
    u64::try_from(integer(text)?).map_err(|_| "an integer that is negative or does not fit 64 bits")
}

/// Up to 18 digits: no overflow to look for.
fn short_int(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, text),
    };
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let mut value = 0_i64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(if negative { -value } else { value })
}

/// A decimal that fits the column as it is sent, of up to 18 digits: no overflow to look for, and no zero to move.
fn short_decimal(text: &[u8], precision: u8, scale: u8) -> Option<Decimal> {
    let (negative, digits) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, text),
    };
    if digits.len() > 18 {
        return None;
    }
    let (mut value, mut point) = (0_i64, None);
    for (at, byte) in digits.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            value = value * 10 + i64::from(digit);
        } else if *byte == b'.' && point.is_none() {
            point = Some(at);
        } else {
            return None;
        }
    }
    let whole = point.unwrap_or(digits.len());
    let sent = digits.len() - point.map_or(whole, |point| point + 1);
    let fits = sent <= usize::from(scale) && whole + usize::from(scale) <= usize::from(precision);
    let is_number = whole > 0 && (point.is_none() || sent > 0);
    (fits && is_number).then(|| Decimal::new(if negative { -value } else { value }, sent as u32))
}

fn integer(text: &str) -> Result<i128, Refusal> {
    let exact = match Exact::read(text) {
        Some(Some(exact)) => exact,
        Some(None) => return Err(OUT_OF_RANGE),
        None => return Err(NOT_AN_INTEGER),
    };
    if exact.digits != 0 && exact.exponent < 0 {
        return Err(NOT_AN_INTEGER);
    }
    let value = exact.scaled(0).ok_or(OUT_OF_RANGE)?;
    Ok(if exact.negative { -value } else { value })
}

/// A binary floating-point number; never infinite, never NaN.
pub(crate) fn float(text: &str) -> Result<f64, Refusal> {
    let plain = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    match text.parse::<f64>() {
        Ok(value) if plain && value.is_finite() => Ok(value),
        Ok(_) if plain => Err("a number too large for a float"),
        _ => Err(NOT_A_NUMBER),
    }
}

/// A decimal number, exact or refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Exactly {
    Decimal(Decimal),
    /// Too long for [`Decimal`]: plain digits, one form for each value.
    Text(String),
}

impl Exactly {
    pub(crate) fn as_value(&self) -> ValueRef<'_> {
        match self {
            Self::Decimal(value) => ValueRef::Decimal(*value),
            Self::Text(text) => ValueRef::Text(text),
        }
    }

    pub(crate) fn into_value(self) -> Value {
        match self {
            Self::Decimal(value) => Value::Decimal(value),
            Self::Text(text) => Value::Text(text.into()),
        }
    }
}

/// A decimal for a column of `precision` digits, `scale` of them after the point. Zeros at the end are kept as sent,
/// as far as the scale goes.
pub(crate) fn decimal(text: &str, precision: u8, scale: u8) -> Result<Exactly, Refusal> {
    if let Some(short) = short_decimal(text.as_bytes(), precision, scale) {
        return Ok(Exactly::Decimal(short));
    }
    let exact = match Exact::read(text) {
        Some(Some(exact)) => exact,
        Some(None) => return Err(TOO_MANY_DIGITS),
        None => return Err(NOT_A_NUMBER),
    };
    let least = exact.least_scale();
    let whole = i64::from(exact.count) + exact.exponent;
    if exact.digits != 0 && (least > u32::from(scale) || whole > i64::from(precision) - i64::from(scale)) {
        return Err(TOO_MANY_DIGITS);
    }
    let sent = exact.sent.min(u32::from(scale)).max(least);
    exact.at_scale(sent).or_else(|| exact.at_scale(least)).map_or_else(|| exact.plain(least), Ok)
}

/// A decimal of any precision and scale up to 38 digits.
pub(crate) fn any_decimal(text: &str) -> Result<Exactly, Refusal> {
    let exact = match Exact::read(text) {
        Some(Some(exact)) => exact,
        _ => return Err(NOT_A_NUMBER),
    };
    let least = exact.least_scale();
    if least > 38 {
        return Err(TOO_MANY_DIGITS);
    }
    exact.at_scale(exact.sent.max(least)).or_else(|| exact.at_scale(least)).map_or_else(|| exact.plain(least), Ok)
}

/// A number of ticks, `digits` of them after the point; what is finer is cut off.
pub(crate) fn ticks(text: &str, digits: u32) -> Result<i64, Refusal> {
    const RANGE: Refusal = "an instant out of range";
    let exact = match Exact::read(text) {
        Some(Some(exact)) => exact,
        Some(None) => return Err(RANGE),
        None => return Err(NOT_A_NUMBER),
    };
    let shift = exact.exponent + i64::from(digits);
    let value = if exact.digits == 0 || shift <= -39 {
        0
    } else if shift < 0 {
        exact.digits / 10_u128.pow(shift.unsigned_abs() as u32)
    } else {
        power(shift).and_then(|by| exact.digits.checked_mul(by)).ok_or(RANGE)?
    };
    let value = i64::try_from(value).map_err(|_| RANGE)?;
    Ok(if exact.negative { -value } else { value })
}

/// `digits × 10^exponent`, where `digits` has no zero at its end.
struct Exact {
    negative: bool,
    digits: u128,
    /// How many digits there are.
    count: u32,
    exponent: i64,
    /// Digits after the point as they were sent; 0 where an exponent was sent too.
    sent: u32,
}

impl Exact {
    /// `None` where the text is no number, `Some(None)` where it has more than 38 significant digits.
    fn read(text: &str) -> Option<Option<Self>> {
        let text = text.as_bytes();
        let (negative, text) = match text.split_first()? {
            (b'-', rest) => (true, rest),
            (b'+', rest) => (false, rest),
            _ => (false, text),
        };
        let mut exact = Self { negative, digits: 0, count: 0, exponent: 0, sent: 0 };
        let (mut zeros, mut seen, mut fraction, mut long) = (0_u32, false, false, false);
        let mut rest = text;
        while let Some((&byte, after)) = rest.split_first() {
            match byte {
                b'0'..=b'9' => {
                    seen = true;
                    if fraction {
                        exact.sent = exact.sent.saturating_add(1);
                    }
                    if byte == b'0' {
                        zeros = zeros.saturating_add(u32::from(exact.count > 0 || fraction));
                    } else {
                        long |= !exact.push(zeros, byte - b'0');
                        zeros = 0;
                    }
                }
                b'.' if !fraction && seen => fraction = true,
                b'e' | b'E' if seen => break,
                _ => return None,
            }
            rest = after;
        }
        if !seen || (fraction && exact.sent == 0) {
            return None;
        }
        exact.exponent = if exact.digits == 0 { 0 } else { i64::from(zeros) - i64::from(exact.sent) };
        if let Some((_, power)) = rest.split_first() {
            let power = exponent(power)?;
            exact.exponent = if exact.digits == 0 { 0 } else { exact.exponent + power };
            exact.sent = 0;
        }
        Some((!long).then_some(exact))
    }

    /// Adds zeros and then a digit; false where that makes more than 38.
    fn push(&mut self, zeros: u32, digit: u8) -> bool {
        let zeros = if self.count == 0 { 0 } else { zeros };
        let count = self.count.saturating_add(zeros).saturating_add(1);
        if count > 38 {
            return false;
        }
        self.digits = self.digits * 10_u128.pow(zeros + 1) + u128::from(digit);
        self.count = count;
        true
    }

    /// The digits after the point that the value needs.
    fn least_scale(&self) -> u32 {
        u32::try_from(-self.exponent).unwrap_or(0)
    }

    /// The digits with so many of them after the point.
    fn scaled(&self, scale: u32) -> Option<i128> {
        if self.digits == 0 {
            return Some(0);
        }
        let by = power(self.exponent + i64::from(scale))?;
        self.digits.checked_mul(by).and_then(|value| i128::try_from(value).ok())
    }

    fn at_scale(&self, scale: u32) -> Option<Exactly> {
        let value = self.scaled(scale)?;
        let value = if self.negative { -value } else { value };
        Decimal::try_from_i128_with_scale(value, scale).ok().map(Exactly::Decimal)
    }

    fn plain(&self, scale: u32) -> Result<Exactly, Refusal> {
        let value = self.scaled(scale).ok_or(TOO_MANY_DIGITS)?;
        let width = scale as usize + 1;
        let mut text = format!("{value:0width$}");
        if scale > 0 {
            text.insert(text.len() - scale as usize, '.');
        }
        if self.negative {
            text.insert(0, '-');
        }
        Ok(Exactly::Text(text))
    }
}

fn power(of: i64) -> Option<u128> {
    u32::try_from(of).ok().and_then(|of| 10_u128.checked_pow(of))
}

/// The exponent of a number; one beyond all sizes stays beyond all sizes.
fn exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0_i64;
    for byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = (value * 10 + i64::from(byte - b'0')).min(1_000_000_000);
    }
    Some(if negative { -value } else { value })
}

/// The plain form of a number written with separators: `1,234.50` becomes `1234.50`.
pub(super) fn plain(text: &str, thousands: char, point: char) -> Result<String, Refusal> {
    let mut out = String::with_capacity(text.len());
    let mut fraction = false;
    for c in text.chars() {
        if c == thousands && !fraction && out.ends_with(|last: char| last.is_ascii_digit()) {
            continue;
        }
        match c {
            _ if c == point && !fraction => {
                fraction = true;
                out.push('.');
            }
            '0'..='9' | '-' | '+' => out.push(c),
            _ => return Err(NOT_A_NUMBER),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal_text(text: &str, precision: u8, scale: u8) -> Result<String, Refusal> {
        decimal(text, precision, scale).map(|exact| exact.as_value().to_string())
    }

    #[test]
    fn integers_are_exact_up_to_their_last_value_and_refused_beyond() {
        assert_eq!(int("-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(int("9223372036854775807"), Ok(i64::MAX));
        assert_eq!(int("9223372036854775808"), Err(OUT_OF_RANGE));
        assert_eq!(uint("18446744073709551615"), Ok(u64::MAX));
        assert!(uint("18446744073709551616").is_err() && uint("-1").is_err());
        assert_eq!((int("-0"), uint("-0")), (Ok(0), Ok(0)));
    }

    #[test]
    fn a_number_with_a_fraction_is_an_integer_only_where_the_fraction_is_nothing() {
        assert_eq!((int("5.0"), int("5e3"), int("1200e-2")), (Ok(5), Ok(5000), Ok(12)));
        assert_eq!(int("1.00000000000000000001"), Err(NOT_AN_INTEGER));
        assert_eq!(int("1e400"), Err(OUT_OF_RANGE));
        assert_eq!(int("0e999999999999"), Ok(0));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "-", "+", ".", "1.", ".5", "1e", "1e+", "e5", "1-", "0x1", "١", "1 ", "--1", "1.2.3", "NaN"] {
            assert!(int(text).is_err(), "{text:?} as an integer");
            assert!(decimal(text, 38, 10).is_err(), "{text:?} as a decimal");
        }
        for text in ["", "NaN", "inf", "-Infinity", "1e400", "-1e400", "1f", "0x1"] {
            assert!(float(text).is_err(), "{text:?} as a float");
        }
    }

    #[test]
    fn a_float_is_the_nearest_to_its_text() {
        assert_eq!(float("0.1"), Ok(0.1));
        assert_eq!(float("1.7976931348623157e308"), Ok(f64::MAX));
        assert_eq!(float("5e-324"), Ok(f64::from_bits(1)));
    }

    #[test]
    fn a_decimal_keeps_its_zeros_as_far_as_the_scale_goes() {
        assert_eq!(decimal_text("1.10", 12, 2).unwrap(), "1.10");
        assert_eq!(decimal_text("1.1", 12, 2).unwrap(), "1.1");
        assert_eq!(decimal_text("1.1000", 12, 2).unwrap(), "1.10");
        assert_eq!(decimal_text("-0.00", 12, 2).unwrap(), "0.00");
        assert_eq!(decimal_text("15e-1", 12, 2).unwrap(), "1.5");
        assert_eq!(decimal_text("15e2", 12, 2).unwrap(), "1500");
        assert_eq!(decimal_text("007.5", 12, 2).unwrap(), "7.5");
    }

    #[test]
    fn a_decimal_is_refused_rather_than_rounded() {
        assert_eq!(decimal("1.105", 12, 2), Err(TOO_MANY_DIGITS));
        assert_eq!(decimal("12345678901", 12, 2), Err(TOO_MANY_DIGITS));
        assert_eq!(decimal_text("1234567890.99", 12, 2).unwrap(), "1234567890.99");
        assert_eq!(decimal("1e-3", 12, 2), Err(TOO_MANY_DIGITS));
        assert_eq!(decimal("1e999999999999999999999", 12, 2), Err(TOO_MANY_DIGITS));
        assert_eq!(decimal("0.1", 1, 1).unwrap(), Exactly::Decimal(Decimal::new(1, 1)));
        assert_eq!(decimal("1", 1, 1), Err(TOO_MANY_DIGITS));
    }

    #[test]
    fn thirty_eight_digits_stay_exact_as_text_of_one_form() {
        let nines = "9".repeat(38);
        assert_eq!(decimal(&nines, 38, 0).unwrap(), Exactly::Text(nines.clone()));
        assert_eq!(decimal(&format!("-0{nines}"), 38, 0).unwrap(), Exactly::Text(format!("-{nines}")));
        assert_eq!(
            decimal("-0.00000000000000000000000000000000000001", 38, 38).unwrap(),
            Exactly::Text("-0.00000000000000000000000000000000000001".into())
        );
        let long = "12345678901234567890123456789012345.67";
        assert_eq!(decimal(long, 38, 3).unwrap(), Exactly::Text(long.into()));
        assert_eq!(decimal(&format!("{long}0"), 38, 3).unwrap(), Exactly::Text(long.into()), "one form for each value");
        assert_eq!(decimal(&"9".repeat(39), 38, 0), Err(TOO_MANY_DIGITS));
    }

    #[test]
    fn ticks_are_exact_and_finer_digits_are_cut() {
        assert_eq!(ticks("1700000000.1234567", 6), Ok(1_700_000_000_123_456));
        assert_eq!(ticks("1.7e9", 6), Ok(1_700_000_000_000_000));
        assert_eq!(ticks("-1.9999999", 6), Ok(-1_999_999));
        assert_eq!(ticks("1e-999", 6), Ok(0));
        assert!(ticks("1e18", 6).is_err() && ticks("soon", 6).is_err());
    }

    #[test]
    fn separators_are_taken_out_only_where_they_separate() {
        assert_eq!(plain("-1,234,567.50", ',', '.').unwrap(), "-1234567.50");
        assert_eq!(plain("1.234,50", '.', ',').unwrap(), "1234.50");
        assert!(plain(",1", ',', '.').is_err() && plain("1.5,0", ',', '.').is_err() && plain("1 e", ',', '.').is_err());
    }
}
