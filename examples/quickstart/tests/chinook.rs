//! The Chinook sample database through the whole road, compared by value with the files it came from.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::Connection;
use rusqlite::types::Value as Stored;
use serde_json::value::RawValue;

const TABLES: usize = 11;
const ROWS: usize = 15_607;

/// The folder of the files: what `CHINOOK` names, or the one beside the repository. They are no part of the repository,
/// so there may be none; but a folder that was named must be there.
fn files() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CHINOOK").filter(|named| !named.is_empty()) {
        let folder = PathBuf::from(named);
        assert!(folder.is_dir(), "CHINOOK names {}, which is no folder", folder.display());
        return Some(folder);
    }
    Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/chinook")).filter(|folder| folder.is_dir())
}

/// Runs the quickstart and returns the JSON object on its last line.
fn quickstart(files: &Path, db: &Path, more: &[&str]) -> serde_json::Value {
    let output = Command::new(env!("CARGO_BIN_EXE_quickstart"))
        .arg("--data")
        .arg(files)
        .arg("--db")
        .arg(db)
        .arg("--json")
        .args(more)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    let number = |name: &str| report[name].as_u64().unwrap();
    let outcomes = ["created", "updated", "unchanged", "deleted", "duplicate", "filtered", "stale", "existing", "echo"];
    let rest = ["withheld", "rejected", "parked", "missing", "staged"];
    let sum: u64 = outcomes.into_iter().chain(rest).map(number).sum();
    assert_eq!(number("fetched") + number("absent") + number("carried"), sum, "the ledger balances: {report}");
    report
}

type Row = BTreeMap<String, Box<RawValue>>;

/// Every table and its rows, as the files have them.
fn expected(files: &Path) -> BTreeMap<String, Vec<Row>> {
    let mut tables = BTreeMap::new();
    for entry in std::fs::read_dir(files).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            let text = std::fs::read_to_string(&path).unwrap();
            let rows =
                text.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect();
            tables.insert(path.file_stem().unwrap().to_string_lossy().into_owned(), rows);
        }
    }
    tables
}

/// Whether the stored value is the file's, exactly: numbers by their digits, never through a float.
fn same(stored: &Stored, raw: &RawValue) -> bool {
    match stored {
        Stored::Null => raw.get() == "null",
        Stored::Integer(number) => raw.get() == number.to_string(),
        Stored::Text(text) if raw.get().starts_with('"') => {
            serde_json::from_str::<String>(raw.get()).is_ok_and(|from| from == *text)
        }
        Stored::Text(decimal) => plain(decimal) == plain(raw.get()),
        Stored::Real(_) | Stored::Blob(_) => false,
    }
}

/// A decimal without the zeros that say nothing.
fn plain(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

/// How many rows differ from the files, after checking that there is one stored row for each of the files' rows.
fn differing(files: &Path, db: &Path) -> usize {
    let connection = Connection::open(db).unwrap();
    let mut differ = 0;
    for (table, rows) in expected(files) {
        let stored: i64 =
            connection.query_row(&format!("SELECT count(*) FROM \"{table}\""), [], |row| row.get(0)).unwrap();
        assert_eq!(stored, i64::try_from(rows.len()).unwrap(), "{table}");
        let key = key_columns(&connection, &table);
        let matching: Vec<String> = key.iter().map(|column| format!("\"{column}\" = ?")).collect();
        let mut select =
            connection.prepare(&format!("SELECT * FROM \"{table}\" WHERE {}", matching.join(" AND "))).unwrap();
        let columns: Vec<String> = select.column_names().into_iter().map(str::to_owned).collect();
        for row in &rows {
            assert_eq!(columns.len(), row.len(), "{table}");
            let values: Vec<i64> = key.iter().map(|column| row[column].get().parse().unwrap()).collect();
            let found: Vec<Stored> = select
                .query_row(rusqlite::params_from_iter(values), |found| {
                    (0..columns.len()).map(|column| found.get(column)).collect()
                })
                .unwrap();
            differ += usize::from(!columns.iter().zip(&found).all(|(column, stored)| same(stored, &row[column])));
        }
    }
    differ
}

fn key_columns(connection: &Connection, table: &str) -> Vec<String> {
    let mut read = connection.prepare("SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk").unwrap();
    read.query_map([table], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn every_row_of_chinook_arrives_as_it_is_in_the_files_and_then_exactly_what_changes() {
    let Some(files) = files() else {
        eprintln!(
            "SKIPPED: there is no Chinook sample database in ../shared/data/chinook; CHINOOK may name another folder"
        );
        return;
    };
    let files = files.as_path();
    let folder = tempfile::tempdir().unwrap();
    let db = folder.path().join("chinook.db");
    assert_eq!((expected(files).len(), expected(files).values().map(Vec::len).sum::<usize>()), (TABLES, ROWS));

    let plan = quickstart(files, &db, &["--dry-run"]);
    assert_eq!(plan["created"], ROWS);
    let tables = |name: &str| -> i64 {
        let connection = Connection::open(&db).unwrap();
        connection.query_row("SELECT count(*) FROM sqlite_schema WHERE name = ?", [name], |row| row.get(0)).unwrap()
    };
    assert_eq!(tables("track"), 0, "a dry run leaves no trace");

    let first = quickstart(files, &db, &[]);
    assert_eq!((&first["created"], &first["fetched"]), (&ROWS.into(), &ROWS.into()));
    assert_eq!(differing(files, &db), 0);
    assert_eq!(key_columns(&Connection::open(&db).unwrap(), "playlist_track"), ["playlist_id", "track_id"]);

    let second = quickstart(files, &db, &[]);
    assert_eq!(
        [&second["created"], &second["updated"], &second["deleted"]],
        [0, 0, 0].map(serde_json::Value::from).each_ref()
    );
    assert_eq!(differing(files, &db), 0);

    let third = quickstart(files, &db, &["--mutate", "25"]);
    assert_eq!(
        [&third["created"], &third["updated"], &third["deleted"]],
        [0, 25, 0].map(serde_json::Value::from).each_ref()
    );
    assert_eq!(differing(files, &db), 25);
}
