//! How to ask for a part of a stream: what changed since, or a range of dates.

use serde::Deserialize;
use sync_core::json::Zone;

/// How to ask for rows that changed since a version, that version included.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SinceConfig {
    /// The query parameter; or use the variable `{since}`.
    #[serde(default)]
    pub param: Option<String>,
    /// `rfc3339`, `epoch_seconds`, `epoch_millis`, or a format in the signs of `chrono`, such as `%d.%m.%Y %H:%M:%S`.
    #[serde(default = "rfc3339")]
    pub format: String,
    /// The zone of a format that has no offset.
    #[serde(default)]
    pub zone: Zone,
    /// How far to go back behind the newest version seen: rows that were committed late, or changed while we paged, are
    /// found there. 60 seconds. Versions that are no instants know no overlap.
    #[serde(default = "minute")]
    pub overlap_seconds: u64,
}

impl SinceConfig {
    /// Since, as this query parameter, in RFC 3339.
    pub fn new(param: impl Into<String>) -> Self {
        Self { param: Some(param.into()), format: rfc3339(), zone: Zone::default(), overlap_seconds: minute() }
    }
}

fn rfc3339() -> String {
    "rfc3339".to_owned()
}

fn minute() -> u64 {
    60
}

/// How to ask for a range of dates.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct WindowConfig {
    /// The column the range is over: a date or a timestamp.
    pub column: String,
    /// The query parameter of the beginning; or use the variable `{from}`.
    #[serde(default)]
    pub from: Option<String>,
    /// The query parameter of the end; or use the variable `{to}`.
    #[serde(default)]
    pub to: Option<String>,
    /// As for [`SinceConfig::format`]. A format without hours counts in days.
    #[serde(default = "day_format")]
    pub format: String,
    /// The other side's zone: its days begin there.
    #[serde(default)]
    pub zone: Zone,
    /// Whether the end belongs to the range.
    #[serde(default)]
    pub end: WindowEnd,
    /// The longest range of one request, days.
    #[serde(default = "month")]
    pub max_days: u32,
    /// Where the first read begins, `YYYY-MM-DD`.
    pub start: chrono::NaiveDate,
    /// How many days behind the last read to read again, since past days are corrected for some time.
    #[serde(default = "month")]
    pub lookback_days: u32,
}

impl WindowConfig {
    /// Ranges over this column, from this day on, in whole days of UTC.
    pub fn new(
        column: impl Into<String>,
        from: impl Into<String>,
        to: impl Into<String>,
        start: chrono::NaiveDate,
    ) -> Self {
        Self {
            column: column.into(),
            from: Some(from.into()),
            to: Some(to.into()),
            format: day_format(),
            zone: Zone::default(),
            end: WindowEnd::default(),
            max_days: month(),
            lookback_days: month(),
            start,
        }
    }
}

fn day_format() -> String {
    "%Y-%m-%d".to_owned()
}

fn month() -> u32 {
    31
}

/// Whether the end of a range belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WindowEnd {
    /// It does.
    #[default]
    Inclusive,
    /// It does not.
    Exclusive,
}
