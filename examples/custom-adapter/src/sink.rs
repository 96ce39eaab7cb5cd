//! A sink of one's own: a file of JSON lines, one row each, always replaced as a whole.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind::NotFound;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use sync_core::sink::{Edit, Intent, SinkCapabilities, StepReport, StoredRow, WriteReport, WriteUnit};
use sync_core::{Error, Key, Result, Sink, StreamSpec, Value};

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
    /// `Config` or `Unavailable` when the file cannot be read, `Malformed` when a line is no row.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == NotFound => String::new(),
            read => read.map_err(|cause| Error::file("cannot read the file", cause).with("file", path.display()))?,
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
            let lines = table.iter().map(|row| Ok(serde_json::to_string(&row)? + "\n"));
            fs::write(&draft, lines.collect::<std::io::Result<String>>()?)?;
            File::options().write(true).open(&draft)?.sync_all()?;
            fs::rename(&draft, &self.path)
        };
        write().map_err(|cause| Error::file("cannot write the file", cause).with("file", self.path.display()))
    }
}

#[async_trait]
impl Sink for JsonLines {
    fn name(&self) -> &str {
        "json lines"
    }

    /// Each change is classified, then written: unchanged rows stay as they are, and every outcome is exact.
    async fn apply(&self, unit: &WriteUnit<'_>) -> Result<WriteReport> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut draft, mut report) = (table.clone(), WriteReport::default());
        for (step, write) in unit.writes()?.into_iter().enumerate() {
            let decided = write.decide(step, stored(&draft, &write.stream, &write.keys()))?;
            for Edit { key, row } in decided.edits {
                let place = (write.stream.name().to_owned(), key);
                match row {
                    Some(row) => drop(draft.insert(place, row.into_names(&write.stream))),
                    None => drop(draft.remove(&place)),
                }
            }
            report.steps.push(StepReport::Rows(decided.outcomes));
        }
        if unit.intent == Intent::Commit && draft != *table {
            self.save(&draft)?;
            *table = draft;
        }
        Ok(report)
    }

    async fn stored(&self, stream: &StreamSpec, keys: &[Key]) -> Result<Vec<Option<StoredRow>>> {
        Ok(stored(&self.table.lock().unwrap_or_else(PoisonError::into_inner), stream, keys))
    }

    fn capabilities(&self) -> SinkCapabilities {
        let mut capabilities = SinkCapabilities::idempotent();
        (capabilities.guards, capabilities.read_back, capabilities.rehearsal) = (true, true, true);
        capabilities
    }
}

fn stored(table: &Table, stream: &StreamSpec, keys: &[Key]) -> Vec<Option<StoredRow>> {
    let row = |key: &Key| table.get(&(stream.name().to_owned(), key.clone()));
    keys.iter().map(|key| row(key).map(|row| StoredRow::from_names(stream, row))).collect()
}
