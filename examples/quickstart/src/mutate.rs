//! `--mutate N`: changes exactly N rows at the source, spread over its tables.

use std::fmt;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use crate::alter::altered;
use crate::error::{Error, Result};
use crate::random::Random;
use crate::sidecar::Changes;
use crate::table::{Cell, DataSet, Table, rows, text_cell};

/// One changed value, to be shown.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Change {
    table: String,
    key: String,
    column: String,
    was: String,
    now: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, key, column, was, now } = self;
        write!(f, "{table} {key} {column}: {was} → {now}")
    }
}

/// Changes one visible value in each of `count` different rows, moves the time of their last update forward where they
/// have one, and records both. Keys never change. Which rows it takes depends on how often rows were changed before.
///
/// # Errors
/// There are not that many rows to change; then nothing is changed.
pub(crate) fn mutate(
    data: &mut DataSet,
    changes: &mut Changes,
    count: usize,
    now: DateTime<Utc>,
) -> Result<Vec<Change>> {
    let room: Vec<usize> = data.tables.iter().map(mutable_rows).collect();
    let most: usize = room.iter().sum();
    if count > most {
        return Err(Error::new(refusal(data, count, most)));
    }
    let mut stamps = Stamps::after(data, count, now);
    let shares = shares(&room, count, changes.rounds);
    let mut done = Vec::with_capacity(count);
    for (table, share) in data.tables.iter_mut().zip(shares) {
        let mut random = Random::labelled(changes.rounds, &table.name);
        for row in distinct(table.rows.len(), share, &mut random) {
            done.push(change(table, row, &mut random, &mut stamps, changes));
        }
    }
    changes.rounds += 1;
    Ok(done)
}

/// Without a column beside the key, nothing of a row can change.
fn mutable_rows(table: &Table) -> usize {
    if table.editable.is_empty() { 0 } else { table.rows.len() }
}

fn refusal(data: &DataSet, count: usize, most: usize) -> String {
    let fixed: Vec<&str> =
        data.tables.iter().filter(|table| table.editable.is_empty()).map(|table| table.name.as_str()).collect();
    let without =
        if fixed.is_empty() { String::new() } else { format!(" ({} only has key columns)", fixed.join(", ")) };
    format!("--mutate {count} is too many: {} can be changed{without}", rows(most))
}

/// How many rows of each table: one each in turn, beginning with another table every time.
fn shares(room: &[usize], count: usize, rounds: u64) -> Vec<usize> {
    let mut shares = vec![0; room.len()];
    let first = usize::try_from(rounds % (room.len().max(1) as u64)).expect("less than the number of tables");
    let mut left = count;
    while left > 0 {
        for table in (first..room.len()).chain(0..first) {
            if left > 0 && shares[table] < room[table] {
                shares[table] += 1;
                left -= 1;
            }
        }
    }
    shares
}

/// Some of the numbers below `bound`, none twice: the beginning of a Fisher-Yates shuffle.
fn distinct(bound: usize, count: usize, random: &mut Random) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..bound).collect();
    for place in 0..count {
        numbers.swap(place, place + random.below(bound - place));
    }
    numbers.truncate(count);
    numbers
}

fn change(table: &mut Table, row: usize, random: &mut Random, stamps: &mut Stamps, changes: &mut Changes) -> Change {
    let column = *random.pick(&table.editable);
    let now = altered(&table.rows[row][column], table.fields[column].kind());
    let was = replace(table, row, column, now.clone(), changes);
    if let Some(version) = table.version {
        replace(table, row, version, stamps.next(), changes);
    }
    Change {
        table: table.name.clone(),
        key: table.key_text(&table.rows[row]),
        column: table.fields[column].name().to_owned(),
        was: was.get().to_owned(),
        now: now.get().to_owned(),
    }
}

/// Puts another value into a row, records that, and gives back the value it had.
fn replace(table: &mut Table, row: usize, column: usize, now: Cell, changes: &mut Changes) -> Cell {
    let was = std::mem::replace(&mut table.rows[row][column], now.clone());
    let key = table.key_text(&table.rows[row]);
    changes.record(&table.name, key, table.fields[column].name(), was.clone(), now);
    was
}

/// Times of update: later than all the source has shown so far, no two alike, and as little in the future as can be.
struct Stamps(DateTime<Utc>);

impl Stamps {
    fn after(data: &DataSet, count: usize, now: DateTime<Utc>) -> Self {
        let span = TimeDelta::microseconds(i64::try_from(count).expect("no more rows than fit into memory"));
        let latest = data.tables.iter().filter_map(latest_update).max();
        let earliest = latest.map_or(now - span, |latest| latest + TimeDelta::microseconds(1));
        Self(earliest.max(now - span))
    }

    fn next(&mut self) -> Cell {
        let stamp = self.0;
        self.0 += TimeDelta::microseconds(1);
        text_cell(&stamp.to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

fn latest_update(table: &Table) -> Option<DateTime<Utc>> {
    let column = table.version?;
    table.rows.iter().filter_map(|row| serde_json::from_str(row[column].get()).ok()).max()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use sync_core::model::{Field, Kind};

    use super::*;
    use crate::table::token;

    /// Two tables that can be changed, with 3 and 20 rows, and one that has only keys.
    fn data() -> DataSet {
        let table = |name: &str, rows: usize, editable: Vec<usize>| Table {
            name: name.into(),
            fields: vec![
                Field::new("id", Kind::Int).required(),
                Field::new("city", Kind::Text),
                Field::new("price", Kind::Decimal { precision: 4, scale: 2 }),
                Field::new("updated_at", Kind::Timestamp).required(),
            ],
            key_width: 1,
            version: Some(3),
            editable,
            rows: (0..rows)
                .map(|id| {
                    let updated = format!("2026-01-01T00:00:{id:02}Z");
                    vec![token(id.to_string()), text_cell("Oslo"), token("1.00".into()), text_cell(&updated)]
                })
                .collect(),
        };
        let tables = vec![table("small", 3, vec![1, 2]), table("links", 9, vec![]), table("large", 20, vec![1, 2])];
        DataSet { name: "test".into(), tables }
    }

    fn now() -> DateTime<Utc> {
        "2026-02-01T00:00:00Z".parse().expect("a time")
    }

    fn texts(data: &DataSet) -> Vec<Vec<String>> {
        let rows = data.tables.iter().flat_map(|table| &table.rows);
        rows.map(|row| row.iter().map(|cell| cell.get().to_owned()).collect()).collect()
    }

    #[test]
    fn exactly_so_many_rows_change_and_never_a_key() {
        for count in [0, 1, 5, 22, 23] {
            let (mut data, mut changes) = (data(), Changes::default());
            let before = texts(&data);
            let done = mutate(&mut data, &mut changes, count, now()).expect("there are 23 rows to change");
            let after = texts(&data);
            let changed: Vec<usize> = (0..before.len()).filter(|&row| before[row] != after[row]).collect();
            assert_eq!((done.len(), changed.len()), (count, count));
            for row in changed {
                assert_eq!(before[row][0], after[row][0], "the key");
                assert_ne!(before[row][1..3], after[row][1..3], "something to be seen");
                assert_ne!(before[row][3], after[row][3], "the time of the update");
            }
        }
    }

    #[test]
    fn changes_are_spread_over_the_tables_that_can_take_them() {
        assert_eq!(shares(&[3, 0, 20], 5, 0), [3, 0, 2]);
        assert_eq!(shares(&[3, 0, 20], 10, 0), [3, 0, 7]);
        assert_eq!(shares(&[3, 0, 20], 1, 2), [0, 0, 1]);
        assert_eq!(shares(&[], 0, 0), [0; 0]);
    }

    #[test]
    fn more_rows_than_there_are_is_refused_and_changes_nothing() {
        let (mut data, mut changes) = (data(), Changes::default());
        let before = texts(&data);
        let error = mutate(&mut data, &mut changes, 24, now()).expect_err("there are only 23").to_string();
        assert_eq!(error, "--mutate 24 is too many: 23 rows can be changed (links only has key columns)");
        assert_eq!((texts(&data), changes.rounds), (before, 0));
    }

    #[test]
    fn the_recorded_changes_give_the_same_source_again() {
        let (mut changed, mut changes) = (data(), Changes::default());
        for _ in 0..4 {
            mutate(&mut changed, &mut changes, 9, now()).expect("there are rows enough");
        }
        let mut again = data();
        changes.apply(&mut again);
        assert_eq!(texts(&again), texts(&changed));
    }

    #[test]
    fn every_round_takes_other_rows() {
        let (mut data, mut changes) = (data(), Changes::default());
        let mut round = || mutate(&mut data, &mut changes, 4, now()).expect("there are rows enough");
        let keys =
            |done: Vec<Change>| done.into_iter().map(|change| (change.table, change.key)).collect::<BTreeSet<_>>();
        assert_ne!(keys(round()), keys(round()));
    }

    #[test]
    fn updates_are_later_than_all_before_even_where_the_clock_is_not() {
        for now in ["2026-02-01T00:00:00Z", "2025-01-01T00:00:00Z"] {
            let now = now.parse().expect("a time");
            let (mut data, mut changes) = (data(), Changes::default());
            let mut latest = data.tables.iter().filter_map(latest_update).max();
            for _ in 0..3 {
                mutate(&mut data, &mut changes, 4, now).expect("there are rows enough");
                let stamps: BTreeSet<DateTime<Utc>> = texts(&data)
                    .iter()
                    .map(|row| serde_json::from_str(&row[3]).expect("a time"))
                    .filter(|stamp| Some(*stamp) > latest)
                    .collect();
                assert_eq!(stamps.len(), 4, "four rows, four times");
                latest = stamps.last().copied();
            }
        }
    }

    #[test]
    fn a_change_shows_what_was_and_what_is() {
        let (mut data, mut changes) = (data(), Changes::default());
        data.tables.remove(2);
        data.tables[0].editable = vec![1];
        data.tables[0].rows.truncate(1);
        let done = mutate(&mut data, &mut changes, 1, now()).expect("there is one row");
        assert_eq!(done[0].to_string(), "small [0] city: \"Oslo\" → \"Oslo (rev 1)\"");
    }
}
