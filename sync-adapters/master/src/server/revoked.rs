//! Tokens that are taken no more although they have not expired.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use super::keys::{Claims, LEEWAY};

/// Tokens that are taken no more although they have not expired: of a till that was stolen, of somebody who has left. Clones are
/// the same list; hand it to the [`Routes`](super::Routes) and keep one. Who is in a room by such a token is sent out at once.
///
/// It is kept in memory alone: a host that starts again tells it once more what holds, from wherever it keeps that. Short-lived
/// tokens keep it short.
///
/// ```
/// use chrono::Utc;
/// use sync_master::Revoked;
///
/// let revoked = Revoked::new();
/// revoked.token("7f3c", Utc::now() + chrono::TimeDelta::hours(1));
/// revoked.subject("till 4", Utc::now());
/// ```
#[derive(Debug, Clone)]
pub struct Revoked {
    list: Arc<watch::Sender<List>>,
}

/// For how long a token is known beyond its end: as long as clocks may be apart, and what is lost where seconds are rounded.
const KEPT: Duration = LEEWAY.saturating_add(Duration::from_secs(2));

/// What is revoked.
#[derive(Debug, Default)]
pub(super) struct List {
    /// By `jti`, until when the token could be taken.
    tokens: BTreeMap<String, DateTime<Utc>>,
    /// By `sub`, the second up to which its tokens were issued.
    subjects: BTreeMap<String, i64>,
}

impl Default for Revoked {
    fn default() -> Self {
        Self { list: Arc::new(watch::Sender::default()) }
    }
}

impl Revoked {
    /// Nothing is revoked.
    pub fn new() -> Self {
        Self::default()
    }

    /// Revokes the token with this id (`jti`). From `expires` on, when it is taken no more by itself, it may be forgotten.
    pub fn token(&self, jti: impl Into<String>, expires: DateTime<Utc>) {
        let (jti, now) = (jti.into(), Utc::now());
        self.list.send_modify(|list| {
            list.tokens.retain(|_, expires| *expires + KEPT > now);
            let known = list.tokens.entry(jti).or_insert(expires);
            *known = expires.max(*known);
        });
    }

    /// Revokes all tokens of this subject (`sub`) that were issued (`iat`) up to this moment, and those that do not say when.
    pub fn subject(&self, sub: impl Into<String>, issued_until: DateTime<Utc>) {
        let (sub, until) = (sub.into(), issued_until.timestamp());
        self.list.send_modify(|list| {
            let known = list.subjects.entry(sub).or_insert(until);
            *known = until.max(*known);
        });
    }

    pub(super) fn has(&self, claims: &Claims) -> bool {
        let list = self.list.borrow();
        let this_one = claims.jti.as_ref().is_some_and(|jti| list.tokens.contains_key(jti));
        let all = list.subjects.get(&claims.sub);
        this_one || all.is_some_and(|until| claims.issued.is_none_or(|issued| issued.floor() <= *until as f64))
    }

    /// Sees whenever something is revoked.
    pub(super) fn watch(&self) -> watch::Receiver<List> {
        self.list.subscribe()
    }
}
