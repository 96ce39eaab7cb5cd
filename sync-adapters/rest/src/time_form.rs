//! How an API wants instants and dates written.

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat, TimeDelta, Utc};
use jiff::tz::TimeZone;
use sync_core::json::Zone;
use sync_core::model::Timestamp;
use sync_core::{Error, Result};

/// A declared format, ready to write.
#[derive(Debug, Clone)]
pub(crate) struct TimeForm {
    pattern: Pattern,
    zone: TimeZone,
}

#[derive(Debug, Clone)]
enum Pattern {
    Rfc3339,
    EpochSeconds,
    EpochMillis,
    /// In the signs of `chrono`.
    Signs(String),
}

impl TimeForm {
    /// # Errors
    /// `Config` when the format or the zone is unknown.
    pub(crate) fn new(format: &str, zone: &Zone) -> Result<Self> {
        let pattern = match format {
            "rfc3339" => Pattern::Rfc3339,
            "epoch_seconds" => Pattern::EpochSeconds,
            "epoch_millis" => Pattern::EpochMillis,
            signs => {
                let known = !chrono::format::StrftimeItems::new(signs).any(|item| item == chrono::format::Item::Error);
                if !known || !signs.contains('%') {
                    return Err(Error::config(format!(
                        "{signs:?} is no format of time: use `rfc3339`, `epoch_seconds`, `epoch_millis` or signs such as `%Y-%m-%d`"
                    )));
                }
                if ["%z", "%:z", "%Z", "%+", "%c"].iter().any(|sign| signs.contains(sign)) {
                    return Err(Error::config("a format with an offset is `rfc3339`"));
                }
                Pattern::Signs(signs.to_owned())
            }
        };
        Ok(Self { pattern, zone: zone_of(zone)? })
    }

    /// Whether it names days, not times of day.
    pub(crate) fn is_daily(&self) -> bool {
        match &self.pattern {
            Pattern::Signs(signs) => {
                !["%H", "%T", "%I", "%R", "%X", "%s", "%k", "%l"].iter().any(|sign| signs.contains(sign))
            }
            _ => false,
        }
    }

    /// The instant as the API wants it. What is finer than the format is cut off, so a lower bound stays one.
    pub(crate) fn write(&self, at: Timestamp) -> String {
        match &self.pattern {
            Pattern::EpochSeconds => at.micros().div_euclid(1_000_000).to_string(),
            Pattern::EpochMillis => at.micros().div_euclid(1000).to_string(),
            Pattern::Rfc3339 => utc(at).to_rfc3339_opts(SecondsFormat::AutoSi, true),
            Pattern::Signs(signs) => self.local(at).format(signs).to_string(),
        }
    }

    /// A calendar date as the API wants it.
    pub(crate) fn write_date(&self, date: NaiveDate) -> String {
        match &self.pattern {
            Pattern::Signs(signs) => date.and_time(chrono::NaiveTime::MIN).format(signs).to_string(),
            Pattern::Rfc3339 => date.to_string(),
            _ => self.write(self.midnight(date)),
        }
    }

    /// The date there at this instant.
    pub(crate) fn day_of(&self, at: Timestamp) -> NaiveDate {
        self.local(at).date()
    }

    /// When this day begins there. Where the clocks skip midnight, it begins at the first time after it.
    pub(crate) fn midnight(&self, date: NaiveDate) -> Timestamp {
        let local = date.and_time(chrono::NaiveTime::MIN);
        let naive = local.and_utc().timestamp_micros();
        let civil = jiff::Timestamp::from_microsecond(naive).map(|at| TimeZone::UTC.to_datetime(at));
        let instant = civil.and_then(|civil| self.zone.to_timestamp(civil));
        Timestamp::from_micros(instant.map_or(naive, jiff::Timestamp::as_microsecond))
    }

    fn local(&self, at: Timestamp) -> NaiveDateTime {
        let offset = jiff::Timestamp::from_microsecond(at.micros()).map_or(0, |at| self.zone.to_offset(at).seconds());
        utc(at).naive_utc() + TimeDelta::seconds(offset.into())
    }
}

fn utc(at: Timestamp) -> DateTime<Utc> {
    at.to_datetime().unwrap_or_default()
}

fn zone_of(zone: &Zone) -> Result<TimeZone> {
    match zone {
        Zone::Utc => Ok(TimeZone::UTC),
        Zone::Fixed(seconds) => jiff::tz::Offset::from_seconds(*seconds)
            .map(TimeZone::fixed)
            .map_err(|cause| Error::config("a zone's offset is out of range").caused_by(cause)),
        Zone::Named(name) => TimeZone::get(name)
            .map_err(|_| Error::config(format!("there is no time zone {name:?}; is the package `tzdata` installed?"))),
        other => Err(Error::config(format!("the zone {other} is not supported"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        DateTime::parse_from_rfc3339(text).unwrap().with_timezone(&Utc).into()
    }

    #[test]
    fn instants_are_written_in_the_zone_of_the_api() {
        let dubai = TimeForm::new("%d.%m.%Y %H:%M:%S", &Zone::Fixed(4 * 3600)).unwrap();
        assert_eq!(dubai.write(at("2026-03-31T21:30:00.9Z")), "01.04.2026 01:30:00");
        assert_eq!(TimeForm::new("epoch_seconds", &Zone::Utc).unwrap().write(at("1970-01-01T00:00:01.9Z")), "1");
        assert_eq!(
            TimeForm::new("rfc3339", &Zone::Utc).unwrap().write(at("2026-03-31T21:30:00.000001Z")),
            "2026-03-31T21:30:00.000001Z"
        );
    }

    #[test]
    fn a_day_begins_at_midnight_of_its_zone() {
        let form = TimeForm::new("%Y-%m-%d", &Zone::Fixed(4 * 3600)).unwrap();
        let midnight = form.midnight(NaiveDate::from_ymd_opt(2026, 4, 1).unwrap());
        assert_eq!(midnight, at("2026-03-31T20:00:00Z"));
        assert_eq!(form.day_of(midnight), NaiveDate::from_ymd_opt(2026, 4, 1).unwrap());
        assert!(form.is_daily());
    }

    #[test]
    fn a_format_without_a_sign_is_refused() {
        for format in ["iso", "%Q!", "%Y-%m-%dT%H:%M:%S%z"] {
            assert!(TimeForm::new(format, &Zone::Utc).is_err(), "{format}");
        }
    }
}
