//! What a slave does when it is run: once, and everything is in the status file.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use sync_core::two_way::{Branch, Edit, Queue, Synced};
use sync_core::{Clock, Error, ErrorKind, SystemClock};
use sync_master::HttpMaster;
use sync_sql::SqliteReplica;
use sync_store_file::{State, StatusFile, SyncStatus};

use crate::Result;
use crate::tables::tables;

const NO_TOKEN: &str = "set SYNC_TOKEN to what `master token SLAVE` prints where that master is";
const NO_MASTER: &str = "set MASTER_URL (or --master-url) to the address of the master, such as http://localhost:8000 or https://master.example";
const ANOTHERS: &str =
    "set SYNC_TOKEN to the token of this slave; where it is to be another's from now on, `slave reset` says so";
const REFUSED: &str = "`slave discard` gives the refused change up: its rows become what the master has, and what was written after it is sent";

/// The slave's database, and its link with the master.
#[derive(Debug)]
pub struct Slave {
    /// The database.
    pub database: SqliteReplica,
    name: String,
    folder: PathBuf,
    clock: Arc<dyn Clock>,
}

/// What is wanted of one run.
#[derive(Debug, Clone)]
pub struct Run {
    /// Where the master is.
    pub master: String,
    /// What it is asked with.
    pub token: SecretString,
    /// How long after a success the next run is due.
    pub interval: Duration,
    /// Whether it is run although it is not due.
    pub force: bool,
}

/// What became of a run.
#[derive(Debug)]
#[non_exhaustive]
pub enum Became {
    /// It is in step, as far as nothing waits for a person.
    InStep(Synced),
    /// It was in step not long ago.
    NotDue(TimeDelta),
    /// Another run is under way.
    UnderWay,
}

/// What a run would do.
#[derive(Debug)]
#[non_exhaustive]
pub struct WouldDo {
    /// The edits it would send.
    pub edits: Vec<Edit>,
    /// Whether it would load everything.
    pub loads: bool,
}

impl Slave {
    /// The slave of this name, whose database and status lie in this folder.
    ///
    /// # Errors
    /// When they cannot be opened or made.
    pub async fn open(folder: &Path, name: &str) -> Result<Self> {
        crate::folder(folder)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let database = SqliteReplica::open(folder.join("slave.db"), name, tables()?, Arc::clone(&clock)).await?;
        Ok(Self { database, name: name.to_owned(), folder: folder.to_owned(), clock })
    }

    /// Sends what was written here, and takes over what was written elsewhere.
    ///
    /// # Errors
    /// Why it is not in step: the next run tries again, and the status file counts.
    pub async fn run(&self, run: &Run) -> Result<Became> {
        let lock = File::create(self.folder.join("slave.lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Became::UnderWay),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        if let Some(left) = self.not_due(run)?
            && self.lost().await?.is_none()
        {
            return Ok(Became::NotDue(left));
        }
        let status = StatusFile::open(&self.folder, Arc::clone(&self.clock))?;
        status.began();
        let synced = self.in_step(run).await;
        // What cannot even be counted has failed as well.
        let (pending, synced) = match self.pending().await {
            Ok(pending) => (pending, synced),
            Err(error) => (0, synced.and(Err(error))),
        };
        match &synced {
            Ok(_) => status.succeeded(pending),
            Err(error) => status.failed(error, pending),
        }
        status.flush()?;
        Ok(Became::InStep(synced?))
    }

    /// Asks the master, and says in this program's words what to do where it cannot be done.
    async fn in_step(&self, run: &Run) -> sync_core::Result<Synced> {
        if run.token.expose_secret().is_empty() {
            return Err(
                Error::new(ErrorKind::Unauthorized, "there is no token to ask the master with").with_remedy(NO_TOKEN)
            );
        }
        let branch = self.branch(&run.master, run.token.clone());
        let branch = branch.map_err(|error| error.with("MASTER_URL", &run.master).with_remedy(NO_MASTER))?;
        let synced = branch.sync().await.map_err(|error| {
            let code = error.context().find(|(name, _)| *name == "code").map(|(_, code)| code.to_owned());
            match (error.kind(), code.as_deref()) {
                (ErrorKind::Unauthorized, _) => error.with_remedy(NO_TOKEN),
                (_, Some("bad_cursor" | "moved")) => error.with_remedy(ANOTHERS),
                _ => error,
            }
        })?;
        match &synced.refused {
            None => Ok(synced),
            Some(why) => {
                let what = format!("the master refuses what was written here: {why}");
                Err(Error::new(ErrorKind::Forbidden, what).with_remedy(REFUSED))
            }
        }
    }

    /// How long it is not due yet.
    fn not_due(&self, run: &Run) -> Result<Option<TimeDelta>> {
        // A status file that cannot be read is begun anew by the run.
        // A run that failed is due at once.
        let status = self.status().ok().flatten().filter(|status| status.status == State::Success);
        let synced = status.and_then(|status| status.last_synced_at);
        let Some(synced) = synced.filter(|_| !run.force) else { return Ok(None) };
        let left = synced + TimeDelta::from_std(run.interval)? - Utc::now();
        // A clock that was put back must not hold it up for longer than the interval.
        Ok(Some(left)
            .filter(|left| *left > TimeDelta::zero() && *left <= TimeDelta::from_std(run.interval).unwrap_or_default()))
    }

    /// What the status file says of another database: one was in step, and this one never was. It was lost, or put elsewhere, and
    /// the next run loads everything into the new one, due or not.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn lost(&self) -> Result<Option<SyncStatus>> {
        let synced = self.status().ok().flatten().filter(|status| status.last_synced_at.is_some());
        let link = self.offline()?.link().await?;
        // The master tells each database that it was ever in step with what it knows it by.
        Ok(synced.filter(|_| link.position.is_none() && link.known_as.is_none()))
    }

    /// What a run would do. It asks nobody, and changes nothing.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn would_do(&self) -> Result<WouldDo> {
        let branch = self.offline()?;
        let edits = branch.unanswered(0, usize::MAX >> 1).await?;
        Ok(WouldDo { edits, loads: branch.link().await?.position.is_none() })
    }

    /// What the status file says; `None` before the first run.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn status(&self) -> Result<Option<SyncStatus>> {
        Ok(SyncStatus::read(self.folder.join("sync_status.json"))?)
    }

    /// What the master has not answered, and what waits there for a person.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn queue(&self) -> sync_core::Result<Queue> {
        self.offline()?.queue().await
    }

    /// How many edits the master has not answered, or waits with.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn pending(&self) -> sync_core::Result<u64> {
        let queue = self.queue().await?;
        Ok(queue.depth + queue.waiting)
    }

    /// Begins again: the status as before the first run, and the next run loads everything. What was written here and is not sent
    /// yet stays, and is sent.
    ///
    /// # Errors
    /// When the file or the database cannot be written.
    pub async fn reset(&self) -> Result<()> {
        self.offline()?.start_over().await?;
        Ok(StatusFile::open(&self.folder, Arc::clone(&self.clock))?.reset()?)
    }

    /// Gives up the change that the master refuses: its rows become what the master has, and what comes after it is sent. Says
    /// what it was refused for; `None` where none is.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn discard(&self) -> Result<Option<String>> {
        let branch = self.offline()?;
        let refused = branch.queue().await?.refused;
        branch.discard_refused().await?;
        Ok(refused.map(|(_, why)| why))
    }

    /// The name under which the master knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The branch, for what asks nobody.
    fn offline(&self) -> sync_core::Result<Branch> {
        self.branch("http://localhost", SecretString::from(""))
    }

    fn branch(&self, master: &str, token: SecretString) -> sync_core::Result<Branch> {
        let master = HttpMaster::at(master, &tables()?, token)?;
        Ok(Branch::new(self.database.clone(), master, Arc::clone(&self.clock)))
    }
}
