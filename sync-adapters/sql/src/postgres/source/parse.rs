//! Values as PostgreSQL writes them (`DateStyle` ISO), read without loss; what is not as declared is told row by row.

use std::borrow::Cow;

use chrono::{NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};
use sync_core::model::{Field, Kind, Timestamp};
use sync_core::{Result, ValueRef};

use crate::keyset::{decimal, no_such_value};

/// The value of a text, as its column is declared.
///
/// # Errors
/// `Data`, naming the column, when it is none.
pub(super) fn value<'t>(text: &'t str, field: &Field) -> Result<ValueRef<'t>> {
    parsed(text, field.kind()).ok_or_else(|| no_such_value(field))
}

fn parsed(text: &str, kind: Kind) -> Option<ValueRef<'_>> {
    Some(match kind {
        Kind::Bool => ValueRef::Bool(match text {
            "true" | "t" => true,
            "false" | "f" => false,
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

/// `2026-03-01`, `12026-03-01`, `0044-03-15 BC`; not `infinity`.
fn date(text: &str) -> Option<NaiveDate> {
    let (text, before_christ) = text.strip_suffix(" BC").map_or((text, false), |text| (text, true));
    let mut parts = text.splitn(3, '-');
    let year: i32 = parts.next()?.parse().ok()?;
    let year = if before_christ { 1 - year } else { year };
    NaiveDate::from_ymd_opt(year, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?)
}

/// `2026-03-01 10:20:30.123456+00`, without an offset, which is then taken for UTC, or a date alone.
pub(super) fn timestamp(text: &str) -> Option<Timestamp> {
    let (text, era) = text.strip_suffix(" BC").map_or((text, ""), |text| (text, " BC"));
    let (day, clock) = text.split_once(' ').unwrap_or((text, "00:00:00"));
    let day = if era.is_empty() { Cow::Borrowed(day) } else { Cow::Owned(format!("{day}{era}")) };
    let offset_at = clock.find(['+', '-']).unwrap_or(clock.len());
    let (clock, offset) = clock.split_at(offset_at);
    let time: NaiveTime = clock.parse().ok()?;
    let local = NaiveDateTime::new(date(&day)?, time);
    Some(local.checked_sub_signed(seconds(offset)?)?.and_utc().into())
}

/// `+05:30`, `-08`, `+00:19:32`.
fn seconds(offset: &str) -> Option<TimeDelta> {
    let Some(digits) = offset.strip_prefix(['+', '-']) else { return Some(TimeDelta::zero()) };
    let mut seconds = 0;
    for (part, unit) in digits.split(':').zip([3600, 60, 1]) {
        seconds += part.parse::<i64>().ok()? * unit;
    }
    TimeDelta::try_seconds(if offset.starts_with('-') { -seconds } else { seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_form_that_postgresql_writes() {
        for (text, expected) in [
            ("2026-03-01 10:20:30+00", "2026-03-01T10:20:30.000000Z"),
            ("2026-03-01 10:20:30.5", "2026-03-01T10:20:30.500000Z"),
            ("2026-03-01 10:20:30.123456+05:30", "2026-03-01T04:50:30.123456Z"),
            ("1883-11-18 11:56:58-00:00:02", "1883-11-18T11:57:00.000000Z"),
            ("2026-03-01", "2026-03-01T00:00:00.000000Z"),
            ("0001-12-31 00:00:00+00 BC", "0000-12-31T00:00:00.000000Z"),
        ] {
            assert_eq!(timestamp(text).map(|at| at.to_string()).as_deref(), Some(expected), "{text}");
        }
        for text in ["infinity", "-infinity", "", "soon", "2026-13-01 00:00:00", "2026-03-01 25:00:00+00"] {
            assert_eq!(timestamp(text), None, "{text:?}");
        }
        assert_eq!(date("0044-03-15 BC"), NaiveDate::from_ymd_opt(-43, 3, 15));
    }

    #[test]
    fn what_is_not_as_declared_is_refused_without_its_value() {
        for (text, kind) in [
            ("NaN", Kind::Decimal { precision: 9, scale: 2 }),
            ("1e5", Kind::Decimal { precision: 9, scale: 2 }),
            ("infinity", Kind::Timestamp),
            ("-1", Kind::UInt),
            ("12.5", Kind::Int),
            ("yes", Kind::Bool),
        ] {
            let error = value(text, &Field::new("total", kind)).unwrap_err().to_string();
            assert!(error.contains("\"total\"") && !error.contains(text), "{error}");
        }
        let many = "123456789012345678901234567890.12345";
        assert_eq!(parsed(many, Kind::Decimal { precision: 38, scale: 5 }), Some(ValueRef::Text(many)));
    }
}
