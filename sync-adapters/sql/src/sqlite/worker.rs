//! The connection, on a thread of its own: a statement takes a microsecond, a hand-over between tasks many.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::ffi::ErrorCode;
use rusqlite::{Connection, OpenFlags};
use sync_core::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

use super::error::failed;
use super::function::define;
use super::identity::Identity;
use super::{Durability, SqliteOptions};

/// How long a statement waits while another connection writes.
const BUSY: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

enum Order {
    Do(Job),
    /// Close the connection, and say so.
    Close(oneshot::Sender<()>),
}

/// Sends work to the connection's thread. The thread ends with the last clone.
#[derive(Clone)]
pub(crate) struct Worker {
    jobs: Sender<Order>,
    path: Arc<Path>,
    identity: Identity,
}

impl Worker {
    pub(crate) async fn start(options: SqliteOptions) -> Result<Self> {
        let path: Arc<Path> = options.path.clone().into();
        let (jobs, inbox) = channel::<Order>();
        let (opened, ready) = oneshot::channel();
        let spawned = thread::Builder::new().name("sqlite".to_owned()).spawn(move || {
            let mut connection = match open(&options) {
                Ok(connection) => connection,
                Err(error) => return drop(opened.send(Err(error))),
            };
            drop(opened.send(Ok(())));
            let mut closed = None;
            for order in &inbox {
                match order {
                    Order::Do(job) => job(&mut connection),
                    Order::Close(answer) => {
                        closed = Some(answer);
                        break;
                    }
                }
            }
            // What was asked for afterwards is refused, and whoever waits for the end waits for the end of the connection.
            drop(inbox);
            drop(connection);
            if let Some(answer) = closed {
                // Whoever asked may have gone.
                let _ = answer.send(());
            }
        });
        spawned.map_err(|cause| Error::unavailable("no thread can be started for the database").caused_by(cause))?;
        let outcome =
            ready.await.map_err(|_| Error::internal("the database's thread ended while it opened the file"))?;
        outcome.map_err(|error| error.with("file", path.display()))?;
        let identity = Identity::of(&path);
        Ok(Self { jobs, path, identity })
    }

    /// Closes the connection, for all clones, when what was asked before is done.
    pub(crate) async fn close(&self) {
        let (answer, answered) = oneshot::channel();
        if self.jobs.send(Order::Close(answer)).is_ok() {
            // Where nobody answers, it is closed already.
            let _ = answered.await;
        }
    }

    /// Leaves work for the connection's thread, to be done before what is asked later. Returns whether there still is one.
    pub(crate) fn leave(&self, work: impl FnOnce(&mut Connection) + Send + 'static) -> bool {
        self.jobs.send(Order::Do(Box::new(work))).is_ok()
    }

    /// Does the work on the connection's thread. Once begun it is done, even when nobody waits for it any more.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let (identity, path) = (self.identity, Arc::clone(&self.path));
        let job: Job =
            Box::new(move |connection| drop(answer.send(identity.check(&path).and_then(|()| work(connection)))));
        let gone = |_| {
            Error::internal("the database's thread has ended: it was closed, or an earlier call made it panic")
                .with("file", self.path.display())
        };
        self.jobs.send(Order::Do(job)).map_err(|_| gone(()))?;
        answered.await.map_err(|_| gone(()))?.map_err(|error| error.with("file", self.path.display()))
    }
}

fn open(options: &SqliteOptions) -> Result<Connection> {
    if options.read_only {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&options.path, flags).map_err(|cause| unopened(options, cause))?;
        let read = || {
            connection
                .busy_timeout(BUSY)
                .and_then(|()| define(&connection))
                .and_then(|()| connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())))
        };
        read().map_err(|cause| unopened(options, cause))?;
        return Ok(connection);
    }
    let connection = Connection::open(&options.path).map_err(|cause| unopened(options, cause))?;
    let synchronous = match options.durability {
        Durability::Normal => "NORMAL",
        Durability::Full => "FULL",
    };
    let set = || -> rusqlite::Result<()> {
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", synchronous)?;
        connection.pragma_update(None, "cache_size", -i64::from(options.cache_kib))?;
        connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
        connection.set_prepared_statement_cache_capacity(256);
        define(&connection)?;
        Ok(())
    };
    let began = Instant::now();
    loop {
        match set() {
            Ok(()) => return Ok(connection),
            // Two that turn a new file to WAL at once stand in each other's way: SQLite fails one without waiting.
            Err(cause) if cause.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && began.elapsed() < BUSY => {
                thread::sleep(Duration::from_millis(20));
            }
            Err(cause) => return Err(unopened(options, cause)),
        }
    }
}

/// Why a file cannot be opened, and what to do.
fn unopened(options: &SqliteOptions, cause: rusqlite::Error) -> Error {
    let path = &options.path;
    let wrong = |what: &'static str, cause| Error::new(ErrorKind::Config, what).caused_by(cause);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match cause.sqlite_error_code() {
        _ if path.is_dir() => wrong("the database cannot be opened, since it is a folder: name a file in it", cause),
        Some(ErrorCode::CannotOpen) if folder.is_some_and(|folder| !folder.exists()) => {
            wrong("the database cannot be opened, since its folder does not exist: create the folder first", cause)
        }
        Some(ErrorCode::CannotOpen) if options.read_only && !path.exists() => {
            wrong("the database cannot be opened, since there is no such file: correct the path", cause)
        }
        Some(ErrorCode::NotADatabase) => wrong("the file is no SQLite database: choose another file", cause),
        Some(ErrorCode::DatabaseCorrupt) => {
            wrong("the database is damaged: restore it from a copy, or choose another file", cause)
        }
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            failed("the database cannot be opened: let this account read and write the file and its folder", cause)
        }
        _ => failed("the database cannot be opened", cause),
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("path", &self.path).finish_non_exhaustive()
    }
}
