//! SQLite: one connection on a thread of its own, rows and checkpoint in one transaction.

mod checkpoint;
mod deferred;
mod discover;
mod error;
mod function;
mod identity;
mod naming;
mod page;
mod plan;
mod position;
mod publish;
mod refusals;
mod replica;
mod schema;
mod scope;
mod sink;
mod source;
mod stage;
mod value;
mod worker;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sync_core::Result;

use naming::Names;
pub use replica::{SqliteHost, SqliteReplica};
pub use source::SqliteSource;
use worker::Worker;

use crate::altered::Alterations;

/// How much a crash of the *machine* may cost. A crash of the process never costs anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Durability {
    /// A power cut may take back the last transactions, whole ones; the next run brings them again, since the position
    /// goes back with them. SQLite's `synchronous = NORMAL`.
    #[default]
    Normal,
    /// Not even a power cut takes anything back: a flush to disk for every transaction. SQLite's `synchronous = FULL`.
    Full,
}

/// How a database is opened.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    path: PathBuf,
    durability: Durability,
    cache_kib: u32,
    read_only: bool,
}

impl SqliteOptions {
    /// The database file; it is created when it is not there.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            durability: Durability::default(),
            cache_kib: 16 * 1024,
            read_only: false,
        }
    }

    /// How much a crash of the machine may cost.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How much of the database is kept in memory, KiB. The default is 16 MiB.
    #[must_use]
    pub fn cache_kib(mut self, kib: u32) -> Self {
        self.cache_kib = kib;
        self
    }

    /// What the database is called in logs and reports: the file's name.
    fn name(&self) -> String {
        self.path.file_name().map_or_else(|| "sqlite".to_owned(), |name| name.to_string_lossy().into_owned())
    }

    /// Opens it.
    ///
    /// # Errors
    /// `Config` when the file is no database or its folder does not exist, `Forbidden` when this account may not open it,
    /// both naming the file and what to do.
    pub async fn open(self) -> Result<Sqlite> {
        let name = self.name();
        Ok(Sqlite {
            name: name.into(),
            worker: Worker::start(self).await?,
            names: Names::default(),
            alterations: Alterations::default(),
        })
    }
}

/// A SQLite database as a sink. Cheap to clone; all clones share one connection.
#[derive(Debug, Clone)]
pub struct Sqlite {
    name: Arc<str>,
    worker: Worker,
    names: Names,
    alterations: Alterations,
}

impl Sqlite {
    /// Opens or creates a database file, in WAL mode.
    ///
    /// # Errors
    /// `Config` when the file is no database or its folder does not exist, `Forbidden` when this account may not open it,
    /// both naming the file and what to do.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        SqliteOptions::new(path).open().await
    }

    /// Closes the connection, for all clones, when what was asked before is done; what is asked afterwards is refused.
    ///
    /// Call it at the end of a program: only when every connection to a file is closed, SQLite brings what is in the
    /// `-wal` beside it into the file and removes both files beside it. Nothing is lost without: the next one who opens the
    /// file does it.
    pub async fn close(&self) {
        self.worker.close().await;
    }
}
