//! The listener: takes events as they come, and writes the file on a thread of its own.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sync_core::event::{Event, Listener};
use sync_core::{Clock, Error, ErrorKind, Result};

use crate::change::Change;
use crate::follow::Follow;
use crate::last_error;
use crate::place::{BROKEN, NAME, Place};
use crate::state::State;
use crate::status::SyncStatus;

/// How long [`StatusFile::flush`] and the drop of the last handle wait for a disk that does not answer.
const PATIENCE: Duration = Duration::from_secs(6);

/// Keeps `sync_status.json` in step with an engine it listens to. Cheap to clone; all clones are one listener.
///
/// *It stands in nobody's way.* Events are taken in memory and written by a thread of its own, so that a slow disk holds
/// no run up. A file that cannot be written stops no run either: it is said once in the log, and tried again with the
/// next event; what was missed is in the file then. Dry runs leave it alone.
/// *One file, several pipelines.* It tells of the worst of them, and of `running` while one is under way. Engines of
/// one process, or of several, may share it: each write reads the file, changes it, and replaces it under a lock.
/// *At the end.* Dropping the last handle, which the engine holds, waits for what is still to be written.
#[derive(Debug, Clone)]
pub struct StatusFile {
    writer: Arc<Writer>,
}

/// Ends its thread when the last handle goes.
#[derive(Debug)]
struct Writer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    place: Place,
    clock: Arc<dyn Clock>,
    desk: Mutex<Desk>,
    changed: Condvar,
}

/// What lies between those who tell and the one who writes.
#[derive(Debug, Default)]
struct Desk {
    follow: Follow,
    due: Option<Change>,
    /// Whether `due` is to be tried now; after a failure it waits for the next event.
    wake: bool,
    writing: bool,
    closing: bool,
    ended: bool,
    failed: Option<(ErrorKind, String)>,
}

impl StatusFile {
    /// Opens `sync_status.json` in this folder, or begins it, and makes sure that it can be written. A file that is
    /// torn, empty or of another kind is kept as `sync_status.json.broken`, and one that others may read is made
    /// readable by its owner alone.
    ///
    /// It reads and writes at once: call it before the engine is built, not within a run. Times come from the clock.
    ///
    /// # Errors
    /// `Config` where the folder does not exist, or where the file is a symbolic link or no regular file; `Forbidden`
    /// where the folder cannot be written; `Full` where there is no room. All name the path.
    pub fn open(folder: impl AsRef<Path>, clock: Arc<dyn Clock>) -> Result<Self> {
        let place = Place::find(folder.as_ref())?;
        rewrite(&place, clock.now(), |_| {})?;
        let shared = Arc::new(Shared { place, clock, desk: Mutex::new(Desk::default()), changed: Condvar::new() });
        let for_thread = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("sync-status".to_owned())
            .spawn(move || for_thread.write_until_closed())
            .map_err(|cause| {
                Error::unavailable("no thread can be started to write the status file").caused_by(cause)
            })?;
        Ok(Self { writer: Arc::new(Writer { shared }) })
    }

    /// Where the file is. Links in the folder's path are resolved.
    pub fn path(&self) -> PathBuf {
        self.writer.shared.place.path(NAME)
    }

    /// Waits until everything told so far is in the file, trying once more what failed before. It blocks: from async
    /// code, call it through `spawn_blocking`.
    ///
    /// # Errors
    /// Why the file could not be written; `Unavailable` where the disk has not answered for 6 s.
    pub fn flush(&self) -> Result<()> {
        let shared = &self.writer.shared;
        let mut desk = shared.desk();
        desk.wake |= desk.due.is_some();
        shared.changed.notify_all();
        let desk = shared.wait(desk);
        match &desk.failed {
            _ if desk.wake || desk.writing => {
                Err(Error::unavailable("the disk with the status file does not answer")
                    .with("path", self.path().display()))
            }
            Some((kind, text)) => Err(Error::new(*kind, text.clone())),
            None => Ok(()),
        }
    }

    /// A sync of the host's own begins, such as that of a two-way branch, which no engine tells of.
    pub fn began(&self) {
        self.tell(|now| Change { status: Some(State::Running), ..Change::at(now) });
    }

    /// It succeeded; so many rows wait all the same, for a person or for another row.
    pub fn succeeded(&self, pending: u64) {
        self.tell(|now| Change {
            status: Some(State::Success),
            synced: Some(now),
            pending: Some(pending),
            error: Some(None),
            succeeded: true,
            ..Change::at(now)
        });
    }

    /// It failed; so many rows wait for the next one, which counts this failure.
    pub fn failed(&self, error: &Error, pending: u64) {
        let error = last_error::of(Some(error.kind()), &error.to_string());
        self.tell(|now| Change {
            status: Some(State::Failed),
            pending: Some(pending),
            error: Some(Some(error)),
            failures: 1,
            ..Change::at(now)
        });
    }

    fn tell(&self, change: impl FnOnce(DateTime<Utc>) -> Change) {
        let shared = &self.writer.shared;
        let change = change(shared.clock.now());
        shared.desk().add(change);
        shared.changed.notify_all();
    }

    /// Begins the file again: `idle`, never synced, nothing pending, no error, no failures counted, both times now.
    /// Fields of other programs stay. It changes nothing but the file: the engine goes on from its positions, which
    /// are in the state store. It blocks, as [`StatusFile::flush`] does.
    ///
    /// # Errors
    /// As [`StatusFile::flush`]; it is done with the next write then.
    pub fn reset(&self) -> Result<()> {
        let shared = &self.writer.shared;
        let now = shared.clock.now();
        let change = Change { afresh: Some(now), ..Change::at(now) };
        let mut desk = shared.desk();
        desk.follow.forget();
        desk.add(change);
        drop(desk);
        self.flush()
    }
}

impl Desk {
    fn add(&mut self, change: Change) {
        self.due = Some(match self.due.take() {
            Some(earlier) => earlier.then(change),
            None => change,
        });
        self.wake = true;
    }
}

impl Listener for StatusFile {
    fn on(&self, event: &Event) {
        let shared = &self.writer.shared;
        let (now, elapsed) = (shared.clock.now(), shared.clock.elapsed());
        let mut desk = shared.desk();
        if let Some(change) = desk.follow.on(event, now, elapsed) {
            desk.add(change);
            shared.changed.notify_all();
        }
    }
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the writer has nothing to do, or patience is at its end.
    fn wait<'a>(&self, desk: MutexGuard<'a, Desk>) -> MutexGuard<'a, Desk> {
        let busy = |desk: &mut Desk| !desk.ended && (desk.wake || desk.writing);
        self.changed.wait_timeout_while(desk, PATIENCE, busy).unwrap_or_else(PoisonError::into_inner).0
    }

    fn write_until_closed(&self) {
        let mut desk = self.desk();
        loop {
            while !desk.wake && !desk.closing {
                desk = self.changed.wait(desk).unwrap_or_else(PoisonError::into_inner);
            }
            let Some(change) = desk.due.take().filter(|_| desk.wake) else { break };
            desk.wake = false;
            desk.writing = true;
            drop(desk);
            let written = rewrite(&self.place, change.at, |status| change.apply(status));
            desk = self.desk();
            desk.writing = false;
            self.note(&mut desk, change, written.err());
            self.changed.notify_all();
        }
        desk.ended = true;
        self.changed.notify_all();
    }

    /// Says once that the file cannot be written, and once that it can be again.
    fn note(&self, desk: &mut Desk, change: Change, error: Option<Error>) {
        let path = self.place.path(NAME);
        let Some(error) = error else {
            if desk.failed.take().is_some() {
                tracing::info!(path = %path.display(), "the status file is written again");
            }
            return;
        };
        if desk.failed.is_none() {
            tracing::warn!(path = %path.display(), %error, "the status file cannot be written; runs go on, and it is tried again with the next event");
        }
        desk.failed = Some((error.kind(), error.to_string()));
        desk.due = Some(match desk.due.take() {
            Some(later) => change.then(later),
            None => change,
        });
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut desk = self.shared.desk();
        desk.closing = true;
        self.shared.changed.notify_all();
        let running = |desk: &mut Desk| !desk.ended;
        let _ = self.shared.changed.wait_timeout_while(desk, PATIENCE, running);
    }
}

/// Reads the file, changes it, and puts the new one in its place; one that cannot be read is kept aside.
fn rewrite(place: &Place, now: DateTime<Utc>, change: impl FnOnce(&mut SyncStatus)) -> Result<()> {
    let file = place.lock()?;
    let mut status = match file.read()?.map(|bytes| SyncStatus::parse(&bytes)) {
        None => SyncStatus::begun(now),
        Some(Ok(status)) => status,
        Some(Err(reason)) => {
            file.set_aside()?;
            tracing::warn!(path = %place.path(NAME).display(), kept = BROKEN, "the status file {reason}; it is kept aside, and begun anew");
            SyncStatus::begun(now)
        }
    };
    change(&mut status);
    file.replace(status.to_json().as_bytes())
}
