//! A database of one of three kinds: our sink, and an eye on it that shares no code with ours.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::types::ValueRef as Cell;
use sync_core::detect::Difference;
use sync_core::model::{Changes, Kind, Outcome, RowScope, StreamSpec};
use sync_core::sink::{
    Guard, Intent, MostDeletes, Publish, Stage, Step, StepReport, Write, WriteMode, WriteReport, WriteUnit,
};
use sync_core::state::StageName;
use sync_core::{Result, Rows, Scope, Sink, Value};
use sync_sql::{MySql, Postgres, Sqlite};
use sync_test_servers::Database;

#[derive(Debug)]
pub(crate) enum Place {
    Sqlite(tempfile::TempDir),
    Postgres(Database),
    MariaDb(Database),
}

pub(crate) struct Target {
    pub(crate) place: Place,
    pub(crate) sink: Arc<dyn Sink>,
}

impl Target {
    pub(crate) async fn all() -> [Self; 3] {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = Arc::new(Sqlite::open(folder.path().join("t.db")).await.unwrap());
        let postgres = sync_test_servers::postgres().await.unwrap();
        let mariadb = sync_test_servers::mariadb().await.unwrap();
        [
            Self { sink: sqlite, place: Place::Sqlite(folder) },
            Self {
                sink: Arc::new(Postgres::connect(&postgres.url()).await.unwrap()),
                place: Place::Postgres(postgres),
            },
            Self { sink: Arc::new(MySql::connect(&mariadb.url()).await.unwrap()), place: Place::MariaDb(mariadb) },
        ]
    }

    async fn apply(&self, steps: &[Step]) -> Result<WriteReport> {
        let scope =
            Scope { pipeline: "p".into(), feed: "f".into(), partition: Default::default(), lane: Default::default() };
        self.sink.apply(&WriteUnit { scope: &scope, steps, advance: None, intent: Intent::Commit }).await
    }

    pub(crate) async fn write(&self, stream: &StreamSpec, rows: &[Vec<Value>]) -> Result<Vec<Outcome>> {
        let report = self.apply(&[Step::Write(write(stream, rows)?)]).await?;
        match &report.steps[0] {
            StepReport::Rows(outcomes) => Ok(outcomes.clone()),
            other => panic!("{other:?}"),
        }
    }

    /// Stages these rows, publishes them, and lets rows in scope that are not among them be deleted. Says how many were.
    pub(crate) async fn replace(&self, stream: &StreamSpec, rows: &[Vec<Value>], scope: RowScope) -> Result<u64> {
        let Write { stream, changes, .. } = write(stream, rows)?;
        let stage = StageName::new("s");
        self.apply(&[Step::Stage(Stage { stage: stage.clone(), stream: Arc::clone(&stream), changes })]).await?;
        let publish = Publish {
            stage,
            stream,
            rows: scope,
            absent: sync_core::model::Absent::Delete,
            most: MostDeletes::Any,
            guard: Guard::Always,
            difference: Difference::Content,
            mode: WriteMode::Upsert,
            keys_only: false,
            skip: Vec::new(),
            spared: Vec::new(),
        };
        let report = self.apply(&[Step::Publish(publish)]).await?;
        match &report.steps[0] {
            StepReport::Published { absent, .. } => Ok(absent.count(Outcome::Deleted)),
            other => panic!("{other:?}"),
        }
    }

    /// The rows as a plain driver or the server's own client finds them: key and value, each as text.
    pub(crate) async fn found(&self, stream: &StreamSpec) -> BTreeMap<String, Option<String>> {
        let (key, value) = (stream.schema().fields()[0].name(), stream.schema().fields()[1].name());
        let kind = stream.schema().fields()[1].kind();
        match &self.place {
            Place::Sqlite(folder) => {
                let plain = rusqlite::Connection::open(folder.path().join("t.db")).unwrap();
                let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
                let sql = format!("SELECT {}, {} FROM {}", quote(key), quote(value), quote(stream.name()));
                let mut read = plain.prepare(&sql).unwrap();
                let rows =
                    read.query_map([], |row| Ok((text(row.get_ref(0)?).unwrap_or_default(), text(row.get_ref(1)?))));
                rows.unwrap().map(std::result::Result::unwrap).collect()
            }
            Place::Postgres(database) => {
                let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
                let hex = |text: String| format!("encode(convert_to({text}, 'UTF8'), 'hex')");
                let seen = match kind {
                    Kind::Bytes => format!("encode({}, 'hex')", quote(value)),
                    Kind::Timestamp => {
                        format!("to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')", quote(value))
                    }
                    _ => format!("{}::text", quote(value)),
                };
                let key = hex(quote(key));
                let sql = format!("SELECT {key}, {} FROM {}", hex(seen), quote(stream.name()));
                lines(&database.client(&sql).await.unwrap())
            }
            Place::MariaDb(database) => {
                let quote = |name: &str| format!("`{}`", name.replace('`', "``"));
                let seen = match kind {
                    Kind::Bytes => format!("hex(hex({}))", quote(value)),
                    Kind::Text | Kind::Json => format!("hex({})", quote(value)),
                    _ => format!("hex(CAST({} AS char))", quote(value)),
                };
                let sql = format!("SELECT hex({}), {seen} FROM {}", quote(key), quote(stream.name()));
                lines(&database.client(&sql).await.unwrap())
            }
        }
    }
}

fn write(stream: &StreamSpec, rows: &[Vec<Value>]) -> Result<Write> {
    let mut page = Rows::new(Arc::clone(stream.schema()));
    for row in rows {
        page.push(row.iter().map(Value::as_ref))?;
    }
    Ok(Write {
        stream: Arc::new(stream.clone()),
        changes: Changes::upserts(page),
        mode: WriteMode::Upsert,
        guard: Guard::Always,
        difference: Difference::Content,
        expect: Vec::new(),
    })
}

fn text(cell: Cell<'_>) -> Option<String> {
    match cell {
        Cell::Null => None,
        Cell::Integer(number) => Some(number.to_string()),
        Cell::Real(number) => Some(number.to_string()),
        Cell::Text(text) => Some(String::from_utf8(text.to_vec()).unwrap()),
        Cell::Blob(bytes) => Some(hex(bytes)),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Lines of two hexadecimal texts.
fn lines(said: &str) -> BTreeMap<String, Option<String>> {
    let plain = |hex: &str| {
        let digits = |place: usize| u8::from_str_radix(&hex[place..place + 2], 16).unwrap();
        String::from_utf8((0..hex.len()).step_by(2).map(digits).collect()).unwrap()
    };
    let pair = |line: &str| {
        let (key, value) = line.split_once('\t').unwrap();
        (plain(key), (value != "NULL").then(|| plain(value)))
    };
    said.split('\n').filter(|line| line.contains('\t')).map(pair).collect()
}
