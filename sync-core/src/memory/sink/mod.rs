//! A target in memory, with a log of every effective write.

mod draft;
mod steps;
mod table;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use self::draft::Draft;
use self::steps::Steps;
use self::table::{Staged, Table};
use super::lock;
use super::row_scope::Covered;
use super::store::check_advance;
use crate::model::{Key, RowScope, Scope, StreamSpec, Value};
use crate::sink::{Altered, Intent, Sink, SinkCapabilities, StoredRow, WriteReport, WriteUnit};
use crate::state::{Checkpoint, FencingToken, StageName};
use crate::{Clock, Error, Result, SystemClock};

/// A [`Sink`] in memory that keeps the whole specification. Clones share their data.
///
/// [`MemorySink::effects`] is the proof of exactly-once effect: a write that changed nothing is not in it, and a change
/// that was applied twice is in it twice.
#[derive(Debug, Clone)]
pub struct MemorySink {
    name: Arc<str>,
    capabilities: SinkCapabilities,
    clock: Arc<dyn Clock>,
    data: Arc<Mutex<Data>>,
}

/// One write that changed something.
#[derive(Debug, Clone, PartialEq)]
pub struct Effect {
    /// The stream.
    pub stream: String,
    /// The key; of appended rows, their number.
    pub key: Key,
    /// The values before; `None` when there was no row.
    pub before: Option<Vec<Value>>,
    /// The values afterwards; `None` when the row was removed.
    pub after: Option<Vec<Value>>,
    /// The token of the unit; `None` for a unit without a checkpoint.
    pub token: Option<FencingToken>,
}

#[derive(Debug, Default)]
struct Data {
    tables: BTreeMap<String, Table>,
    stages: BTreeMap<(StageName, String), Staged>,
    claims: BTreeMap<Scope, Claim>,
    effects: Vec<Effect>,
    units: u64,
}

/// Who may move a scope forward, and where it stands.
#[derive(Debug, Default)]
struct Claim {
    token: FencingToken,
    checkpoint: Option<Checkpoint>,
}

impl MemorySink {
    /// An empty target that can do everything.
    pub fn new() -> Self {
        Self::with_capabilities(SinkCapabilities::all())
    }

    /// An empty target that can do so much and no more: what it lacks, it refuses.
    pub fn with_capabilities(capabilities: SinkCapabilities) -> Self {
        Self { name: "memory".into(), capabilities, clock: Arc::new(SystemClock::new()), data: Arc::default() }
    }

    /// The same target under another name.
    #[must_use]
    pub fn named(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }

    /// The same target, marking absent rows with the time of this clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// All rows of a stream by key, also those marked as missing. The key of an appended row is its number.
    pub fn rows(&self, stream: &str) -> Vec<(Key, Vec<Value>)> {
        let data = lock(&self.data);
        let rows = data.tables.get(stream).into_iter().flat_map(|table| &table.rows);
        rows.map(|(key, row)| (key.clone(), row.values.clone())).collect()
    }

    /// Every write that changed something, in order.
    pub fn effects(&self) -> Vec<Effect> {
        lock(&self.data).effects.clone()
    }

    /// How many units were committed.
    pub fn units(&self) -> u64 {
        lock(&self.data).units
    }

    /// How many rows are staged and not published, over all stages.
    pub fn staged(&self) -> u64 {
        lock(&self.data).stages.values().map(Staged::count).sum()
    }

    /// The token a scope is claimed with.
    pub fn claimed(&self, scope: &Scope) -> Option<FencingToken> {
        lock(&self.data).claims.get(scope).map(|claim| claim.token)
    }

    fn lacks(&self, what: &str) -> Error {
        Error::config(format!("this sink {what}")).with("sink", &self.name)
    }

    /// Refuses what the capabilities do not claim.
    fn admit(&self, unit: &WriteUnit<'_>) -> Result<()> {
        let can = self.capabilities;
        if unit.intent == Intent::Rehearse && !can.rehearsal {
            return Err(self.lacks("cannot rehearse"));
        }
        if unit.advance.is_some() && !can.atomic_checkpoint {
            return Err(self.lacks("keeps no checkpoints"));
        }
        steps::needs(unit.steps, can).map_err(|what| self.lacks(what))
    }
}

impl Default for MemorySink {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Sink for MemorySink {
    fn name(&self) -> &str {
        &self.name
    }

    async fn apply(&self, unit: &WriteUnit<'_>) -> Result<WriteReport> {
        self.admit(unit)?;
        let now = self.clock.now().into();
        let mut data = lock(&self.data);
        let advance = unit.advance.filter(|_| unit.intent == Intent::Commit);
        if let Some(advance) = advance {
            let claim = data.claims.get(unit.scope);
            let (token, seq) = claim.map_or((FencingToken::default(), 0), |claim| {
                (claim.token, claim.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.seq))
            });
            check_advance(unit.scope, advance, token, seq)?;
            if let Some(live) = data.claims.get(&unit.scope.live()).filter(|live| live.token > advance.token) {
                return Err(Error::fenced(live.token, "another lane of the scope is claimed with a higher token")
                    .with("scope", unit.scope)
                    .with("token", advance.token));
            }
        }
        let mut draft = Draft::new(&mut data, advance.map(|advance| advance.token));
        let report = Steps { draft: &mut draft, now, rehearsing: unit.intent == Intent::Rehearse }.run(unit.steps)?;
        if unit.intent == Intent::Rehearse {
            return Ok(report);
        }
        draft.commit();
        data.units += 1;
        if let Some(advance) = advance {
            let next = Checkpoint { tally: report.tally(), ..advance.next.clone() };
            data.claims.insert(unit.scope.clone(), Claim { token: advance.token, checkpoint: Some(next) });
        }
        Ok(report)
    }

    async fn open(&self, scope: &Scope, token: FencingToken) -> Result<Option<Checkpoint>> {
        if !self.capabilities.atomic_checkpoint {
            return Ok(None);
        }
        let mut data = lock(&self.data);
        let claim = data.claims.entry(scope.clone()).or_default();
        if claim.token > token {
            return Err(Error::fenced(claim.token, "the scope is claimed with a higher token")
                .with("scope", scope)
                .with("token", token)
                .with("claimed", claim.token));
        }
        claim.token = token;
        Ok(claim.checkpoint.clone())
    }

    async fn checkpoint(&self, scope: &Scope) -> Result<Option<Checkpoint>> {
        Ok(lock(&self.data).claims.get(scope).and_then(|claim| claim.checkpoint.clone()))
    }

    async fn prepare(&self, stream: &StreamSpec) -> Result<Altered> {
        stream.check()?;
        let mut data = lock(&self.data);
        let data = &mut *data;
        let Some(table) = data.tables.get_mut(stream.name()) else {
            data.tables.insert(stream.name().to_owned(), Table::new(stream));
            return Ok(Altered::default());
        };
        let (order, altered) = (table.evolution(stream)?, table.lacking(stream)?);
        table.evolve(stream, &order);
        let stages = data.stages.iter_mut().filter(|((_, name), _)| name == stream.name());
        stages.for_each(|(_, stage)| stage.evolve(&order));
        Ok(altered)
    }

    async fn lacking(&self, stream: &StreamSpec) -> Result<Altered> {
        let data = lock(&self.data);
        data.tables.get(stream.name()).map_or(Ok(Altered::default()), |table| table.lacking(stream))
    }

    async fn stored(&self, stream: &StreamSpec, keys: &[Key]) -> Result<Vec<Option<StoredRow>>> {
        if !self.capabilities.read_back {
            return Err(self.lacks("cannot read back what it stored"));
        }
        let data = lock(&self.data);
        let table = data.tables.get(stream.name());
        let row = |key| table?.rows.get(key).map(|row| StoredRow { values: row.values.clone() });
        Ok(keys.iter().map(row).collect())
    }

    /// Counts without rows that are marked as missing.
    async fn exists(&self, stream: &StreamSpec) -> Result<bool> {
        Ok(lock(&self.data).tables.contains_key(stream.name()))
    }

    async fn count(&self, stream: &StreamSpec, rows: &RowScope) -> Result<Option<u64>> {
        let covered = Covered::new(stream, rows)?;
        let data = lock(&self.data);
        Ok(Some(data.tables.get(stream.name()).map_or(0, |table| table.present(&covered).count() as u64)))
    }

    fn capabilities(&self) -> SinkCapabilities {
        self.capabilities
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}
