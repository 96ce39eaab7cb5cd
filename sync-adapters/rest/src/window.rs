//! Ranges of dates: half-open inside, sliced, and written as the other side wants them.

use sync_core::model::{Field, RowScope, Timestamp};
use sync_core::{Error, Result, StreamSpec, Value};

use crate::config::{WindowConfig, WindowEnd};
use crate::plan::{field, is_temporal, slice_values};
use crate::position::Slice;
use crate::time_form::TimeForm;

const SECOND: i64 = 1_000_000;
/// Seconds.
const DAY: i64 = 86_400;

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
        check_halves(config, &form)?;
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

    /// The slice in two, each as long as the shortest one declared or a multiple of it, but for the last; `None` when it
    /// is no longer than that, or halving is not declared.
    pub(crate) fn halves(&self, slice: Slice) -> Option<(Slice, Slice)> {
        let smallest = i64::try_from(self.config.halve.as_ref()?.smallest_seconds).ok()?;
        let middle = if self.form.is_daily() {
            let first = self.form.day_of(slice.from);
            let days = (self.form.day_of(Timestamp::from_micros(slice.until.micros() - 1)) - first).num_days() + 1;
            let days = half(days, smallest / DAY)?;
            self.form.midnight(first.checked_add_days(chrono::Days::new(days.unsigned_abs()))?)
        } else {
            let length = half(slice.until.micros() - slice.from.micros(), smallest.checked_mul(SECOND)?)?;
            Timestamp::from_micros(slice.from.micros() + length)
        };
        Some((Slice { until: middle, ..slice }, Slice { from: middle, ..slice }))
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

/// The longer half of a length, in multiples of the smallest one.
fn half(length: i64, smallest: i64) -> Option<i64> {
    let parts = (length - 1).checked_div(smallest)? + 1;
    (parts > 1).then(|| (parts + 1) / 2 * smallest)
}

fn check_halves(config: &WindowConfig, form: &TimeForm) -> Result<()> {
    let Some(halve) = &config.halve else { return Ok(()) };
    let wrong = |field: &str, why: &str| Err(Error::config(format!("field `window.halve.{field}` {why}")));
    let day = DAY.unsigned_abs();
    let smallest = halve.smallest_seconds;
    if halve.after == 0 {
        return wrong("after", "is at least 1");
    }
    if smallest == 0 || smallest >= u64::from(config.max_days) * day {
        return wrong("smallest_seconds", "is at least 1, and less than `max_days`: nothing else can be halved");
    }
    let later = Timestamp::from_micros(i64::try_from(smallest).unwrap_or(i64::MAX / SECOND) * SECOND);
    let tells_apart = form.write(Timestamp::from_micros(0)) != form.write(later);
    if !tells_apart || (form.is_daily() && !smallest.is_multiple_of(day)) {
        return wrong("smallest_seconds", "is finer than `window.format` can say");
    }
    Ok(())
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
    fn halves_touch_at_midnight_and_end_at_the_shortest() {
        let bounds = |window: &Window, (first, second): (Slice, Slice)| [window.bounds(first), window.bounds(second)];
        let daily = window(|config| {
            config.zone = Zone::Fixed(4 * 3600);
            config.halve = Some(crate::config::HalveConfig { smallest_seconds: 2 * 86_400, after: 1 });
        });
        let slice = daily.slices(at("2026-03-27T12:00:00Z"), at("2026-03-31T12:00:00Z"), at("2026-06-01T00:00:00Z"))[0];
        let text = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        let halves = daily.halves(slice).unwrap();
        assert_eq!(bounds(&daily, halves), [text("2026-03-27", "2026-03-30"), text("2026-03-31", "2026-03-31")]);
        let quarters = daily.halves(halves.0).unwrap();
        assert_eq!(bounds(&daily, quarters), [text("2026-03-27", "2026-03-28"), text("2026-03-29", "2026-03-30")]);
        assert_eq!((daily.halves(quarters.1), daily.halves(halves.1)), (None, None));

        let hourly = window(|config| {
            config.format = "%Y-%m-%d %H:%M:%S".into();
            config.halve = Some(crate::config::HalveConfig { smallest_seconds: 3600, after: 1 });
        });
        let slice = Slice { from: at("2026-03-01T00:00:00Z"), until: at("2026-03-01T02:30:00Z") };
        let halves = hourly.halves(slice).unwrap();
        assert_eq!(
            bounds(&hourly, halves),
            [text("2026-03-01 00:00:00", "2026-03-01 01:59:59"), text("2026-03-01 02:00:00", "2026-03-01 02:29:59")]
        );
        assert_eq!(hourly.halves(halves.1), None, "half an hour is less than the shortest");
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
