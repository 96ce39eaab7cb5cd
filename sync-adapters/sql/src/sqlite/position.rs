//! Where a read of a table begins again: times as text, in whatever form, do not sort as times.

use std::time::Duration;

use chrono::{NaiveDate, NaiveDateTime, TimeDelta, Timelike};
use sync_core::Value;
use sync_core::model::Timestamp;

use super::value::instant;

/// The instant of a version that is a time.
pub(super) fn time_of(version: &Value) -> Option<Timestamp> {
    let Value::Text(text) = version else { return None };
    instant(text).or_else(|| Some(text.parse::<NaiveDate>().ok()?.and_time(chrono::NaiveTime::MIN).and_utc().into()))
}

/// Where a read begins again, before the row that the last one ended with.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Begin {
    /// With all rows of this version.
    Version(Value),
    /// With all rows of this time.
    Time(Again),
}

/// Where a read by time begins again.
///
/// The order of times as text is not the order of times where the table mixes forms: half a second after
/// `10:00:00Z`, `10:00:00.5Z` sorts before it, and so may another offset or separator. Programs that write whole seconds
/// also use one version for several changes. So a read begins at the second of its position, inclusively, and takes
/// every row that is later either as text or as a time. What comes again is unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Again {
    /// No time from `since` on is earlier than this as text: a date, which an index can look for.
    pub(super) earliest: String,
    /// The second of the position, less the look-back, in the form of the position itself.
    pub(super) floor: String,
    /// The same as an instant.
    pub(super) since: Timestamp,
}

impl Again {
    /// Begins at the second of this version, or this long before; `None` when it is no time.
    pub(super) fn at(version: &Value, lookback: Duration) -> Option<Self> {
        let Value::Text(text) = version else { return None };
        let lookback = TimeDelta::from_std(lookback).unwrap_or(TimeDelta::MAX);
        let (separator, time) = if text.len() == 10 { ("", "") } else { (text.get(10..11)?, text.get(11..)?) };
        // Cut off is what is finer than a second, and the offset, which the other rows of the same form share.
        let form = match time.as_bytes() {
            [] => "%Y-%m-%d".to_owned(),
            [_, _, b':', _, _, b':', ..] => format!("%Y-%m-%d{separator}%H:%M:%S"),
            _ => format!("%Y-%m-%d{separator}%H:%M"),
        };
        let date: NaiveDate = text.get(..10)?.parse().ok()?;
        let number = |range| time.get(range).and_then(|digits: &str| digits.parse().ok()).unwrap_or(0);
        let local = date.and_hms_opt(number(0..2), number(3..5), number(6..8))?;
        let at = time_of(version)?.to_datetime()?.naive_utc().with_nanosecond(0)?;
        let since = back(at, lookback);
        Some(Self {
            // Offsets are less than a day.
            earliest: back(since, TimeDelta::days(1)).format("%Y-%m-%d").to_string(),
            floor: back(local, lookback).format(&form).to_string(),
            since: since.and_utc().into(),
        })
    }
}

/// The same time, so much earlier, but not before the year 0.
fn back(at: NaiveDateTime, by: TimeDelta) -> NaiveDateTime {
    let first = NaiveDate::from_ymd_opt(0, 1, 1).unwrap_or(NaiveDate::MIN).and_time(chrono::NaiveTime::MIN);
    at.checked_sub_signed(by).map_or(first, |earlier| earlier.max(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(text: &str, seconds: u64) -> (String, String, String) {
        let again = Again::at(&text.into(), Duration::from_secs(seconds)).expect("a time");
        (again.earliest, again.floor, again.since.to_string())
    }

    #[test]
    fn a_read_begins_at_the_second_of_its_position_in_the_form_of_the_table() {
        let expected =
            |earliest: &str, floor: &str, since: &str| (earliest.to_owned(), floor.to_owned(), since.to_owned());
        assert_eq!(
            again("2026-01-02T10:20:30.75Z", 0),
            expected("2026-01-01", "2026-01-02T10:20:30", "2026-01-02T10:20:30.000000Z")
        );
        assert_eq!(
            again("2026-01-02 10:20:30-05:00", 60),
            expected("2026-01-01", "2026-01-02 10:19:30", "2026-01-02T15:19:30.000000Z")
        );
        assert_eq!(
            again("2026-01-02 10:20", 0),
            expected("2026-01-01", "2026-01-02 10:20", "2026-01-02T10:20:00.000000Z")
        );
        assert_eq!(again("2026-01-02", 0), expected("2026-01-01", "2026-01-02", "2026-01-02T00:00:00.000000Z"));
    }

    #[test]
    fn nothing_is_before_the_first_year_and_what_is_no_time_begins_nowhere() {
        assert_eq!(again("0000-01-01T00:00:00Z", u64::MAX).1, "0000-01-01T00:00:00");
        for text in ["", "soon", "2026-01-02T", "2026-13-01 10:20:30", "12345678901", "🍣🍣🍣🍣"] {
            assert_eq!(Again::at(&text.into(), Duration::ZERO), None, "{text:?}");
        }
        assert_eq!(Again::at(&Value::Int(5), Duration::ZERO), None);
    }
}
