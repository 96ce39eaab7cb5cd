//! The table of a report: as narrow as its numbers allow, columns of zeros left out.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::report::{Report, ScopeReport};
use crate::ledger::Ledger;
use crate::model::Outcome;
use crate::sink::Altered;
use crate::state::RunStatus;

/// The width of the terminal we count on, and of the longest name we show whole, in characters.
const WIDTH: usize = 100;
const NAME_WIDTH: usize = 32;
/// Spaces between columns.
const GAP: usize = 2;
/// A run with fewer rows or less time says nothing about speed.
const TELLING_ROWS: u64 = 1000;
const TELLING_TIME: Duration = Duration::from_millis(100);
/// What is shown even where it is zero.
const ALWAYS: [&str; 4] = ["fetched", "created", "updated", "unchanged"];

impl fmt::Display for Report {
    /// A line for each scope and a sum, a line on speed, and below them what needs attention.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = self.ledger();
        let ledgers: Vec<&Ledger> = self.scopes.iter().map(|scope| &scope.ledger).chain([&sum]).collect();
        let names: Vec<String> =
            self.scopes.iter().map(|scope| shortened(&self.name_of(scope))).chain(["total".to_owned()]).collect();
        let name_width =
            names.iter().map(|name| name.chars().count()).chain(["stream".len()]).max().unwrap_or_default();
        for block in blocks(&columns(&sum, &ledgers), WIDTH - name_width) {
            let rule = name_width + block.iter().map(Column::space).sum::<usize>();
            write_line(f, "stream", name_width, block, |column| column.label)?;
            for (line, name) in names.iter().enumerate() {
                if line + 1 == names.len() {
                    writeln!(f, "{}", "─".repeat(rule))?;
                }
                write_line(f, name, name_width, block, |column| &column.cells[line])?;
            }
            writeln!(f)?;
        }
        write!(f, "{} in {:.2} s", counted(sum.fetched, "row"), self.elapsed.as_secs_f64())?;
        if sum.fetched >= TELLING_ROWS && self.elapsed >= TELLING_TIME {
            write!(f, ": {} rows/s", grouped(self.rows_per_second()))?;
        }
        if self.requests() > 0 {
            write!(f, ", {} to the source", counted(self.requests(), "request"))?;
        }
        if self.status != RunStatus::Completed {
            write!(f, "\nthe run {}", self.status.told())?;
        }
        if self.dry_run {
            write!(f, "\ndry run: nothing was written")?;
        }
        self.scopes.iter().try_for_each(|scope| self.write_remarks(f, scope))?;
        for unfilled in self.unfilled() {
            let columns = unfilled.columns.join(", ");
            write!(
                f,
                "\n{}: none of {} has a value for {columns}; if the source has one, its name or place is declared wrong",
                unfilled.stream,
                counted(unfilled.rows, "row")
            )?;
        }
        Ok(())
    }
}

impl Report {
    /// What a reader calls a scope: its name without the pipeline's, which is the same in every line.
    fn name_of(&self, scope: &ScopeReport) -> String {
        let whole = scope.scope.to_string();
        let prefix = format!("{}/", self.pipeline);
        whole.strip_prefix(&prefix).unwrap_or(&whole).to_owned()
    }

    fn write_remarks(&self, f: &mut fmt::Formatter<'_>, scope: &ScopeReport) -> fmt::Result {
        let name = self.name_of(scope);
        if let Some(error) = &scope.error {
            write!(f, "\n{name}: {error}\n  what to do: {}", error.remedy())?;
        }
        if let Some(reason) = &scope.first_rejected {
            write!(f, "\n{name}: the first row that was rejected: {reason}")?;
        }
        if let Some(why) = &scope.retried_for {
            let times = counted(scope.write_retries, "time");
            write!(f, "\n{name}: a write was tried again {times}, at last because {why}")?;
        }
        let withheld = scope.ledger.count(Outcome::Withheld);
        if withheld > 0 {
            let deletes = counted(withheld, "delete");
            write!(f, "\n{name}: {deletes} withheld; if that is right, run again with `RunOptions::confirm_deletes`")?;
        }
        let Altered { added, widened } = &scope.altered;
        let verbs = |columns: &[String]| match (self.dry_run, columns.len()) {
            (true, 1) => ("is", "would be"),
            (true, _) => ("are", "would be"),
            (false, 1) => ("was", "was"),
            (false, _) => ("were", "were"),
        };
        if !added.is_empty() {
            let (columns, (is, was)) = (added.join(", "), verbs(added));
            write!(f, "\n{name}: {columns} {is} not in the target and {was} added")?;
            if let Some(why) = scope.hollow {
                let have = if self.dry_run { "would have" } else { "have" };
                write!(f, "; rows that came before {have} no value there, since {why}")?;
            }
        }
        if !widened.is_empty() {
            let (columns, (is, was)) = (widened.join(", "), verbs(widened));
            write!(f, "\n{name}: {columns} {is} too narrow in the target and {was} widened")?;
        }
        if let Some(why) = scope.unproven {
            write!(
                f,
                "\n{name}: what a listing does not name was left as it is, since {why}; the next one looks again"
            )?;
        }
        let rejected = scope.ledger.count(Outcome::Rejected);
        if rejected > 0 {
            let rows = counted(rejected, "row");
            if self.dry_run {
                write!(f, "\n{name}: {rows} would go to the dead letters")?;
            } else {
                write!(
                    f,
                    "\n{name}: {rows} went to the dead letters; `Engine::dead_letters` says what is wrong with each. Once the \
                     declaration or the target is mended, `Engine::replay` tries them again as they came; what is mended at the \
                     source comes again by itself"
                )?;
            }
        }
        let parked = scope.ledger.count(Outcome::Parked);
        if parked > 0 {
            let (rows, wait) = (counted(parked, "row"), if self.dry_run { "would wait" } else { "wait" });
            write!(
                f,
                "\n{name}: {rows} {wait} for a person's decision; a master has them in its inbox (`Hub::inbox`)"
            )?;
        }
        if scope.late > 0 {
            let (rows, lateness) = (counted(scope.late, "row"), lasting(scope.lateness));
            write!(
                f,
                "\n{name}: {rows} came late, by up to {lateness}: were they later than the source looks back, they would be \
                 missed; keep its lookback longer than that"
            )?;
        }
        if scope.missed > 0 {
            let rows = counted(scope.missed, "row");
            write!(
                f,
                "\n{name}: {rows} or more had been missed by the changes and {} repaired; if nobody wrote into the target, they \
                 commit later than the source assumes: raise its lookback",
                if scope.missed == 1 { "is" } else { "are" }
            )?;
        }
        Ok(())
    }
}

/// One label with its counts for each line.
struct Column {
    label: &'static str,
    cells: Vec<String>,
    width: usize,
}

impl Column {
    fn of(label: &'static str, counts: impl Iterator<Item = u64>) -> Self {
        let cells: Vec<String> = counts.map(grouped).collect();
        let width = cells.iter().map(String::len).chain([label.len()]).max().unwrap_or_default();
        Self { label, cells, width }
    }

    /// The room it takes, with the gap before it.
    fn space(&self) -> usize {
        self.width + GAP
    }
}

/// The columns that say something.
fn columns(sum: &Ledger, ledgers: &[&Ledger]) -> Vec<Column> {
    let column = |label: &'static str, count: &dyn Fn(&Ledger) -> u64| {
        (count(sum) > 0 || ALWAYS.contains(&label))
            .then(|| Column::of(label, ledgers.iter().map(|ledger| count(ledger))))
    };
    let came_in = [
        column("fetched", &|ledger| ledger.fetched),
        column("absent", &|ledger| ledger.absent),
        column("carried", &|ledger| ledger.carried),
    ];
    let became =
        Outcome::ALL.into_iter().map(|outcome| column(outcome.name(), &move |ledger: &Ledger| ledger.count(outcome)));
    came_in.into_iter().chain(became).flatten().collect()
}

/// Splits the columns so that each block fits into the width.
fn blocks(columns: &[Column], width: usize) -> Vec<&[Column]> {
    let mut blocks = Vec::new();
    let mut start = 0;
    let mut taken = 0;
    for (place, column) in columns.iter().enumerate() {
        if taken + column.space() > width && place > start {
            blocks.push(&columns[start..place]);
            (start, taken) = (place, 0);
        }
        taken += column.space();
    }
    blocks.push(&columns[start..]);
    blocks
}

fn write_line<'a>(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    name_width: usize,
    columns: &'a [Column],
    cell: impl Fn(&'a Column) -> &'a str,
) -> fmt::Result {
    let mut line = format!("{name:<name_width$}");
    for column in columns {
        write!(line, "{:>width$}", cell(column), width = column.space())?;
    }
    writeln!(f, "{}", line.trim_end())
}

/// The name, cut where it is too long.
fn shortened(name: &str) -> String {
    if name.chars().count() <= NAME_WIDTH {
        return name.to_owned();
    }
    name.chars().take(NAME_WIDTH - 1).chain(['…']).collect()
}

/// `1 row`, `1,234 rows`.
fn counted(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{} {what}s", grouped(number)) }
}

/// In the largest unit there are two of: `90 s`, `32 days`, `0.4 s`. Rounded up, since it is a least.
fn lasting(time: Duration) -> String {
    let units = [("days", 86_400_u128), ("hours", 3_600), ("minutes", 60), ("s", 1)];
    let found = units.into_iter().find(|(_, unit)| time.as_secs_f64() >= 2.0 * *unit as f64);
    found.map_or_else(
        || format!("{:.1} s", time.as_secs_f64()),
        |(name, unit)| format!("{} {name}", grouped(time.as_millis().div_ceil(unit * 1000) as u64)),
    )
}

/// `1234567` → `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::DateTime;

    use super::*;
    use crate::model::{Lane, Partition, Scope, Tally};
    use crate::state::RunId;

    fn scope(name: &str, fetched: u64, outcomes: &[(Outcome, u64)]) -> ScopeReport {
        let mut tally = Tally::new();
        outcomes.iter().for_each(|&(outcome, rows)| tally.add(outcome, rows));
        ScopeReport {
            scope: Scope {
                pipeline: "shop".into(),
                feed: name.into(),
                partition: Partition::default(),
                lane: Lane::Live,
            },
            status: RunStatus::Completed,
            ledger: Ledger { fetched, outcomes: tally, ..Ledger::default() },
            wire_bytes: 0,
            requests: 617,
            late: 0,
            lateness: Duration::ZERO,
            missed: 0,
            altered: Altered::default(),
            hollow: None,
            unproven: None,
            unfilled: Vec::new(),
            first_rejected: None,
            write_retries: 0,
            retried_for: None,
            elapsed: Duration::from_millis(250),
            error: None,
        }
    }

    fn report(scopes: Vec<ScopeReport>) -> Report {
        Report {
            run: RunId::new(DateTime::UNIX_EPOCH, 1),
            pipeline: "shop".into(),
            status: RunStatus::Completed,
            dry_run: false,
            scopes,
            elapsed: Duration::from_millis(500),
        }
    }

    #[test]
    fn numbers_stand_under_their_labels_with_the_sum_below() {
        let album = scope("album", 12_340, &[(Outcome::Created, 12_300), (Outcome::Unchanged, 40)]);
        let text = report(vec![album, scope("track", 3, &[(Outcome::Created, 3)])]).to_string();
        let expected = "\
stream  fetched  created  updated  unchanged
album    12,340   12,300        0         40
track         3        3        0          0
────────────────────────────────────────────
total    12,343   12,303        0         40

12,343 rows in 0.50 s: 24,686 rows/s, 1,234 requests to the source";
        assert_eq!(text, expected);
    }

    #[test]
    fn columns_of_zeros_are_left_out_but_for_the_four_that_everyone_looks_for() {
        let text = report(vec![scope("track", 3, &[(Outcome::Created, 3)])]).to_string();
        assert!(text.starts_with("stream  fetched  created  updated  unchanged\n"), "{text}");
        assert!(!text.contains("deleted"), "{text}");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_however_much_there_is_to_say() {
        let all: Vec<(Outcome, u64)> = Outcome::ALL.into_iter().map(|outcome| (outcome, 1_234_567_890)).collect();
        let text = report(vec![scope("ein_wirklich_außergewöhnlich_langer_name", 1, &all)]).to_string();
        let table = text.split_once("\n1 row in ").map_or(text.as_str(), |(table, _)| table);
        assert!(table.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(Outcome::ALL.into_iter().all(|outcome| table.matches(outcome.name()).count() == 1), "{text}");
    }

    #[test]
    fn what_needs_attention_stands_below_the_table() {
        let mut stuck = scope("track", 5, &[(Outcome::Withheld, 2), (Outcome::Rejected, 3)]);
        stuck.error = Some(crate::Error::unavailable("the shop does not answer"));
        let text = report(vec![stuck]).to_string();
        for part in [
            "track: the shop does not answer",
            "what to do:",
            "2 deletes withheld",
            "`RunOptions::confirm_deletes`",
            "3 rows went to the dead letters",
            "`Engine::dead_letters`",
            "`Engine::replay`",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn rows_that_came_late_are_told_in_a_readable_time_with_what_to_do() {
        let mut late = scope("track", 5, &[(Outcome::Created, 5)]);
        (late.late, late.lateness) = (5, Duration::from_secs(2_764_799));
        let text = report(vec![late]).to_string();
        assert!(text.contains("track: 5 rows came late, by up to 32 days") && text.contains("lookback"), "{text}");
        let told = [0.4, 1.0, 90.0, 121.0, 7_201.0].map(|time| lasting(Duration::from_secs_f64(time)));
        assert_eq!(told, ["0.4 s", "1.0 s", "90 s", "3 minutes", "3 hours"]);
    }

    #[test]
    fn a_run_too_small_for_it_says_nothing_of_speed() {
        let few = report(vec![scope("track", 999, &[(Outcome::Created, 999)])]);
        assert!(few.to_string().contains("\n999 rows in 0.50 s, 617 requests"), "{few}");
        let mut short = report(vec![scope("track", 5000, &[(Outcome::Created, 5000)])]);
        short.elapsed = Duration::from_millis(99);
        assert!(!short.to_string().contains("rows/s"), "{short}");
        assert!(!report(vec![]).to_string().contains("rows/s"));
    }

    #[test]
    fn a_run_that_did_not_complete_says_so_in_a_sentence() {
        let told = |status| {
            let report = Report { status, ..report(vec![]) };
            report.to_string().lines().last().unwrap().to_owned()
        };
        assert_eq!(told(RunStatus::Failed), "the run failed");
        assert_eq!(told(RunStatus::Cancelled), "the run was cancelled");
    }

    #[test]
    fn one_row_is_not_called_rows() {
        let text = report(vec![scope("track", 1, &[(Outcome::Rejected, 1)])]).to_string();
        assert!(text.contains("\n1 row in ") && text.contains("track: 1 row went to"), "{text}");
    }

    #[test]
    fn a_dry_run_has_written_no_dead_letters() {
        let mut dry = report(vec![scope("track", 3, &[(Outcome::Rejected, 3)])]);
        dry.dry_run = true;
        assert!(dry.to_string().contains("3 rows would go to the dead letters"), "{dry}");
    }

    #[test]
    fn thousands_are_set_apart() {
        let grouping = [0, 999, 1000, 123_456, 1_234_567].map(grouped);
        assert_eq!(grouping, ["0", "999", "1,000", "123,456", "1,234,567"]);
    }
}
