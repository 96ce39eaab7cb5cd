//! What a run did, as an aligned table to be read and as one JSON object to be parsed.

use std::fmt::{self, Write as _};
use std::time::Duration;

use serde_json::{Map, Value, json};

/// The width of the terminal we count on, and of the longest stream name we show whole, in characters.
const WIDTH: usize = 100;
const NAME_WIDTH: usize = 32;
/// Spaces between columns.
const GAP: usize = 2;
/// What is shown even where it is zero.
const ALWAYS: [&str; 4] = ["fetched", "created", "updated", "unchanged"];

/// The counts of every stream, and what the whole took.
#[derive(Debug)]
pub(crate) struct Report {
    /// For each stream what was counted under which label.
    pub(crate) streams: Vec<(String, Vec<(&'static str, u64)>)>,
    pub(crate) elapsed: Duration,
    /// Requests the source answered.
    pub(crate) requests: u64,
}

impl Report {
    /// The report as one JSON object on one line: the sums of all streams under their labels, then the rest.
    pub(crate) fn to_json(&self) -> String {
        let counts = |counts: &[(&'static str, u64)]| -> Map<String, Value> {
            counts.iter().map(|&(label, count)| (label.to_owned(), count.into())).collect()
        };
        let streams: Map<String, Value> =
            self.streams.iter().map(|(name, of)| (name.clone(), counts(of).into())).collect();
        let mut report = counts(&self.sums());
        report.insert("streams".into(), streams.into());
        report.insert("requests".into(), self.requests.into());
        report.insert("seconds".into(), json!(self.elapsed.as_secs_f64()));
        report.insert("rows_per_second".into(), self.rows_per_second().into());
        Value::from(report).to_string()
    }

    /// All labels, in the order in which they first appear, with the sums of all streams.
    fn sums(&self) -> Vec<(&'static str, u64)> {
        let mut sums: Vec<(&'static str, u64)> = Vec::new();
        for &(label, count) in self.streams.iter().flat_map(|(_, counts)| counts) {
            match sums.iter_mut().find(|(known, _)| *known == label) {
                Some((_, sum)) => *sum += count,
                None => sums.push((label, count)),
            }
        }
        sums
    }

    fn fetched(&self) -> u64 {
        self.sums().iter().find(|(label, _)| *label == "fetched").map_or(0, |(_, sum)| *sum)
    }

    fn rows_per_second(&self) -> u64 {
        let micros = self.elapsed.as_micros().max(1);
        u64::try_from(u128::from(self.fetched()) * 1_000_000 / micros).unwrap_or(u64::MAX)
    }

    fn columns(&self) -> Vec<Column> {
        let sums = self.sums();
        let shown = sums.iter().filter(|(label, sum)| *sum > 0 || ALWAYS.contains(label));
        shown.map(|&(label, sum)| Column::of(label, sum, &self.streams)).collect()
    }

    fn names(&self) -> Vec<String> {
        let names = self.streams.iter().map(|(name, _)| shortened(name));
        names.chain(std::iter::once("total".to_owned())).collect()
    }
}

impl fmt::Display for Report {
    /// The table, in as many blocks as it takes to stay within the width, and a line on speed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.names();
        let name_width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max("stream".len());
        for block in blocks(&self.columns(), WIDTH - name_width) {
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
        write!(
            f,
            "{} rows in {:.2} s: {} rows/s, {} to the source",
            grouped(self.fetched()),
            self.elapsed.as_secs_f64(),
            grouped(self.rows_per_second()),
            if self.requests == 1 { "1 request".to_owned() } else { format!("{} requests", grouped(self.requests)) },
        )
    }
}

/// One label with its counts for each stream and in sum.
struct Column {
    label: &'static str,
    cells: Vec<String>,
    width: usize,
}

impl Column {
    fn of(label: &'static str, sum: u64, streams: &[(String, Vec<(&'static str, u64)>)]) -> Self {
        let count = |counts: &Vec<(&'static str, u64)>| {
            counts.iter().filter(|(known, _)| *known == label).map(|(_, n)| n).sum()
        };
        let counts = streams.iter().map(|(_, counts)| count(counts)).chain(std::iter::once(sum));
        let cells: Vec<String> = counts.map(grouped).collect();
        let width = cells.iter().map(String::len).max().unwrap_or(0).max(label.len());
        Self { label, cells, width }
    }

    /// The room it takes, with the gap before it.
    fn space(&self) -> usize {
        self.width + GAP
    }
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
    use super::*;

    fn report(streams: &[(&str, &[(&'static str, u64)])]) -> Report {
        Report {
            streams: streams.iter().map(|(name, counts)| ((*name).to_owned(), counts.to_vec())).collect(),
            elapsed: Duration::from_millis(500),
            requests: 1234,
        }
    }

    const ALBUM: &[(&str, u64)] =
        &[("fetched", 12_347), ("created", 12_300), ("updated", 0), ("unchanged", 40), ("deleted", 0), ("rejected", 7)];
    const TRACK: &[(&str, u64)] =
        &[("fetched", 3), ("created", 3), ("updated", 0), ("unchanged", 0), ("deleted", 0), ("rejected", 0)];

    #[test]
    fn numbers_stand_under_their_labels_with_the_sum_below() {
        let text = report(&[("album", ALBUM), ("track", TRACK)]).to_string();
        let expected = "\
stream  fetched  created  updated  unchanged  rejected
album    12,347   12,300        0         40         7
track         3        3        0          0         0
──────────────────────────────────────────────────────
total    12,350   12,303        0         40         7

12,350 rows in 0.50 s: 24,700 rows/s, 1,234 requests to the source";
        assert_eq!(text, expected);
    }

    #[test]
    fn columns_of_zeros_are_left_out_but_for_the_four_that_everyone_looks_for() {
        let text = report(&[("track", TRACK)]).to_string();
        assert!(text.starts_with("stream  fetched  created  updated  unchanged\n"), "{text}");
        assert!(!text.contains("deleted"), "{text}");
    }

    #[test]
    fn a_count_that_one_stream_lacks_is_zero_there() {
        let text = report(&[("a", &[("fetched", 1)]), ("b", &[("fetched", 1), ("deleted", 2)])]).to_string();
        let expected = "\
stream  fetched  deleted
a             1        0
b             1        2
────────────────────────
total         2        2
";
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_however_much_there_is_to_say() {
        let labels = [
            "fetched",
            "created",
            "updated",
            "unchanged",
            "deleted",
            "duplicate",
            "filtered",
            "stale",
            "existing",
            "echo",
            "withheld",
            "rejected",
            "parked",
            "missing",
            "staged",
        ];
        let counts: Vec<(&'static str, u64)> = labels.iter().map(|label| (*label, 1_234_567_890)).collect();
        let text = report(&[("ein_wirklich_außergewöhnlich_langer_name", &counts), ("b", &counts)]).to_string();
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        for label in labels {
            assert_eq!(text.matches(label).count(), 1, "{label} in\n{text}");
        }
        assert!(text.contains("ein_wirklich_außergewöhnlich_la…"), "{text}");
    }

    #[test]
    fn a_report_without_streams_still_has_its_lines() {
        let text = report(&[]).to_string();
        assert!(text.contains("total") && text.contains("0 rows in"), "{text}");
    }

    #[test]
    fn the_json_has_the_sums_on_top_and_every_stream_below() {
        let json = report(&[("album", ALBUM), ("track", TRACK)]).to_json();
        assert!(!json.contains('\n'));
        let value: Value = serde_json::from_str(&json).expect("one JSON object");
        assert_eq!(value["fetched"], 12_350);
        assert_eq!(value["deleted"], 0);
        assert_eq!(value["rejected"], 7);
        assert_eq!(value["seconds"], 0.5);
        assert_eq!(value["rows_per_second"], 24_700);
        assert_eq!(value["requests"], 1234);
        assert_eq!(value["streams"]["track"]["created"], 3);
    }

    #[test]
    fn thousands_are_set_apart() {
        let grouping = [0, 999, 1000, 123_456, 1_234_567].map(grouped);
        assert_eq!(grouping, ["0", "999", "1,000", "123,456", "1,234,567"]);
    }
}
