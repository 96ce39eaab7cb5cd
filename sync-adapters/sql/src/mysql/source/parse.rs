//! Values as MySQL and MariaDB write them, read without loss; what is not as declared is told row by row.

use chrono::{NaiveDate, NaiveDateTime, NaiveTime};
use sync_core::model::{Field, Kind, Timestamp};
use sync_core::{Error, Result, ValueRef};

use crate::keyset::{decimal, no_such_value};

/// The value of a text, as its column is declared.
///
/// # Errors
/// `Data`, naming the column, when it is none.
pub(super) fn value<'t>(text: &'t str, field: &Field) -> Result<ValueRef<'t>> {
    parsed(text, field.kind()).ok_or_else(|| match field.kind() {
        Kind::Timestamp | Kind::Date if has_zero(text) => Error::data(format!(
            "column {:?} holds a date whose year, month or day is zero, such as 0000-00-00, which is no {}: fill it, or declare the column as text",
            field.name(),
            field.kind()
        )),
        _ => no_such_value(field),
    })
}

fn parsed(text: &str, kind: Kind) -> Option<ValueRef<'_>> {
    Some(match kind {
        Kind::Bool => ValueRef::Bool(match text {
            "1" => true,
            "0" => false,
            _ => return None,
        }),
        Kind::Int => ValueRef::Int(text.parse().ok()?),
        Kind::UInt => ValueRef::UInt(text.parse().ok()?),
        Kind::Float => ValueRef::Float(text.parse().ok()?),
        Kind::Decimal { .. } => decimal(text)?,
        Kind::Text => ValueRef::Text(text),
        Kind::Timestamp => ValueRef::Timestamp(timestamp(text)?),
        Kind::Date => ValueRef::Date(date(text)?),
        Kind::Json => ValueRef::Json(text),
        // Bytes are not sent as text.
        _ => return None,
    })
}

/// `2026-03-01`; not `0000-00-00`.
fn date(text: &str) -> Option<NaiveDate> {
    let mut parts = text.splitn(3, '-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    // The server knows no year 0: it is a date that was not filled in.
    let year = year.parse().ok().filter(|year| *year > 0)?;
    NaiveDate::from_ymd_opt(year, month.parse().ok()?, day.parse().ok()?)
}

/// `2026-03-01 10:20:30.123456`, in UTC, or a date alone.
pub(super) fn timestamp(text: &str) -> Option<Timestamp> {
    let (day, clock) = text.split_once(' ').unwrap_or((text, "00:00:00"));
    let clock: NaiveTime = clock.parse().ok()?;
    Some(NaiveDateTime::new(date(day)?, clock).and_utc().into())
}

/// A time as the server reads it; none outside of the years that it has.
pub(super) fn written(at: Timestamp) -> Option<String> {
    let at = at.to_datetime()?;
    let year = chrono::Datelike::year(&at);
    (1..=9999).contains(&year).then(|| at.format("%Y-%m-%d %H:%M:%S%.6f").to_string())
}

fn has_zero(text: &str) -> bool {
    let day = text.split(' ').next().unwrap_or(text);
    day.split('-').any(|part| !part.is_empty() && part.bytes().all(|digit| digit == b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_utc() {
        for (text, expected) in [
            ("2026-03-01 10:20:30", "2026-03-01T10:20:30.000000Z"),
            ("2026-03-01 10:20:30.5", "2026-03-01T10:20:30.500000Z"),
            ("9999-12-31 23:59:59.999999", "9999-12-31T23:59:59.999999Z"),
            ("2026-03-01", "2026-03-01T00:00:00.000000Z"),
        ] {
            let at = timestamp(text).expect("a time");
            assert_eq!(at.to_string(), expected);
            assert_eq!(written(at).as_deref().and_then(timestamp), Some(at));
        }
        for text in ["0000-00-00 00:00:00", "2026-00-15", "2026-02-31", "", "soon", "2026-03-01 25:00:00"] {
            assert_eq!(timestamp(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_zero_date_is_refused_as_one() {
        let told = |text: &str, kind| value(text, &Field::new("at", kind)).unwrap_err().to_string();
        for text in ["0000-00-00 00:00:00", "0000-00-00", "2026-00-15", "2026-01-00 10:20:30"] {
            assert!(told(text, Kind::Timestamp).contains("is zero"), "{text}");
        }
        assert!(!told("2026-02-31", Kind::Date).contains("is zero"));
    }

    #[test]
    fn what_is_not_as_declared_is_refused_without_its_value() {
        for (text, kind) in [
            ("2", Kind::Bool),
            ("1e5", Kind::Decimal { precision: 9, scale: 2 }),
            ("-17", Kind::UInt),
            ("12.5", Kind::Int),
        ] {
            let error = value(text, &Field::new("total", kind)).unwrap_err().to_string();
            assert!(error.contains("\"total\"") && !error.contains(text), "{error}");
        }
        assert_eq!(parsed("00042", Kind::Int), Some(ValueRef::Int(42)), "a column of ZEROFILL");
    }
}
