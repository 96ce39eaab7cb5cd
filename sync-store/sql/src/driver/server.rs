//! Connections to a server: one does nearly everything, since a new one costs the server as much as a run with nothing to do.
//!
//! sqlx's pool asks the server about each connection that it takes back, and does so by a task of its own: who comes in the
//! meantime finds none. So the one that does nearly everything is kept beside the pool.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use sqlx::pool::{Pool, PoolConnection, PoolOptions};
use sqlx::{ConnectOptions, Connection, Database, Error};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout;

/// How long a server may take to answer a call for a connection, a restart included.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the first connection may take before another one is asked what is wrong.
const PROMPT: Duration = Duration::from_millis(100);

/// The most connections besides the first. A store makes short calls: a few carry many pipelines.
const MORE: u32 = 4;

/// How long a call waits for the first connection before it takes another: about as long as it takes to open one.
const GRACE: Duration = Duration::from_millis(10);

/// For how long the first connection is taken for alive when it was not used: longer than a run with nothing to do takes.
const WARM: Duration = Duration::from_millis(100);

/// When it has not been used for so long it is closed by us, before a server closes it.
pub(super) const IDLE: Duration = Duration::from_secs(30);

/// One that is so old is closed when it comes back: the address may lead to another server by now.
const OLD: Duration = Duration::from_secs(1800);

/// A database on a server.
pub(crate) trait Served: Database {
    /// Runs a statement that binds nothing.
    fn run(connection: &mut Self::Connection, sql: &'static str) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Where connections come from: any will do, to read and to write.
pub(crate) struct Server<DB: Database> {
    first: Arc<Mutex<Option<Kept<DB>>>>,
    pub(crate) more: Pool<DB>,
}

struct Kept<DB: Database> {
    connection: DB::Connection,
    made: Instant,
    /// When it was used last; not known where that ended with an error.
    used: Option<Instant>,
}

impl<DB: Served> Server<DB> {
    /// Opens the first connection. What is wrong with it is said at once; a pool would try again until its time is over.
    pub(crate) async fn open(
        options: <DB::Connection as Connection>::Options,
        pool: PoolOptions<DB>,
    ) -> Result<Self, Error> {
        let more = pool.max_connections(MORE).acquire_timeout(PATIENCE).connect_lazy_with(options.clone());
        let server = Self { first: Arc::default(), more };
        let wrong = async {
            tokio::time::sleep(PROMPT).await;
            match timeout(PATIENCE, options.connect()).await {
                // The server lets us in: it is for the pool to say more.
                Ok(Ok(connection)) => {
                    drop(connection.close().await);
                    std::future::pending().await
                }
                Ok(Err(wrong)) => wrong,
                Err(_) => Error::PoolTimedOut,
            }
        };
        tokio::select! {
            biased;
            first = server.session() => first?.keep(true),
            wrong = Box::pin(wrong) => return Err(wrong),
        }
        Ok(server)
    }

    pub(crate) async fn close(&self) {
        self.more.close().await;
        if let Some(kept) = self.first.lock().await.take() {
            drop(kept.connection.close().await);
        }
    }

    /// A connection, to be kept when its work is done.
    pub(crate) async fn session(&self) -> Result<Session<DB>, Error> {
        let Ok(mut place) = timeout(GRACE, Arc::clone(&self.first).lock_owned()).await else {
            return Ok(Session(Some(Held::Pooled(self.more.acquire().await?))));
        };
        let kept = match place.take() {
            Some(kept) => kept.alive().await,
            None => None,
        };
        let kept = match kept {
            Some(kept) => kept,
            None => self.fresh().await?,
        };
        Ok(Session(Some(Held::First(place, kept))))
    }

    pub(crate) async fn writer(&self) -> Result<Session<DB>, Error> {
        self.session().await
    }

    pub(crate) async fn reader(&self) -> Result<Session<DB>, Error> {
        self.session().await
    }

    /// The pool opens it, which knows how long a server that is starting is waited for.
    async fn fresh(&self) -> Result<Kept<DB>, Error> {
        let connection = self.more.acquire().await?.detach();
        let made = Instant::now();
        tokio::spawn(close_idle(Arc::downgrade(&self.first), made));
        Ok(Kept { connection, made, used: Some(made) })
    }

    pub(crate) async fn begin(&self) -> Result<Transaction<DB>, Error> {
        let mut session = self.session().await?;
        DB::run(&mut session, "BEGIN").await?;
        Ok(Transaction(session))
    }
}

impl<DB: Database> Kept<DB> {
    async fn alive(mut self) -> Option<Self> {
        let idle = self.used.map(|used| used.elapsed());
        if idle.is_some_and(|idle| idle < WARM) {
            return Some(self);
        }
        if idle.is_some_and(|idle| idle >= IDLE) {
            return None;
        }
        let answered = timeout(PATIENCE, self.connection.ping()).await;
        answered.is_ok_and(|answer| answer.is_ok()).then_some(self)
    }
}

/// Closes the connection that was made at this instant once nobody has used it for long, unless it is gone before.
async fn close_idle<DB: Database>(first: Weak<Mutex<Option<Kept<DB>>>>, made: Instant) {
    loop {
        tokio::time::sleep(IDLE / 2).await;
        let Some(first) = first.upgrade() else { return };
        // In use, which is as good as used just now.
        let Ok(mut place) = first.try_lock() else { continue };
        match &*place {
            Some(kept) if kept.made == made => {
                if kept.used.is_some_and(|used| used.elapsed() < IDLE) {
                    continue;
                }
            }
            _ => return,
        }
        let idle = place.take();
        drop(place);
        if let Some(kept) = idle {
            drop(kept.connection.close().await);
        }
        return;
    }
}

/// A connection to the server. Unless it is kept it is closed: what was cut short ends with it.
pub(crate) struct Session<DB: Database>(Option<Held<DB>>);

enum Held<DB: Database> {
    First(OwnedMutexGuard<Option<Kept<DB>>>, Kept<DB>),
    Pooled(PoolConnection<DB>),
}

impl<DB: Database> Session<DB> {
    /// Gives it back: the last answer was read. Where that was an error, it is asked whether it lives before it is used again.
    pub(crate) fn keep(mut self, well: bool) {
        match self.0.take() {
            Some(Held::First(mut place, kept)) if kept.made.elapsed() < OLD => {
                *place = Some(Kept { used: well.then(Instant::now), ..kept });
            }
            // The pool asks it.
            Some(Held::Pooled(pooled)) => drop(pooled),
            _ => {}
        }
    }

    /// Gives it back after a statement, if the server has answered.
    pub(crate) fn after<T>(self, done: Result<T, Error>) -> Result<T, Error> {
        match &done {
            Ok(_) => self.keep(true),
            Err(Error::Database(_)) => self.keep(false),
            Err(_) => {}
        }
        done
    }
}

impl<DB: Database> Drop for Session<DB> {
    fn drop(&mut self) {
        if let Some(Held::Pooled(pooled)) = self.0.take() {
            drop(pooled.detach());
        }
    }
}

impl<DB: Database> Deref for Session<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &DB::Connection {
        match &self.0 {
            Some(Held::First(_, kept)) => &kept.connection,
            Some(Held::Pooled(pooled)) => pooled,
            None => unreachable!("a session that was given back is gone"),
        }
    }
}

impl<DB: Database> DerefMut for Session<DB> {
    fn deref_mut(&mut self) -> &mut DB::Connection {
        match &mut self.0 {
            Some(Held::First(_, kept)) => &mut kept.connection,
            Some(Held::Pooled(pooled)) => pooled,
            None => unreachable!("a session that was given back is gone"),
        }
    }
}

/// A transaction. Dropped, it ends with its connection, and is taken back.
pub(crate) struct Transaction<DB: Database>(Session<DB>);

impl<DB: Served> Transaction<DB> {
    pub(crate) async fn commit(mut self) -> Result<(), Error> {
        DB::run(&mut self.0, "COMMIT").await?;
        self.0.keep(true);
        Ok(())
    }

    pub(crate) async fn rollback(mut self) -> Result<(), Error> {
        DB::run(&mut self.0, "ROLLBACK").await?;
        self.0.keep(true);
        Ok(())
    }
}

impl<DB: Database> Deref for Transaction<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &DB::Connection {
        &self.0
    }
}

impl<DB: Database> DerefMut for Transaction<DB> {
    fn deref_mut(&mut self) -> &mut DB::Connection {
        &mut self.0
    }
}
