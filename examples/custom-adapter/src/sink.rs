//! A sink of one's own: a file of JSON lines, one row each, always replaced as a whole.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind::NotFound, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use sync_core::model::{Change, Outcome, Rows};
use sync_core::sink::{Intent, SinkCapabilities, Step, StepReport, StoredRow, Write, WriteReport, WriteUnit};
use sync_core::{Error, Key, Result, Sink, StreamSpec, Value, ValueRef};

/// Rows by stream and key. A row is its values by column, so that a stream may gain columns later.
type Table = BTreeMap<(String, Key), BTreeMap<String, Value>>;

/// Writes rows into a file. For small tables: each unit writes the whole file.
#[derive(Debug)]
pub struct JsonLines {
    path: PathBuf,
    table: Mutex<Table>,
}

impl JsonLines {
    /// Opens a file, or begins a new one.
    ///
    /// # Errors
    /// `Unavailable` when the file cannot be read, `Malformed` when a line is no row.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == NotFound => String::new(),
            read => read.map_err(|error| failed("read", &path, error))?,
        };
        let rows = text.lines().map(serde_json::from_str).collect::<Result<_, _>>();
        let table =
            rows.map_err(|cause| Error::malformed("a line is no row").with("file", path.display()).caused_by(cause))?;
        Ok(Self { path, table: Mutex::new(table) })
    }

    /// Renaming is atomic: whoever opens the file finds all of the unit or nothing of it.
    fn save(&self, table: &Table) -> Result<()> {
        let draft = self.path.with_extension("draft");
        let write = || {
            let mut file = BufWriter::new(File::create(&draft)?);
            for line in table {
                serde_json::to_writer(&mut file, &line)?;
                file.write_all(b"\n")?;
            }
            file.into_inner()?.sync_all()?;
            fs::rename(&draft, &self.path)
        };
        write().map_err(|error| failed("write", &self.path, error))
    }
}

#[async_trait]
impl Sink for JsonLines {
    fn name(&self) -> &str {
        "json lines"
    }

    async fn apply(&self, unit: &WriteUnit<'_>) -> Result<WriteReport> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut draft, mut report) = (table.clone(), WriteReport::default());
        for (index, step) in unit.steps.iter().enumerate() {
            let Step::Write(write) = step else {
                return Err(Error::config("this sink does not stage").with("sink", self.name()));
            };
            report.steps.push(StepReport::Rows(write_rows(&mut draft, index, write)?));
        }
        if unit.intent == Intent::Commit && draft != *table {
            self.save(&draft)?;
            *table = draft;
        }
        Ok(report)
    }

    async fn stored(&self, stream: &StreamSpec, keys: &[Key]) -> Result<Vec<Option<StoredRow>>> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let stored = |key: &Key| {
            let row = table.get(&(stream.name().to_owned(), key.clone()));
            row.map(|row| Ok(StoredRow { values: in_order(stream, row)?.row(0).to_values() })).transpose()
        };
        keys.iter().map(stored).collect()
    }

    fn capabilities(&self) -> SinkCapabilities {
        let mut capabilities = SinkCapabilities::idempotent();
        (capabilities.guards, capabilities.read_back, capabilities.rehearsal) = (true, true, true);
        capabilities
    }
}

/// Classifies each change, then writes it: unchanged rows stay as they are, and every outcome is exact.
fn write_rows(table: &mut Table, step: usize, write: &Write) -> Result<Vec<Outcome>> {
    let (stream, keys) = (&write.stream, write.stream.key_indices());
    let mut put = |(row, change): (usize, Change<'_>)| {
        let place = (stream.name().to_owned(), change.key(&keys));
        let existing = table.get(&place).map(|row| in_order(stream, row)).transpose()?;
        let existing = existing.as_ref().map(|rows| rows.row(0));
        let outcome = write.outcome(row, existing).map_err(|error| error.at_row(step, row))?;
        match outcome {
            Outcome::Created | Outcome::Updated => {
                let names = stream.schema().fields().iter().map(|field| field.name().to_owned());
                drop(table.insert(place, names.zip(change.onto(existing)).collect()));
            }
            Outcome::Deleted => drop(table.remove(&place)),
            _ => {}
        }
        Ok(outcome)
    };
    write.changes.iter().enumerate().map(&mut put).collect()
}

/// A row as its stream declares it; a column it does not have yet is empty.
fn in_order(stream: &StreamSpec, row: &BTreeMap<String, Value>) -> Result<Rows> {
    let mut rows = Rows::new(Arc::clone(stream.schema()));
    let columns = stream.schema().fields().iter().map(|field| row.get(field.name()));
    rows.push(columns.map(|value| value.map_or(ValueRef::Null, Value::as_ref)))?;
    Ok(rows)
}

fn failed(doing: &str, path: &Path, cause: std::io::Error) -> Error {
    Error::unavailable(format!("cannot {doing} the file")).with("file", path.display()).caused_by(cause)
}
