//! Instants and dates from text: RFC 3339 by hand, since every row has some; declared formats by `chrono`, zones by
//! `jiff`.

use chrono::format::{Item, Parsed, StrftimeItems};
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, Timelike};

use super::Zone;
use super::number::{self, Refusal};

const NOT_RFC3339: Refusal = "not an instant in RFC 3339 (such as 2026-03-01T04:05:06Z)";
const NOT_A_DATE: Refusal = "not a date (such as 2026-03-01)";
const NOT_AS_DECLARED: Refusal = "not written in the declared format";
const MICROS: i64 = 1_000_000;
/// 1970-01-01, counted from 0001-01-01 as day 1.
const EPOCH_DAY: i32 = 719_163;

/// How instants or dates of a column are written.
#[derive(Debug, Clone)]
pub(super) enum TimeRule {
    Rfc3339,
    /// Ticks since the epoch, with so many digits of a second before the point.
    Epoch(u32),
    Format(Box<Format>),
}

#[derive(Debug, Clone)]
pub(super) struct Format {
    items: Vec<Item<'static>>,
    zone: ZoneRule,
}

#[derive(Debug, Clone)]
enum ZoneRule {
    Fixed(i32),
    Named(jiff::tz::TimeZone),
}

impl TimeRule {
    /// Microseconds since the epoch.
    pub(super) fn micros(&self, text: &str) -> Result<i64, Refusal> {
        match self {
            Self::Rfc3339 => rfc3339(text).ok_or(NOT_RFC3339),
            Self::Epoch(digits) => number::ticks(text, 6 - digits),
            Self::Format(format) => format.micros(text).ok_or(NOT_AS_DECLARED),
        }
    }

    /// The date in the text, or the day of the instant in UTC.
    pub(super) fn date(&self, text: &str) -> Result<NaiveDate, Refusal> {
        if let Self::Format(format) = self {
            return format.date(text).ok_or(NOT_AS_DECLARED);
        }
        let at = DateTime::from_timestamp_micros(self.micros(text)?);
        at.map(|at| at.date_naive()).ok_or("an instant out of range")
    }
}

/// An instant in RFC 3339, in microseconds; finer digits are cut. A leap second is the first second after it.
pub(crate) fn rfc3339(text: &str) -> Option<i64> {
    let text = text.as_bytes();
    let date = day(text.get(..10)?)?;
    let clock = text.get(11..19)?;
    if !matches!(text[10], b'T' | b't' | b' ') || clock[2] != b':' || clock[5] != b':' {
        return None;
    }
    let (hour, minute, second) = (pair(&clock[0..2])?, pair(&clock[3..5])?, pair(&clock[6..8])?);
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction, zone) = fraction(&text[19..])?;
    let shift = match zone {
        b"Z" | b"z" => 0,
        _ => offset(zone)?,
    };
    let seconds = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second) - i64::from(shift);
    Some((days(date) * 86_400 + seconds) * MICROS + fraction)
}

/// A date as `YYYY-MM-DD`.
pub(crate) fn date(text: &str) -> Result<NaiveDate, Refusal> {
    day(text.as_bytes()).ok_or(NOT_A_DATE)
}

/// An offset as `+03:00`, in seconds east.
pub(super) fn offset(text: &[u8]) -> Option<i32> {
    let [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] = *text else { return None };
    let (hours, minutes) = (pair(&[h1, h2])?, pair(&[m1, m2])?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = i32::from(hours) * 3600 + i32::from(minutes) * 60;
    Some(if sign == b'-' { -seconds } else { seconds })
}

fn day(text: &[u8]) -> Option<NaiveDate> {
    if text.len() != 10 || text[4] != b'-' || text[7] != b'-' {
        return None;
    }
    let year = i32::from(pair(&text[0..2])?) * 100 + i32::from(pair(&text[2..4])?);
    NaiveDate::from_ymd_opt(year, pair(&text[5..7])?.into(), pair(&text[8..10])?.into())
}

fn days(date: NaiveDate) -> i64 {
    i64::from(date.num_days_from_ce() - EPOCH_DAY)
}

fn pair(text: &[u8]) -> Option<u8> {
    let (tens, ones) = (text[0].wrapping_sub(b'0'), text[1].wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then_some(tens * 10 + ones)
}

/// Microseconds after the point, and what follows.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let [b'.', rest @ ..] = text else { return Some((0, text)) };
    let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 {
        return None;
    }
    let (digits, after) = rest.split_at(length);
    let place = |at: usize| digits.get(at).map_or(0, |digit| i64::from(digit - b'0'));
    Some(((0..6).fold(0, |sum, at| sum * 10 + place(at)), after))
}

impl Format {
    /// # Errors
    /// A phrase for the configuration error: an unknown sign, an unknown zone, a format that names no day.
    pub(super) fn new(format: &str, zone: &Zone) -> Result<Self, String> {
        let items = StrftimeItems::new(format).parse_to_owned().map_err(|_| {
            format!("the format {format:?} has a sign that is not known (see chrono::format::strftime)")
        })?;
        let zone = match zone {
            Zone::Utc => ZoneRule::Fixed(0),
            Zone::Fixed(seconds) if seconds.abs() < 86_400 => ZoneRule::Fixed(*seconds),
            Zone::Fixed(_) => return Err("an offset of a day or more is no zone".to_owned()),
            Zone::Named(name) => ZoneRule::Named(rules(name)?),
        };
        let rule = Self { items, zone };
        if !rule.reads_what_it_writes() {
            return Err(format!("the format {format:?} cannot be read back: it needs at least year, month and day"));
        }
        Ok(rule)
    }

    fn reads_what_it_writes(&self) -> bool {
        use std::fmt::Write;
        let mut text = String::new();
        let sample = DateTime::from_timestamp(1_234_567_890, 0).unwrap_or_default();
        write!(text, "{}", sample.format_with_items(self.items.iter())).is_ok() && self.date(&text).is_some()
    }

    fn parse(&self, text: &str) -> Option<Parsed> {
        let mut parsed = Parsed::new();
        chrono::format::parse(&mut parsed, text, self.items.iter()).ok()?;
        Some(parsed)
    }

    fn date(&self, text: &str) -> Option<NaiveDate> {
        let parsed = self.parse(text)?;
        parsed.to_naive_date().ok().or_else(|| local(&parsed, 0).map(|at| at.date()))
    }

    fn micros(&self, text: &str) -> Option<i64> {
        let parsed = self.parse(text)?;
        let own = parsed.offset().or_else(|| parsed.timestamp().map(|_| 0));
        let at = local(&parsed, own.unwrap_or(0))?;
        let shift = match (own, &self.zone) {
            (Some(seconds), _) => i64::from(seconds) * MICROS,
            (None, ZoneRule::Fixed(seconds)) => i64::from(*seconds) * MICROS,
            (None, ZoneRule::Named(zone)) => return named(at, zone),
        };
        at.and_utc().timestamp_micros().checked_sub(shift)
    }
}

/// The rules of a zone: by its name, or written out where there is a comma. Without one, `UTC+3` would be a rule too,
/// and mean three hours *west*.
fn rules(name: &str) -> Result<jiff::tz::TimeZone, String> {
    let found = jiff::tz::TimeZone::get(name);
    let found = if name.contains(',') { found.or_else(|_| jiff::tz::TimeZone::posix(name)) } else { found };
    found.map_err(|_| {
        format!("the zone {name:?} is not in this system's zone database: correct the name, or install tzdata")
    })
}

/// The local time; midnight where the format names none.
fn local(parsed: &Parsed, offset: i32) -> Option<NaiveDateTime> {
    let timeless = parsed.hour_mod_12().is_none() && parsed.hour_div_12().is_none() && parsed.timestamp().is_none();
    if timeless {
        return parsed.to_naive_date().ok().map(|date| date.and_time(NaiveTime::MIN));
    }
    parsed.to_naive_datetime_with_offset(offset).ok()
}

fn named(at: NaiveDateTime, zone: &jiff::tz::TimeZone) -> Option<i64> {
    let small = |part: u32| i8::try_from(part).ok();
    let civil = jiff::civil::DateTime::new(
        i16::try_from(at.year()).ok()?,
        small(at.month())?,
        small(at.day())?,
        small(at.hour())?,
        small(at.minute())?,
        small(at.second())?,
        0,
    );
    let seconds = zone.to_timestamp(civil.ok()?).ok()?.as_second();
    seconds.checked_mul(MICROS)?.checked_add(i64::from(at.nanosecond() / 1000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn at(text: &str) -> Option<String> {
        rfc3339(text).map(|micros| Timestamp::from_micros(micros).to_string())
    }

    fn declared(format: &str, zone: &str, text: &str) -> Result<String, Refusal> {
        let rule = TimeRule::Format(Box::new(Format::new(format, &zone.parse().unwrap()).unwrap()));
        rule.micros(text).map(|micros| Timestamp::from_micros(micros).to_string())
    }

    #[test]
    fn rfc3339_is_moved_to_utc_and_cut_to_microseconds() {
        assert_eq!(at("2026-03-01T04:05:06Z").unwrap(), "2026-03-01T04:05:06.000000Z");
        assert_eq!(at("2026-03-01t01:05:06.1234569+03:30").unwrap(), "2026-02-28T21:35:06.123456Z");
        assert_eq!(at("2026-02-28 23:59:60-00:00").unwrap(), "2026-03-01T00:00:00.000000Z");
        assert_eq!(at("0001-01-01T00:00:00Z").unwrap(), "0001-01-01T00:00:00.000000Z");
        assert_eq!(at("9999-12-31T23:59:59.999999Z").unwrap(), "9999-12-31T23:59:59.999999Z");
        assert_eq!(at("1969-12-31T23:59:59.5z").unwrap(), "1969-12-31T23:59:59.500000Z");
    }

    #[test]
    fn what_is_not_rfc3339_is_refused() {
        for text in [
            "",
            "2026-03-01",
            "2026-03-01T04:05:06",
            "2026-03-01 04:05:06",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-03-01T24:00:00Z",
            "2026-03-01T04:60:00Z",
            "2026-03-01T04:05:06.Z",
            "2026-03-01T04:05:06+0300",
            "2026-03-01T04:05:06+24:00",
            "2026-03-01T04:05:06Zulu",
            "2026/03/01T04:05:06Z",
            "٢٠٢٦-03-01T04:05:06Z",
        ] {
            assert_eq!(rfc3339(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_declared_format_is_read_in_its_zone() {
        assert_eq!(
            declared("%Y-%m-%d %H:%M:%S", "+03:00", "2026-03-01 04:05:06").unwrap(),
            "2026-03-01T01:05:06.000000Z"
        );
        assert_eq!(declared("%d.%m.%Y", "UTC", "01.03.2026").unwrap(), "2026-03-01T00:00:00.000000Z");
        assert_eq!(
            declared("%d/%m/%Y %I:%M %p", "-01:00", "01/03/2026 11:30 PM").unwrap(),
            "2026-03-02T00:30:00.000000Z"
        );
        assert_eq!(
            declared("%Y-%m-%dT%H:%M:%S%.f%z", "UTC", "2026-03-01T04:05:06.1234567+0200").unwrap(),
            "2026-03-01T02:05:06.123456Z"
        );
        assert_eq!(declared("%s", "+05:00", "1700000000").unwrap(), "2023-11-14T22:13:20.000000Z");
        assert!(declared("%Y-%m-%d", "UTC", "2026-02-30").is_err());
        assert!(declared("%Y-%m-%d", "UTC", "2026-03-01 ").is_err());
    }

    #[test]
    fn a_named_zone_follows_its_clocks_through_gap_and_fold() {
        let berlin = |text| declared("%Y-%m-%d %H:%M:%S", "CET-1CEST,M3.5.0,M10.5.0/3", text).unwrap();
        assert_eq!(berlin("2026-01-15 12:00:00"), "2026-01-15T11:00:00.000000Z");
        assert_eq!(berlin("2026-07-15 12:00:00"), "2026-07-15T10:00:00.000000Z");
        assert_eq!(berlin("2026-03-29 02:30:00"), "2026-03-29T01:30:00.000000Z", "skipped: moved on by the gap");
        assert_eq!(berlin("2026-10-25 02:30:00"), "2026-10-25T00:30:00.000000Z", "shown twice: the first");
    }

    #[test]
    fn a_name_is_looked_up_in_the_database_of_the_system_where_there_is_one() {
        let named = |zone| Format::new("%F %T", &Zone::Named(zone)).map(|format| format.micros("2026-07-15 12:00:00"));
        let written_out = named("CET-1CEST,M3.5.0,M10.5.0/3".to_owned()).unwrap();
        match jiff::tz::TimeZone::get("Europe/Berlin") {
            Ok(_) => assert_eq!(named("Europe/Berlin".to_owned()).unwrap(), written_out),
            Err(_) => assert!(named("Europe/Berlin".to_owned()).unwrap_err().contains("install tzdata")),
        }
    }

    #[test]
    fn a_format_that_names_no_day_or_an_unknown_zone_is_refused_at_once() {
        assert!(Format::new("%H:%M", &Zone::Utc).unwrap_err().contains("year, month and day"));
        assert!(Format::new("%Q", &Zone::Utc).unwrap_err().contains("sign"));
        for zone in ["Atlantis/Harbour", "UTC+3", "a,b"] {
            assert!(Format::new("%F", &Zone::Named(zone.into())).unwrap_err().contains("tzdata"), "{zone}");
        }
    }

    #[test]
    fn a_date_is_exactly_ten_signs() {
        assert_eq!(date("0001-01-01").unwrap(), NaiveDate::from_ymd_opt(1, 1, 1).unwrap());
        assert!(date("2026-3-1").is_err() && date("2026-03-01T00:00:00Z").is_err() && date("").is_err());
    }
}
