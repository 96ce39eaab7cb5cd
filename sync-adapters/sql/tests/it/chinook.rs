//! The Chinook sample database from database to database, compared with its files after every hop by eyes that are not
//! ours: a plain driver, `psql` and `mariadb`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::types::ValueRef as Cell;
use sync_core::memory::MemoryStore;
use sync_core::model::{Kind, Outcome};
use sync_core::state::RunStatus;
use sync_core::{Engine, Pipeline, RunOptions, Sink, Source, StreamSpec, SystemClock};
use sync_sql::{MySql, MySqlSource, Postgres, PostgresSource, Sqlite, SqliteSource};

const ROWS: usize = 15_607;

/// What `CHINOOK` names, or the folder beside the repository, of which it is no part.
fn files() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CHINOOK").filter(|named| !named.is_empty()) {
        let folder = PathBuf::from(named);
        assert!(folder.is_dir(), "CHINOOK names {}, which is no folder", folder.display());
        return Some(folder);
    }
    Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/chinook")).filter(|folder| folder.is_dir())
}

struct Table {
    stream: StreamSpec,
    /// Each row's cells as text, in the order of the stream's columns, sorted.
    rows: Vec<Vec<Option<String>>>,
}

fn kind_of(column: &str) -> Kind {
    match column {
        "unit_price" | "total" => Kind::Decimal { precision: 10, scale: 2 },
        "quantity" | "milliseconds" | "bytes" | "reports_to" => Kind::Int,
        _ if column.ends_with("_id") => Kind::Int,
        _ if column.ends_with("_date") => Kind::Timestamp,
        _ => Kind::Text,
    }
}

/// The tables as the files have them.
fn tables(files: &Path) -> Vec<Table> {
    let mut tables = Vec::new();
    for entry in std::fs::read_dir(files).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let objects: Vec<BTreeMap<String, Box<serde_json::value::RawValue>>> =
            text.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect();
        let key: Vec<String> = match name.as_str() {
            "playlist_track" => vec!["playlist_id".into(), "track_id".into()],
            _ => vec![format!("{name}_id")],
        };
        let columns: Vec<&String> = objects[0].keys().collect();
        let stream = columns.iter().fold(StreamSpec::new(&name), |stream, column| {
            stream.field(sync_core::model::Field::new(column.as_str(), kind_of(column)))
        });
        let cell = |raw: &serde_json::value::RawValue| match raw.get() {
            "null" => None,
            text if text.starts_with('"') => Some(serde_json::from_str::<String>(text).unwrap()),
            number => Some(number.to_owned()),
        };
        let mut rows: Vec<Vec<Option<String>>> = objects
            .iter()
            .map(|object| columns.iter().map(|column| one_form(kind_of(column), cell(&object[*column]))).collect())
            .collect();
        rows.sort();
        tables.push(Table { stream: stream.key(key), rows });
    }
    tables
}

/// A cell's text, in one form for files and databases.
fn one_form(kind: Kind, cell: Option<String>) -> Option<String> {
    cell.map(|text| match kind {
        Kind::Decimal { .. } => {
            let (whole, fraction) = text.split_once('.').unwrap_or((text.as_str(), ""));
            format!("{whole}.{fraction:0<2}")
        }
        Kind::Timestamp => text.replace('T', " ")[..19].to_owned(),
        _ => text,
    })
}

/// The database from which everything starts, filled by a plain driver.
fn fill(file: &Path, tables: &[Table]) {
    let mut plain = rusqlite::Connection::open(file).unwrap();
    let transaction = plain.transaction().unwrap();
    for table in tables {
        let columns: Vec<String> = table
            .stream
            .schema()
            .fields()
            .iter()
            .map(|field| {
                let declared = match field.kind() {
                    Kind::Int => "INTEGER",
                    Kind::Decimal { .. } => "DECIMAL_TEXT(10,2)",
                    _ => "TEXT",
                };
                format!("{} {declared}", field.name())
            })
            .collect();
        let (name, key) = (table.stream.name(), table.stream.key_columns().join(", "));
        transaction
            .execute_batch(&format!("CREATE TABLE {name} ({}, PRIMARY KEY ({key}))", columns.join(", ")))
            .unwrap();
        let places = vec!["?"; columns.len()].join(", ");
        let mut insert = transaction.prepare(&format!("INSERT INTO {name} VALUES ({places})")).unwrap();
        for row in &table.rows {
            insert.execute(rusqlite::params_from_iter(row)).unwrap();
        }
    }
    transaction.commit().unwrap();
}

async fn hop(name: &str, tables: &[Table], source: impl Source + 'static, sink: impl Sink + 'static) {
    let pipeline =
        tables.iter().fold(Pipeline::new(name, source, sink), |pipeline, table| pipeline.stream(table.stream.clone()));
    let store = MemoryStore::new(Arc::new(SystemClock::new()));
    let engine = Engine::builder(store).pipeline(pipeline).build().unwrap();
    for outcome in [Outcome::Created, Outcome::Unchanged] {
        let report = engine.run_with(name, RunOptions::full()).await.unwrap();
        assert_eq!(report.status, RunStatus::Completed, "{name}: {report}");
        assert_eq!(report.ledger().count(outcome), ROWS as u64, "{name}: {report}");
    }
}

fn compare(place: &str, table: &Table, mut found: Vec<Vec<Option<String>>>) {
    for row in &mut found {
        for (cell, field) in row.iter_mut().zip(table.stream.schema().fields()) {
            *cell = one_form(field.kind(), cell.take());
        }
    }
    found.sort();
    assert_eq!(found.len(), table.rows.len(), "{place}: {}", table.stream.name());
    let differing = found.iter().zip(&table.rows).find(|(found, expected)| found != expected);
    assert_eq!(differing, None, "{place}: {}", table.stream.name());
}

fn compare_sqlite(file: &Path, tables: &[Table]) {
    let plain = rusqlite::Connection::open(file).unwrap();
    for table in tables {
        let columns: Vec<&str> = table.stream.schema().fields().iter().map(|field| field.name()).collect();
        let mut read = plain.prepare(&format!("SELECT {} FROM {}", columns.join(", "), table.stream.name())).unwrap();
        let cell = |cell: Cell<'_>| match cell {
            Cell::Null => None,
            Cell::Integer(number) => Some(number.to_string()),
            Cell::Text(text) => Some(String::from_utf8(text.to_vec()).unwrap()),
            other => panic!("{other:?}"),
        };
        let rows = read.query_map([], |row| (0..columns.len()).map(|column| row.get_ref(column).map(cell)).collect());
        compare("SQLite", table, rows.unwrap().map(Result::unwrap).collect());
    }
}

/// Lines of hexadecimal cells, parted by tabs.
fn cells(said: &str) -> Vec<Vec<Option<String>>> {
    let plain = |hex: &str| {
        let digits = |place: usize| u8::from_str_radix(&hex[place..place + 2], 16).unwrap();
        String::from_utf8((0..hex.len()).step_by(2).map(digits).collect()).unwrap()
    };
    said.lines().map(|line| line.split('\t').map(|cell| (cell != "NULL").then(|| plain(cell))).collect()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_chinook_is_the_same_after_every_hop_from_database_to_database() {
    let Some(files) = files() else {
        eprintln!(
            "SKIPPED: there is no Chinook sample database in ../shared/data/chinook; CHINOOK may name another folder"
        );
        return;
    };
    let tables = tables(&files);
    assert_eq!((tables.len(), tables.iter().map(|table| table.rows.len()).sum::<usize>()), (11, ROWS));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chinook.db");
    fill(&file, &tables);
    compare_sqlite(&file, &tables);

    let postgres = sync_test_servers::postgres().await.unwrap();
    let source = SqliteSource::open(&file).await.unwrap();
    let source = tables.iter().fold(source, |source, table| source.table(table.stream.clone()));
    hop("SQLite to PostgreSQL", &tables, source, Postgres::connect(&postgres.url()).await.unwrap()).await;
    for table in &tables {
        let column = |field: &sync_core::model::Field| match field.kind() {
            Kind::Timestamp => format!("({} AT TIME ZONE 'UTC')::text", field.name()),
            _ => format!("{}::text", field.name()),
        };
        let hex = |field| format!("encode(convert_to({}, 'UTF8'), 'hex')", column(field));
        let columns: Vec<String> = table.stream.schema().fields().iter().map(hex).collect();
        let said =
            postgres.client(&format!("SELECT {} FROM {}", columns.join(", "), table.stream.name())).await.unwrap();
        compare("psql", table, cells(&said));
    }

    let mariadb = sync_test_servers::mariadb().await.unwrap();
    let source = PostgresSource::connect(&postgres.url()).await.unwrap();
    let source = tables.iter().fold(source, |source, table| source.table(table.stream.clone()));
    hop("PostgreSQL to MariaDB", &tables, source, MySql::connect(&mariadb.url()).await.unwrap()).await;
    for table in &tables {
        let hex = |field: &sync_core::model::Field| format!("hex(CAST({} AS char))", field.name());
        let columns: Vec<String> = table.stream.schema().fields().iter().map(hex).collect();
        let said =
            mariadb.client(&format!("SELECT {} FROM {}", columns.join(", "), table.stream.name())).await.unwrap();
        compare("mariadb", table, cells(&said));
    }

    let back = folder.path().join("back.db");
    let source = MySqlSource::connect(&mariadb.url()).await.unwrap();
    let source = tables.iter().fold(source, |source, table| source.table(table.stream.clone()));
    hop("MariaDB to SQLite", &tables, source, Sqlite::open(&back).await.unwrap()).await;
    compare_sqlite(&back, &tables);
}
