//! Sessions: the one that was used last stays at hand, the pool opens more where several are needed at once.
//!
//! A new session costs the server five milliseconds, and the pool takes one back by a task of its own: who asks in the
//! meantime would get another. A session whose work was cut short is closed, and with it ends whatever it was doing.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{Connection as _, Postgres};
use sync_core::Result;

use super::error::failed;
use crate::address::PATIENCE;
use crate::prompt::send_at_once;

/// The most sessions of a sink, besides the first.
const MORE: u32 = 7;

/// For how long a session that was not used is taken for alive.
const FRESH: Duration = Duration::from_millis(100);

/// Where sessions come from. Cheap to clone; all clones share them.
#[derive(Clone)]
pub(crate) struct Sessions {
    pool: PgPool,
    hand: Arc<Mutex<Option<(Kept, Instant)>>>,
}

enum Kept {
    /// The one that was opened first, outside of the pool, to see whether the server lets us in.
    First(PgConnection),
    Pooled(PoolConnection<Postgres>),
}

impl Sessions {
    pub(crate) fn new(options: PgConnectOptions, first: PgConnection) -> Self {
        let port = options.get_port();
        let pool = PgPoolOptions::new()
            .max_connections(MORE)
            .acquire_timeout(PATIENCE)
            .after_connect(move |_, _| {
                send_at_once(port);
                Box::pin(std::future::ready(Ok(())))
            })
            .connect_lazy_with(options);
        Self { pool, hand: Arc::new(Mutex::new(Some((Kept::First(first), Instant::now())))) }
    }

    /// A session, to be kept when its work is done.
    ///
    /// # Errors
    /// `Unavailable` or `Unauthorized` when the server does not let us in.
    pub(crate) async fn session(&self) -> Result<Session> {
        let at_hand = self.hand.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((kept, since)) = at_hand {
            let mut session = Session { kept: Some(kept), of: self.clone() };
            if since.elapsed() < FRESH
                || tokio::time::timeout(PATIENCE, session.ping()).await.is_ok_and(|answer| answer.is_ok())
            {
                return Ok(session);
            }
        }
        let pooled =
            self.pool.acquire().await.map_err(|cause| failed("there is no connection to the database", cause))?;
        Ok(Session { kept: Some(Kept::Pooled(pooled)), of: self.clone() })
    }
}

/// A session with the server. It is closed unless it is kept.
pub(crate) struct Session {
    kept: Option<Kept>,
    of: Sessions,
}

impl Session {
    /// Gives it back, with nothing left to do for the server.
    pub(crate) fn keep(mut self) {
        let Some(kept) = self.kept.take() else { return };
        let mut hand = self.of.hand.lock().unwrap_or_else(PoisonError::into_inner);
        // The one that was there before goes to the pool if it is the pool's.
        if hand.is_none() || matches!(kept, Kept::First(_)) {
            *hand = Some((kept, Instant::now()));
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(Kept::Pooled(pooled)) = self.kept.take() {
            drop(pooled.detach());
        }
    }
}

impl Deref for Session {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match &self.kept {
            Some(Kept::First(connection)) => connection,
            Some(Kept::Pooled(pooled)) => pooled,
            None => unreachable!("a session that was given back is gone"),
        }
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match &mut self.kept {
            Some(Kept::First(connection)) => connection,
            Some(Kept::Pooled(pooled)) => pooled,
            None => unreachable!("a session that was given back is gone"),
        }
    }
}
