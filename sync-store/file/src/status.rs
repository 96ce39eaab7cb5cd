//! What the file says, and its exact form.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::value::RawValue;
use sync_core::{Error, Result};

use crate::place;
use crate::state::State;

/// What `sync_status.json` says: seven fields in this order, then whatever other programs keep in it.
///
/// It is for people, scripts and dashboards. The engine never reads it: leases, positions and the run log are in the
/// state store, so that deleting the file loses nothing. Times are UTC, to the second.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SyncStatus {
    /// When everything was last in step: the end of the last run that completed while no pipeline was failing.
    pub last_synced_at: Option<DateTime<Utc>>,
    /// How it stands.
    pub status: State,
    /// Rows known to wait: those the source said it has and that are not in the target yet, those staged and not yet
    /// visible, deletes held back, rows that wait for a person, and rows a key listing named that the target lacks.
    pub pending_records: u64,
    /// Why it last failed or was held; `None` after a success. It holds no secret and no value of a row.
    pub last_error: Option<String>,
    /// How many runs failed since the last success.
    pub retry_count: u64,
    /// When the file was begun or reset.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
    others: BTreeMap<String, Box<RawValue>>,
}

const FIELDS: [&str; 7] =
    ["last_synced_at", "status", "pending_records", "last_error", "retry_count", "created_at", "updated_at"];

impl SyncStatus {
    /// Reads a status file, for a `status` command; `None` where there is none. It neither follows a symbolic link nor
    /// changes anything, and needs no lock: a status file is replaced whole.
    ///
    /// # Errors
    /// `Malformed` where the file is torn or not a status file: the next run starts it anew, and so does
    /// [`StatusFile::open`](crate::StatusFile::open). `Config` where the path is a symbolic link or a folder,
    /// `Forbidden` where it may not be read.
    pub fn read(path: impl AsRef<Path>) -> Result<Option<Self>> {
        let path = path.as_ref();
        let Some(bytes) = place::read(path)? else { return Ok(None) };
        Self::parse(&bytes).map(Some).map_err(|reason| {
            Error::malformed(format!("the status file {reason}; opening it for writing sets it aside and starts anew"))
                .with("path", path.display())
        })
    }

    /// The file's text, to the byte.
    pub fn to_json(&self) -> String {
        let time = |at: DateTime<Utc>| quoted(&rfc3339(at));
        let ours = [
            self.last_synced_at.map_or_else(null, time),
            quoted(self.status.name()),
            self.pending_records.to_string(),
            self.last_error.as_deref().map_or_else(null, quoted),
            self.retry_count.to_string(),
            time(self.created_at),
            time(self.updated_at),
        ];
        let ours = FIELDS.into_iter().zip(ours).map(|(name, value)| format!("  \"{name}\": {value}"));
        let others = self.others.iter().map(|(name, value)| format!("  {}: {value}", quoted(name)));
        let lines: Vec<String> = ours.chain(others).collect();
        format!("{{\n{}\n}}\n", lines.join(",\n"))
    }

    /// A file that begins now.
    pub(crate) fn begun(at: DateTime<Utc>) -> Self {
        Self {
            last_synced_at: None,
            status: State::Idle,
            pending_records: 0,
            last_error: None,
            retry_count: 0,
            created_at: at,
            updated_at: at,
            others: BTreeMap::new(),
        }
    }

    /// Begins again; what other programs keep in it stays.
    pub(crate) fn reset(&mut self, at: DateTime<Utc>) {
        *self = Self { others: std::mem::take(&mut self.others), ..Self::begun(at) };
    }

    /// Reads the text of a file, or says what is wrong with it, without quoting it: nobody knows what a foreign file
    /// holds.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.is_empty() {
            return Err("is empty".to_owned());
        }
        // Fields of others stay as they were written: a number need not fit any of ours.
        let mut others: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(bytes)
            .map_err(|error| format!("is no JSON object: line {}, column {}", error.line(), error.column()))?;
        let mut take = |name: &str| others.remove(name).ok_or_else(|| format!("has no field {name}"));
        let [synced, status, pending, error, retries, created, updated] = FIELDS;
        Ok(Self {
            last_synced_at: value(synced, &take(synced)?)?,
            status: State::from_name(value(status, &take(status)?)?),
            pending_records: value(pending, &take(pending)?)?,
            last_error: value(error, &take(error)?)?,
            retry_count: value(retries, &take(retries)?)?,
            created_at: value(created, &take(created)?)?,
            updated_at: value(updated, &take(updated)?)?,
            others,
        })
    }
}

impl fmt::Display for SyncStatus {
    /// For people: one line a field.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "status         {}", self.status)?;
        match self.last_synced_at {
            Some(at) => writeln!(f, "last synced    {}", rfc3339(at))?,
            None => writeln!(f, "last synced    never")?,
        }
        writeln!(f, "pending        {}", self.pending_records)?;
        writeln!(f, "failures       {}", self.retry_count)?;
        if let Some(error) = &self.last_error {
            writeln!(f, "last error     {error}")?;
        }
        write!(f, "updated        {}", rfc3339(self.updated_at))
    }
}

fn value<'a, T: serde::Deserialize<'a>>(name: &str, raw: &'a RawValue) -> Result<T, String> {
    serde_json::from_str(raw.get()).map_err(|_| format!("has something else than it should in the field {name}"))
}

fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn null() -> String {
    "null".to_owned()
}
