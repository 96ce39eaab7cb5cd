//! How a value is written in a source, where its kind alone does not say it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// How the values of one column are written in the records.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Parse {
    /// As the column's kind suggests: numbers as JSON numbers or as text, instants in RFC 3339, dates as
    /// `YYYY-MM-DD`, bytes in standard base64.
    #[default]
    Auto,
    /// An instant in RFC 3339, with `Z` or an offset. A date column takes its day in UTC.
    Rfc3339,
    /// Seconds since 1970-01-01T00:00:00Z, as a number or text, with or without a fraction.
    EpochSeconds,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    EpochMillis,
    /// Microseconds since 1970-01-01T00:00:00Z.
    EpochMicros,
    /// An instant or a date in a format of its own.
    Format {
        /// The format, in the [signs of `chrono`](chrono::format::strftime), such as `%d.%m.%Y %H:%M:%S`. Without a
        /// time of day it is midnight.
        format: String,
        /// The zone of the text, where the format has no offset (`%z`) of its own. A time that the clocks skip is
        /// moved on by the gap, of a time that they show twice the first is taken (RFC 5545).
        #[serde(default)]
        zone: Zone,
    },
    /// True or false written as a number or as text: `1`/`0`, `"true"`/`"false"`, `"yes"`/`"no"`, `"y"`/`"n"`,
    /// `"t"`/`"f"`, `"on"`/`"off"`, in any case.
    Flag,
    /// A number written as text with separators, such as `"1,234.50"`.
    Number {
        /// What stands between groups of digits.
        thousands: char,
        /// What stands before the fraction.
        point: char,
    },
}

/// The zone of a local time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Zone {
    /// Universal time.
    #[default]
    Utc,
    /// A fixed offset: seconds east of Greenwich.
    Fixed(i32),
    /// A name of the IANA database, such as `Africa/Cairo`; read from the database of the operating system. Where
    /// there is none, the rules may be written out (POSIX): `CET-1CEST,M3.5.0,M10.5.0/3`.
    Named(String),
}

impl FromStr for Zone {
    type Err = Error;

    /// `UTC`, an offset such as `+03:00`, or a name such as `Africa/Cairo`. Whether there is a zone of that name is
    /// found out by [`RecordReader::check`](super::RecordReader::check).
    fn from_str(text: &str) -> Result<Self, Error> {
        if text.eq_ignore_ascii_case("utc") || text.eq_ignore_ascii_case("z") {
            return Ok(Self::Utc);
        }
        if text.starts_with(['+', '-']) {
            let offset = super::time::offset(text.as_bytes()).ok_or_else(|| {
                Error::config(format!("{text:?} is no offset: write it as \"+03:00\", or name a zone"))
            })?;
            return Ok(Self::Fixed(offset));
        }
        if text.is_empty() {
            return Err(Error::config("a zone needs a name: write \"UTC\", \"+03:00\" or \"Africa/Cairo\""));
        }
        Ok(Self::Named(text.to_owned()))
    }
}

impl TryFrom<String> for Zone {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.to_string()
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Utc => f.write_str("UTC"),
            Self::Fixed(seconds) => {
                let (sign, seconds) = (if *seconds < 0 { '-' } else { '+' }, seconds.unsigned_abs());
                write!(f, "{sign}{:02}:{:02}", seconds / 3600, seconds / 60 % 60)
            }
            Self::Named(name) => f.write_str(name),
        }
    }
}
