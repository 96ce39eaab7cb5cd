//! An instant with microseconds, UTC: what every database here can hold without loss.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Microseconds since 1970-01-01T00:00:00Z, without leap seconds (POSIX time).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl fmt::Debug for Timestamp {
    /// As text where it has one, since letters and rows are printed for people; else its microseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.write(&mut [0; 27]) {
            Some(text) => f.write_str(text),
            None => write!(f, "{} µs", self.0),
        }
    }
}

impl Timestamp {
    /// From microseconds since the epoch.
    #[inline]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    #[inline]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The same instant as a `chrono` value; `None` outside chrono's years (±262,000).
    pub fn to_datetime(self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_micros(self.0)
    }
}

impl From<DateTime<Utc>> for Timestamp {
    /// Keeps microseconds; what is finer is cut off.
    fn from(at: DateTime<Utc>) -> Self {
        Self(at.timestamp_micros())
    }
}

/// Room for the text of a timestamp: RFC 3339 with six digits and `Z`.
pub type TimestampText = [u8; 27];

impl Timestamp {
    /// The text of a timestamp of the years 0000 to 9999, in ASCII, without allocation; `None` outside of them.
    ///
    /// Written once for every instant that a sink stores as text, so it reckons by itself instead of through `chrono`.
    #[inline]
    pub fn ascii(self) -> Option<TimestampText> {
        let (day, micros) = (self.0.div_euclid(DAY), self.0.rem_euclid(DAY));
        let (year, month, day) = civil(day);
        let (year, seconds) = (u32::try_from(year).ok().filter(|year| *year <= 9999)?, (micros / 1_000_000) as u32);
        let fraction = (micros % 1_000_000) as u32;
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        text[0..2].copy_from_slice(&pair(year / 100));
        text[2..4].copy_from_slice(&pair(year % 100));
        text[5..7].copy_from_slice(&pair(month));
        text[8..10].copy_from_slice(&pair(day));
        text[11..13].copy_from_slice(&pair(seconds / 3600));
        text[14..16].copy_from_slice(&pair(seconds / 60 % 60));
        text[17..19].copy_from_slice(&pair(seconds % 60));
        if fraction > 0 {
            text[20..22].copy_from_slice(&pair(fraction / 10_000));
            text[22..24].copy_from_slice(&pair(fraction / 100 % 100));
            text[24..26].copy_from_slice(&pair(fraction % 100));
        }
        Some(text)
    }

    /// The same as a string.
    #[inline]
    pub fn write(self, text: &mut TimestampText) -> Option<&str> {
        *text = self.ascii()?;
        std::str::from_utf8(text).ok()
    }
}

/// A day, microseconds.
const DAY: i64 = 86_400_000_000;

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
///
/// Years begin in March, so that the leap day is the last of its year; an era is 400 years, 146,097 days.
const fn civil(day: i64) -> (i64, u32, u32) {
    let day = day + 719_468;
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + (month <= 2) as i64, month as u32, day_of_month as u32)
}

impl fmt::Display for Timestamp {
    /// RFC 3339 with six digits and `Z`, so that text order is time order for the years 0000 to 9999.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 27];
        match (self.write(&mut text), self.to_datetime()) {
            (Some(text), _) => f.write_str(text),
            (None, Some(at)) => f.write_str(&at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)),
            (None, None) => write!(f, "{}µs", self.0),
        }
    }
}

/// The two digits of a number below 100.
const fn pair(number: u32) -> [u8; 2] {
    [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8]
}

#[cfg(test)]
mod tests {
    use chrono::Datelike;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_person_reads_a_time_where_there_is_one() {
        let told = [0, i64::MAX].map(|micros| format!("{:?}", Timestamp::from_micros(micros)));
        assert_eq!(told, ["1970-01-01T00:00:00.000000Z".to_owned(), format!("{} µs", i64::MAX)]);
    }

    #[test]
    fn every_day_of_ten_thousand_years_has_its_date() {
        let mut day = chrono::NaiveDate::from_ymd_opt(0, 1, 1);
        let mut number = day.map_or(0, |first| i64::from(first.num_days_from_ce()) - 719_163);
        while let Some(date) = day.filter(|date| date.year() <= 9999) {
            assert_eq!(civil(number), (date.year().into(), date.month(), date.day()));
            (day, number) = (date.succ_opt(), number + 1);
        }
    }

    proptest! {
        #[test]
        fn the_text_is_the_one_of_rfc_3339(micros in -70_000_000_000_000_000_i64..260_000_000_000_000_000) {
            let at = Timestamp::from_micros(micros);
            let mut text = [0; 27];
            let expected = at.to_datetime().filter(|at| (0..=9999).contains(&at.year()));
            let expected = expected.map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true));
            prop_assert_eq!(at.write(&mut text).map(str::to_owned), expected);
        }
    }
}
