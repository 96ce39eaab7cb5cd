//! State in memory, with expiry by a clock that the test owns.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::lock;
use crate::model::Scope;
use crate::state::{
    Advance, Checkpoint, DeadLetter, Entry, FencingToken, Lease, LetterId, LetterQuery, RunId, RunQuery, RunRecord,
    StateStore,
};
use crate::{Clock, Error, Result};

/// A [`StateStore`] in memory. Clones share their state; it is gone with the last of them.
///
/// Leases expire by [`Clock::elapsed`], which never goes back.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
}

/// How often a store was called, for tests that look at effort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StoreCalls {
    /// Leases taken.
    pub acquired: u64,
    /// Leases held for longer.
    pub renewed: u64,
    /// Leases given back.
    pub released: u64,
    /// Records written.
    pub recorded: u64,
    /// Calls refused because somebody else holds the lease.
    pub fenced: u64,
}

#[derive(Debug, Default)]
struct State {
    leases: BTreeMap<String, Held>,
    checkpoints: BTreeMap<Scope, (FencingToken, Checkpoint)>,
    holds: BTreeMap<Scope, DateTime<Utc>>,
    letters: BTreeMap<u64, DeadLetter>,
    /// Where each letter stands or stood: paging goes on after one that was resolved meanwhile.
    places: BTreeMap<LetterId, u64>,
    next_place: u64,
    runs: BTreeMap<RunId, BTreeMap<Scope, RunRecord>>,
    calls: StoreCalls,
}

#[derive(Debug)]
struct Held {
    token: FencingToken,
    /// Who holds it and until when; `None` after it was given back.
    by: Option<(String, Duration)>,
}

impl MemoryStore {
    /// An empty store that judges expiry by this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Arc::default() }
    }

    /// How often the store was called so far.
    pub fn calls(&self) -> StoreCalls {
        lock(&self.state).calls
    }

    /// Who holds the lease of this name now.
    pub fn holder(&self, name: &str) -> Option<String> {
        let now = self.clock.elapsed();
        lock(&self.state).leases.get(name)?.holder(now).map(|(owner, _)| owner.to_owned())
    }

    fn wall(&self, at: Duration) -> DateTime<Utc> {
        let ahead = at.saturating_sub(self.clock.elapsed());
        self.clock.now() + chrono::TimeDelta::from_std(ahead).unwrap_or(chrono::TimeDelta::MAX)
    }
}

impl Held {
    fn holder(&self, now: Duration) -> Option<(&str, Duration)> {
        self.by.as_ref().filter(|(_, until)| *until > now).map(|(owner, until)| (owner.as_str(), *until))
    }
}

impl State {
    /// The lease as it stands, when the caller's is still the newest under its name.
    fn newest(&mut self, lease: &Lease) -> Result<&mut Held> {
        let calls = &mut self.calls;
        let Some(held) = self.leases.get_mut(&lease.name) else {
            calls.fenced += 1;
            return Err(Error::fenced(FencingToken::default(), "the lease was never given").with("lease", &lease.name));
        };
        if held.token != lease.token {
            calls.fenced += 1;
            return Err(Error::fenced(held.token, "somebody else has acquired the lease")
                .with("lease", &lease.name)
                .with("token", lease.token)
                .with("newest", held.token));
        }
        Ok(held)
    }

    /// Whether the entry may be written. Checked for all entries before the first one is.
    fn admit(&self, lease: &Lease, entry: &Entry, earlier: &[Entry]) -> Result<()> {
        let Entry::Checkpoint { scope, advance } = entry else { return Ok(()) };
        let seq = earlier.iter().rev().find_map(|entry| match entry {
            Entry::Checkpoint { scope: before, advance } if before == scope => Some(advance.next.seq),
            _ => None,
        });
        let (token, stored) = match self.checkpoints.get(scope) {
            Some((token, checkpoint)) => (*token, checkpoint.seq),
            None => (FencingToken::default(), 0),
        };
        check_advance(scope, advance, token.max(lease.token), seq.unwrap_or(stored))
    }

    fn write(&mut self, entry: &Entry) {
        match entry {
            Entry::Checkpoint { scope, advance } => {
                self.checkpoints.insert(scope.clone(), (advance.token, advance.next.clone()));
            }
            Entry::DeadLetter(letter) => self.keep_letter(letter),
            Entry::Resolved(id) => {
                if let Some(place) = self.places.get(id) {
                    self.letters.remove(place);
                }
            }
            Entry::Run(run) => {
                self.runs.entry(run.run.clone()).or_default().insert(run.scope.clone(), run.clone());
            }
            Entry::Hold { scope, until: Some(until) } => drop(self.holds.insert(scope.clone(), *until)),
            Entry::Hold { scope, until: None } => drop(self.holds.remove(scope)),
        }
    }

    /// A letter that comes again keeps its place, and takes the newest reason and day.
    fn keep_letter(&mut self, letter: &DeadLetter) {
        let standing = self.places.get(&letter.id).and_then(|place| self.letters.get_mut(place));
        if let Some(standing) = standing {
            *standing = letter.clone();
            return;
        }
        self.places.insert(letter.id.clone(), self.next_place);
        self.letters.insert(self.next_place, letter.clone());
        self.next_place += 1;
    }
}

/// Whether a scope that stands at `seq` under `token` may go this step.
pub(super) fn check_advance(scope: &Scope, advance: &Advance, token: FencingToken, seq: u64) -> Result<()> {
    if advance.token != token {
        return Err(Error::fenced(token, "the scope is claimed with another token")
            .with("scope", scope)
            .with("token", advance.token)
            .with("claimed", token));
    }
    if advance.expected != seq {
        return Err(Error::fenced(token, "the scope does not stand where the unit expects it")
            .with("scope", scope)
            .with("expected", advance.expected)
            .with("stands_at", seq));
    }
    if advance.next.seq != advance.expected + 1 {
        return Err(Error::internal("a checkpoint's sequence must grow by one with every unit").with("scope", scope));
    }
    Ok(())
}

fn page(limit: u32) -> usize {
    if limit == 0 { 100 } else { limit as usize }
}

#[async_trait]
impl StateStore for MemoryStore {
    async fn acquire(&self, name: &str, owner: &str, ttl: Duration, floor: FencingToken) -> Result<Lease> {
        let now = self.clock.elapsed();
        let mut state = lock(&self.state);
        let standing = state.leases.get(name);
        let token = standing.map_or(FencingToken(1), |held| FencingToken(held.token.0 + 1)).max(floor);
        if let Some((by, newest, until)) = standing.and_then(|held| {
            let (by, until) = held.holder(now)?;
            (by != owner).then(|| (by.to_owned(), held.token, until))
        }) {
            state.calls.fenced += 1;
            return Err(Error::fenced(newest, "another owner holds the lease")
                .with("lease", name)
                .with("owner", by)
                .with("until", self.wall(until).to_rfc3339()));
        }
        state.leases.insert(name.to_owned(), Held { token, by: Some((owner.to_owned(), now.saturating_add(ttl))) });
        state.calls.acquired += 1;
        Ok(Lease { name: name.to_owned(), owner: owner.to_owned(), token, ttl })
    }

    async fn renew(&self, lease: &Lease) -> Result<()> {
        let until = self.clock.elapsed().saturating_add(lease.ttl);
        let mut state = lock(&self.state);
        let held = state.newest(lease)?;
        let Some((_, expiry)) = &mut held.by else {
            return Err(Error::fenced(lease.token, "the lease was given back").with("lease", &lease.name));
        };
        *expiry = until;
        state.calls.renewed += 1;
        Ok(())
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        let mut state = lock(&self.state);
        if let Some(held) = state.leases.get_mut(&lease.name)
            && held.token == lease.token
        {
            held.by = None;
            state.calls.released += 1;
        }
        Ok(())
    }

    async fn record(&self, lease: &Lease, entries: &[Entry]) -> Result<()> {
        let mut state = lock(&self.state);
        state.newest(lease)?;
        for (index, entry) in entries.iter().enumerate() {
            state.admit(lease, entry, &entries[..index])?;
        }
        entries.iter().for_each(|entry| state.write(entry));
        state.calls.recorded += 1;
        Ok(())
    }

    async fn checkpoint(&self, scope: &Scope) -> Result<Option<Checkpoint>> {
        Ok(lock(&self.state).checkpoints.get(scope).map(|(_, checkpoint)| checkpoint.clone()))
    }

    async fn hold(&self, scope: &Scope) -> Result<Option<DateTime<Utc>>> {
        Ok(lock(&self.state).holds.get(scope).copied())
    }

    async fn dead_letters(&self, query: &LetterQuery) -> Result<Vec<DeadLetter>> {
        let state = lock(&self.state);
        let from = match &query.after {
            Some(id) => state.places.get(id).map_or(0, |place| place + 1),
            None => 0,
        };
        let wanted = |letter: &&DeadLetter| {
            query.pipeline.as_ref().is_none_or(|pipeline| *pipeline == letter.scope.pipeline)
                && query.stream.as_ref().is_none_or(|stream| *stream == letter.stream)
                && query.kind.is_none_or(|kind| kind == letter.kind)
        };
        Ok(state
            .letters
            .range(from..)
            .map(|(_, letter)| letter)
            .filter(wanted)
            .take(page(query.limit))
            .cloned()
            .collect())
    }

    async fn runs(&self, query: &RunQuery) -> Result<Vec<RunRecord>> {
        let state = lock(&self.state);
        let mut found: Vec<RunRecord> = Vec::new();
        let before =
            state.runs.iter().rev().filter(|(run, _)| query.before.as_ref().is_none_or(|before| *run < before));
        for (_, scopes) in before {
            let wanted =
                |run: &&RunRecord| query.pipeline.as_ref().is_none_or(|pipeline| *pipeline == run.scope.pipeline);
            let records: Vec<_> = scopes.values().filter(wanted).cloned().collect();
            // The next page begins before a run, so a run must not lie across two pages.
            if !found.is_empty() && found.len() + records.len() > page(query.limit) {
                break;
            }
            found.extend(records);
        }
        Ok(found)
    }
}
