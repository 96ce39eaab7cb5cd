//! Connections that are kept: set up once, and used again without a question while they are warm.
//!
//! sqlx's pool asks the server before it hands a connection out and again when it comes back. Meanwhile the next statement
//! finds none and opens another, so that a short run had seven. Here a connection is asked only where it has been idle for
//! long enough that the server or the network may have ended it, and is back the moment it is given back.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use sync_core::Result;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connection::{Access, packet, set_up};
use super::error::failed;
use crate::address::PATIENCE;
use crate::prompt::send_at_once;

/// A connection that has been idle for so long is asked whether it lives before it is used.
const WARM: Duration = Duration::from_millis(10);

/// One that has been idle for so long is closed: it costs the server memory.
const IDLE: Duration = Duration::from_secs(600);

/// One that is so old is closed when it comes back: the address may lead to another server by now.
const OLD: Duration = Duration::from_secs(1800);

/// How long to wait before a server that refuses connections, since it is starting, is called again.
const AGAIN: Duration = Duration::from_millis(100);

const HELD: &str = "a session holds its connection until it is released or dropped";

/// Connections to a database. Cheap to clone; clones share them.
#[derive(Clone)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    options: MySqlConnectOptions,
    access: Access,
    free: Arc<Semaphore>,
    /// The one that was given back last is last.
    idle: Mutex<Vec<Kept>>,
    /// The longest packet that the newest connection takes, bytes: a connection keeps what the server's setting was when it
    /// began.
    packet: AtomicUsize,
}

struct Kept {
    connection: MySqlConnection,
    made: Instant,
    since: Instant,
}

impl Pool {
    /// So many connections at most, of which this is the first.
    pub(crate) fn new(
        options: MySqlConnectOptions,
        access: Access,
        most: usize,
        first: MySqlConnection,
        packet: usize,
    ) -> Self {
        let kept = Kept { connection: first, made: Instant::now(), since: Instant::now() };
        let (free, idle) = (Arc::new(Semaphore::new(most)), Mutex::new(vec![kept]));
        Self { shared: Arc::new(Shared { options, access, free, idle, packet: AtomicUsize::new(packet) }) }
    }

    /// The longest packet that the server takes, bytes, as far as it was asked: at each new connection.
    pub(crate) fn packet(&self) -> usize {
        self.shared.packet.load(Ordering::Relaxed)
    }

    /// A connection that is set up, and that nothing is left in.
    ///
    /// # Errors
    /// `Unavailable` when there is none in time.
    pub(crate) async fn session(&self) -> Result<Session> {
        let unreachable = |cause| failed("there is no connection to the database", cause);
        let shared = &self.shared;
        let opened = tokio::time::timeout(PATIENCE, async {
            let permit = Arc::clone(&shared.free).acquire_owned().await.map_err(|_| sqlx::Error::PoolClosed)?;
            let kept = match shared.warm().await {
                Some(kept) => kept,
                None => shared.open().await?,
            };
            Ok(Session { kept: Some(kept), shared: Arc::clone(shared), _permit: permit })
        });
        opened.await.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(unreachable)
    }
}

impl Shared {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Kept>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A kept connection that lives.
    async fn warm(&self) -> Option<Kept> {
        loop {
            let mut kept = {
                let mut idle = self.idle();
                idle.retain(|kept| kept.since.elapsed() < IDLE);
                idle.pop()?
            };
            if kept.since.elapsed() < WARM || kept.connection.ping().await.is_ok() {
                return Some(kept);
            }
        }
    }

    async fn open(&self) -> sqlx::Result<Kept> {
        loop {
            match self.options.connect().await {
                Ok(mut connection) => {
                    send_at_once(self.options.get_port());
                    let settings = set_up(&mut connection, self.access).await?;
                    self.packet.store(packet(&settings), Ordering::Relaxed);
                    return Ok(Kept { connection, made: Instant::now(), since: Instant::now() });
                }
                Err(sqlx::Error::Io(cause)) if cause.kind() == std::io::ErrorKind::ConnectionRefused => {
                    tokio::time::sleep(AGAIN).await;
                }
                Err(cause) => return Err(cause),
            }
        }
    }
}

/// A connection of the pool. Unless it is given back by [`release`](Self::release), it is closed: a dropped future may
/// leave half an answer in it, or a transaction, which the server takes back when the connection ends.
pub(crate) struct Session {
    kept: Option<Kept>,
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

impl Session {
    /// Gives the connection back: the last answer was read, and no transaction is open.
    pub(crate) fn release(mut self) {
        if let Some(kept) = self.kept.take().filter(|kept| kept.made.elapsed() < OLD) {
            self.shared.idle().push(Kept { since: Instant::now(), ..kept });
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Deref for Session {
    type Target = MySqlConnection;

    fn deref(&self) -> &MySqlConnection {
        &self.kept.as_ref().expect(HELD).connection
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut MySqlConnection {
        &mut self.kept.as_mut().expect(HELD).connection
    }
}
