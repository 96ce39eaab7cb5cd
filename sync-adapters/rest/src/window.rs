//! Ranges of dates: half-open inside, sliced, and written as the other side wants them.

use sync_core::model::{Field, RowScope, Timestamp};
use sync_core::{Error, Result, StreamSpec, Value};

use crate::config::{WindowConfig, WindowEnd};
use crate::plan::{field, is_temporal, slice_values};
use crate::position::Slice;
use crate::time_form::TimeForm;

const SECOND: i64 = 1_000_000;

/// A declared range of dates, ready.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) config: WindowConfig,
    form: TimeForm,
    column: Field,
}

impl Window {
    /// # Errors
    /// `Config`, naming the field.
    pub(crate) fn new(config: &WindowConfig, spec: &StreamSpec) -> Result<Self> {
        let column = field(spec, "window.column", &config.column)?;
        if !is_temporal(column) {
            return Err(Error::config("field `window.column` names a column that is neither a date nor a timestamp"));
        }
        if config.max_days == 0 {
            return Err(Error::config("field `window.max_days` is at least 1"));
        }
        let form = TimeForm::new(&config.format, &config.zone)?;
        Ok(Self { config: config.clone(), form, column: column.clone() })
    }

    /// Beginning and end of a slice in the other side's form.
    pub(crate) fn bounds(&self, slice: Slice) -> (String, String) {
        let last = match (self.config.end, self.form.is_daily()) {
            (WindowEnd::Exclusive, _) => slice.until,
            (WindowEnd::Inclusive, true) => Timestamp::from_micros(slice.until.micros() - 1),
            (WindowEnd::Inclusive, false) => Timestamp::from_micros(slice.until.micros() - SECOND),
        };
        (self.form.write(slice.from), self.form.write(last))
    }

    /// The slices that cover everything from one instant to another, oldest first. Days are the other side's days, and
    /// the last one ends with today: nobody asks for the future.
    pub(crate) fn slices(&self, from: Timestamp, until: Timestamp, now: Timestamp) -> Vec<Slice> {
        let daily = self.form.is_daily();
        let first_day = self.form.day_of(from);
        let mut from = if daily { self.form.midnight(first_day) } else { from };
        let end = until.min(if daily { self.end_of_day(now) } else { now });
        let mut slices = Vec::new();
        while from < end {
            let next_day = self.form.day_of(from).checked_add_days(chrono::Days::new(self.config.max_days.into()));
            let longest = next_day.map_or(end, |day| self.form.midnight(day));
            let mut until = longest.min(end);
            if daily {
                until = self.end_of_day(Timestamp::from_micros(until.micros() - 1));
            }
            slices.push(Slice { from, until });
            from = until;
        }
        slices
    }

    /// Where a read of changes begins: at the declared start, or a little before what has been read.
    pub(crate) fn begins(&self, covered: Option<Timestamp>) -> Timestamp {
        let start = self.form.midnight(self.config.start);
        let Some(covered) = covered else { return start };
        let day = self.form.day_of(covered).checked_sub_days(chrono::Days::new(self.config.lookback_days.into()));
        let back = Timestamp::from_micros(covered.micros() - i64::from(self.config.lookback_days) * 86_400 * SECOND);
        let from = if self.form.is_daily() { day.map_or(start, |day| self.form.midnight(day)) } else { back };
        from.max(start)
    }

    /// Up to where a finished slice is settled: today goes on.
    pub(crate) fn settled(&self, slice: Slice, now: Timestamp) -> Timestamp {
        let now = if self.form.is_daily() { self.form.midnight(self.form.day_of(now)) } else { now };
        slice.until.min(now)
    }

    /// The rows that a slice covers.
    pub(crate) fn scope(&self, slice: Slice) -> RowScope {
        let (from, until) = slice_values(slice, &self.column, &self.form);
        RowScope::Range { column: self.config.column.clone(), from: Some(from), until: Some(until) }
    }

    /// What a listing of these slices covers, in values of the column, and which of its rows were asked for when whole
    /// days bring more. Nobody asks for the future, so nothing is said about it either.
    pub(crate) fn covers(&self, asked: Slice, slices: Slice) -> (RowScope, Option<RowScope>) {
        let covered = Slice { from: asked.from.max(slices.from), until: asked.until.min(slices.until) };
        let scope = self.scope(covered);
        let only = (covered != slices).then(|| scope.clone());
        (scope, only)
    }

    /// The range of instants that a scope asks for.
    ///
    /// # Errors
    /// `Config` when it is over another column.
    pub(crate) fn asked(&self, scope: &RowScope, now: Timestamp) -> Result<Slice> {
        let instant = |value: &Value| match value {
            Value::Timestamp(at) => Ok(*at),
            Value::Date(date) => Ok(self.form.midnight(*date)),
            _ => Err(Error::config("a range is between dates or timestamps").with("column", &self.config.column)),
        };
        match scope {
            RowScope::Range { column, from, until } if *column == self.config.column => Ok(Slice {
                from: from.as_ref().map_or_else(|| Ok(self.form.midnight(self.config.start)), instant)?,
                until: until.as_ref().map_or_else(|| Ok(self.end_of_day(now)), instant)?,
            }),
            RowScope::All => Ok(Slice { from: self.form.midnight(self.config.start), until: self.end_of_day(now) }),
            _ => Err(Error::config("the source reads ranges over another column").with("column", &self.config.column)),
        }
    }

    fn end_of_day(&self, at: Timestamp) -> Timestamp {
        self.form.day_of(at).succ_opt().map_or(at, |day| self.form.midnight(day))
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, NaiveDate, Utc};
    use sync_core::json::Zone;

    use super::*;

    fn at(text: &str) -> Timestamp {
        DateTime::parse_from_rfc3339(text).unwrap().with_timezone(&Utc).into()
    }

    fn window(change: impl FnOnce(&mut WindowConfig)) -> Window {
        let start = NaiveDate::from_ymd_opt(2026, 1, 1).unwrap();
        let mut config = WindowConfig::new("day", "from", "to", start);
        change(&mut config);
        Window::new(&config, &StreamSpec::new("s").key(["id"]).date("day")).unwrap()
    }

    #[test]
    fn slices_touch_and_never_reach_into_the_future() {
        let window = window(|config| config.max_days = 10);
        let slices = window.slices(at("2026-01-01T05:00:00Z"), at("2027-01-01T00:00:00Z"), at("2026-01-25T12:00:00Z"));
        let bounds: Vec<_> = slices.iter().map(|slice| window.bounds(*slice)).collect();
        let want = [("2026-01-01", "2026-01-10"), ("2026-01-11", "2026-01-20"), ("2026-01-21", "2026-01-25")];
        assert_eq!(bounds, want.map(|(from, to)| (from.to_owned(), to.to_owned())));
    }

    #[test]
    fn an_exclusive_end_names_the_day_after() {
        let window = window(|config| config.end = WindowEnd::Exclusive);
        let slice = Slice { from: at("2026-01-01T00:00:00Z"), until: at("2026-01-03T00:00:00Z") };
        assert_eq!(window.bounds(slice), ("2026-01-01".to_owned(), "2026-01-03".to_owned()));
    }

    #[test]
    fn the_next_read_begins_the_lookback_before_the_settled_day() {
        let window = window(|config| {
            config.zone = Zone::Fixed(4 * 3600);
            config.lookback_days = 3;
        });
        let slice = Slice { from: at("2026-01-01T20:00:00Z"), until: at("2026-01-20T20:00:00Z") };
        // 21:00 UTC is one o'clock of the 21st there.
        let settled = window.settled(slice, at("2026-01-20T12:00:00Z"));
        assert_eq!(settled, at("2026-01-19T20:00:00Z"));
        assert_eq!(window.begins(Some(settled)), at("2026-01-16T20:00:00Z"));
        assert_eq!(window.begins(None), at("2025-12-31T20:00:00Z"));
    }
}
