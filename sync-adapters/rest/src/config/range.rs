//! How to ask for a part of a stream: what changed since, or a range of dates.

use std::collections::BTreeMap;

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
    /// What to do about ranges that hold too much for one request.
    #[serde(default)]
    pub halve: Option<HalveConfig>,
    /// Variables for path, query and body.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// Further passes through the stream, one after the other behind this one, each with a position of its own: by the
    /// date of the last change, by the date of payment. They bring changes; a range or a listing is read by this window
    /// alone.
    #[serde(default)]
    pub also: Vec<PassConfig>,
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
            halve: None,
            variables: BTreeMap::new(),
            also: Vec::new(),
            start,
        }
    }

    /// Halves ranges that hold too much for one request.
    #[must_use]
    pub fn halve(mut self, halve: HalveConfig) -> Self {
        self.halve = Some(halve);
        self
    }

    /// A variable for path, query and body.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// One more pass through the stream.
    #[must_use]
    pub fn also(mut self, pass: PassConfig) -> Self {
        self.also.push(pass);
        self
    }
}

/// What to do about ranges that hold too much for one request: they are cut into halves, and those again, and read in
/// order. Rules of the classes [`TooMany`](crate::Class::TooMany) and [`TooSlow`](crate::Class::TooSlow) say by which
/// answers they are known.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct HalveConfig {
    /// The length of the shortest range, seconds; whole days where the format counts in days. A day. When such a range
    /// still holds too much, the read fails and names it.
    pub smallest_seconds: u64,
    /// How many answers of the class `too_slow` in a row it takes. 2: the first one is tried again, the second one halves.
    /// The halves of such a range are halved at once.
    pub after: u32,
}

impl Default for HalveConfig {
    fn default() -> Self {
        Self { smallest_seconds: 86_400, after: 2 }
    }
}

/// One more pass through a stream with windows. What it does not say is as in the window itself.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct PassConfig {
    /// Its name; its position is kept under it.
    pub name: String,
    /// As for [`WindowConfig::from`].
    pub from: Option<String>,
    /// As for [`WindowConfig::to`].
    pub to: Option<String>,
    /// As for [`WindowConfig::format`].
    pub format: Option<String>,
    /// As for [`WindowConfig::end`].
    pub end: Option<WindowEnd>,
    /// As for [`WindowConfig::max_days`].
    pub max_days: Option<u32>,
    /// As for [`WindowConfig::start`].
    pub start: Option<chrono::NaiveDate>,
    /// As for [`WindowConfig::lookback_days`].
    pub lookback_days: Option<u32>,
    /// Variables that go before those of the window.
    pub variables: BTreeMap<String, String>,
}

impl PassConfig {
    /// A pass with these query parameters.
    pub fn new(name: impl Into<String>, from: impl Into<String>, to: impl Into<String>) -> Self {
        Self { name: name.into(), from: Some(from.into()), to: Some(to.into()), ..Self::default() }
    }

    /// A pass that differs by a variable.
    pub fn by(name: impl Into<String>, variable: impl Into<String>, value: impl Into<String>) -> Self {
        let variables = [(variable.into(), value.into())].into();
        Self { name: name.into(), variables, ..Self::default() }
    }

    /// The window of this pass: that of the stream, but for what the pass says.
    pub(crate) fn window(&self, main: &WindowConfig) -> WindowConfig {
        let mut window = main.clone();
        if self.from.is_some() || self.to.is_some() {
            (window.from, window.to) = (self.from.clone(), self.to.clone());
        }
        window.format = self.format.clone().unwrap_or(window.format);
        window.end = self.end.unwrap_or(window.end);
        window.max_days = self.max_days.unwrap_or(window.max_days);
        window.start = self.start.unwrap_or(window.start);
        window.lookback_days = self.lookback_days.unwrap_or(window.lookback_days);
        window.variables.extend(self.variables.clone());
        window.also.clear();
        window
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
