//! An instant with microseconds, UTC: what every database here can hold without loss.

use std::fmt;

use chrono::{DateTime, Datelike, Timelike, Utc};
use serde::{Deserialize, Serialize};

/// Microseconds since 1970-01-01T00:00:00Z, without leap seconds (POSIX time).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
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
    /// The text of a timestamp of the years 0000 to 9999, without allocation; `None` outside of them.
    pub fn write(self, text: &mut TimestampText) -> Option<&str> {
        let at = self.to_datetime()?;
        let (year, second) =
            (u32::try_from(at.year()).ok().filter(|year| *year <= 9999)?, at.num_seconds_from_midnight());
        *text = *b"0000-00-00T00:00:00.000000Z";
        digits(&mut text[0..4], year);
        digits(&mut text[5..7], at.month());
        digits(&mut text[8..10], at.day());
        digits(&mut text[11..13], second / 3600);
        digits(&mut text[14..16], second / 60 % 60);
        digits(&mut text[17..19], second % 60);
        digits(&mut text[20..26], at.timestamp_subsec_micros() % 1_000_000);
        std::str::from_utf8(text).ok()
    }
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

fn digits(place: &mut [u8], mut number: u32) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}
