//! A branch that is kept in step as things happen: here, at the master, and while nobody can be reached.

mod desk;
mod pace;
mod room;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sync_core::two_way::{Branch, Synced};
use sync_core::{Clock, Result};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use url::Url;

use self::desk::Desk;
use self::room::Door;
use super::{HttpMaster, address, named};

/// Keeps a branch in step as things happen: it syncs when the host has written, when the master says in its room that there is
/// news, and from time to time. While the room cannot be joined it asks at intervals instead, and goes on knocking.
///
/// ```no_run
/// # async fn example(branch: sync_core::two_way::Branch, master: sync_master::HttpMaster) -> sync_core::Result<()> {
/// use std::sync::Arc;
/// use sync_core::SystemClock;
/// use sync_master::LiveBranch;
/// use tokio_util::sync::CancellationToken;
///
/// let (live, stop) = (LiveBranch::new(branch, master, Arc::new(SystemClock::new()))?, CancellationToken::new());
/// let running = tokio::spawn({
///     let (live, stop) = (live.clone(), stop.clone());
///     async move { live.run(stop).await }
/// });
/// // … the host writes into its database, whenever it likes …
/// stop.cancel();
/// running.await.expect("it does not panic");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct LiveBranch {
    branch: Branch,
    master: HttpMaster,
    clock: Arc<dyn Clock>,
    settings: LiveSettings,
    door: Door,
    desk: Arc<Desk>,
}

/// How often a [`LiveBranch`] looks, asks and tries again.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct LiveSettings {
    /// How often it asks the master while it is in no room; 30 s.
    pub poll: Duration,
    /// How often it asks all the same while it is in one; 5 min. A hint that was lost costs no more than that.
    pub check: Duration,
    /// How often it looks whether the host has written; 1 s. [`LiveBranch::wake`] is faster.
    pub look: Duration,
    /// The longest first pause after something failed. It doubles with each failure, and what is waited is random below that
    /// ("full jitter"), so that many branches do not come back at once. 1 s.
    pub first_pause: Duration,
    /// The longest pause; 60 s. Where the master asks for more, it is more.
    pub longest_pause: Duration,
    /// How long a sync that is under way may go on after the stop; 5 s.
    pub stop: Duration,
}

impl Default for LiveSettings {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(30),
            check: Duration::from_secs(300),
            look: Duration::from_secs(1),
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
            stop: Duration::from_secs(5),
        }
    }
}

/// How it stands with a [`LiveBranch`].
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct LiveState {
    /// Whether it is in its room, and hears of news at once.
    pub in_room: bool,
    /// How many syncs have succeeded.
    pub syncs: u64,
    /// When the last one ended.
    pub synced_at: Option<DateTime<Utc>>,
    /// What it did.
    pub last: Option<Synced>,
    /// Why the last one failed, where it did. No secret, and no value of a row.
    pub failure: Option<String>,
    /// Why it is in no room, where it tried.
    pub no_room: Option<String>,
    /// How many of its groups wait at the master for a decision, as it said last.
    pub waiting: Option<usize>,
}

impl LiveBranch {
    /// Keeps this branch in step with this master, which is the one it was made with: a clone of it.
    ///
    /// # Errors
    /// `Config` when the branch's replica has a name that cannot be said over HTTP (1 to 64 visible ASCII characters can), or the
    /// client for the room cannot be made.
    pub fn new(branch: Branch, master: HttpMaster, clock: Arc<dyn Clock>) -> Result<Self> {
        named(branch.replica().name())?;
        let door = Door::of(&master.base)?;
        Ok(Self { branch, master, clock, settings: LiveSettings::default(), door, desk: Arc::default() })
    }

    /// The same, with other settings.
    #[must_use]
    pub fn settings(mut self, settings: LiveSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Where the rooms have an address of their own (`https`, or `http` on this machine).
    ///
    /// # Errors
    /// `Config` when it is none, or not `https` although it leads off this machine.
    pub fn rooms_at(mut self, base: &str) -> Result<Self> {
        let base: Url = address(base)?;
        self.door = Door::of(&base)?;
        Ok(self)
    }

    /// Syncs soon: after the host has written. While the master cannot be reached, when its turn comes.
    pub fn wake(&self) {
        self.desk.wake();
    }

    /// How it stands, now and whenever that changes.
    pub fn state(&self) -> watch::Receiver<LiveState> {
        self.desk.state.subscribe()
    }

    /// Keeps it in step until it is told to stop: then it leaves its room, and ends a sync that is under way. One at a time.
    ///
    /// It never fails: what goes wrong is in [`state`](Self::state), and tried again.
    pub async fn run(&self, stop: CancellationToken) {
        tokio::join!(Box::pin(pace::keep(self, &stop)), Box::pin(room::keep(self, &stop)));
    }

    /// A random pause after so many failures in a row: at most the first pause, doubled for each further one.
    fn pause(&self, failures: u32) -> Duration {
        let LiveSettings { first_pause, longest_pause, .. } = self.settings;
        let most = first_pause.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(longest_pause);
        let most = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.clock.random() % most.max(1))
    }
}
