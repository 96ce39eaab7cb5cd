//! The writing side: what an adapter implements to bring changes into a system.

mod altered;
mod edits;
mod rules;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::detect::Difference;
use crate::model::{Absent, Changes, Key, Outcome, RowScope, Scope, StreamSpec, Tally, Value};
use crate::state::{Advance, Checkpoint, FencingToken, StageName};
use crate::{Error, Result};

pub use altered::Altered;
pub use edits::{Decided, Edit, StoredRow};
pub use rules::Rules;

/// Applies changes to one system.
///
/// # The specification
///
/// *Atomicity.* [`Sink::apply`] does all steps of a unit and its checkpoint, or nothing. A sink that cannot put the
/// checkpoint into the same transaction says so in its capabilities; the engine then keeps the checkpoint in the store.
///
/// *Durability.* When `apply` returns `Ok`, a crash of this process loses nothing of the unit.
///
/// *Counting.* The report says for every row what became of it: rows are classified, then written. Unchanged rows
/// cause no write. [`Write::outcome`] is the one reading of a write's rules, and [`Write::decide`] does all of that for
/// sinks that look rows up by their keys.
///
/// *Fields.* A change that names its fields writes these and no others; see [`Change::onto`](crate::model::Change::onto).
///
/// *Duplicates.* A unit may come again after a lost reply. With an atomic checkpoint the second one is refused
/// (its expected sequence has passed); otherwise writes by key must be repeatable without harm.
/// Within one write step no key stands twice.
///
/// *Concurrency.* Units of different scopes may be applied at once; units of one scope never are, except by a holder
/// that was fenced and does not know it yet: its units must be refused (P10).
///
/// *Errors.* Errors about one row have the kind `Data` and, where the sink knows it, [`Error::at_row`]. An error after
/// which the unit may still have been applied is [`Error::ambiguous`].
///
/// *Shutdown.* A dropped `apply` either happens whole or not at all.
#[async_trait]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `Sink`",
    label = "needs `name` and `apply`",
    note = "`examples/custom-adapter` shows a whole sink in 75 lines; `sync_testkit::sink` proves it"
)]
pub trait Sink: Debug + Send + Sync {
    /// The sink's name in logs and reports.
    fn name(&self) -> &str;

    /// Does all steps of the unit and its checkpoint, or nothing.
    async fn apply(&self, unit: &WriteUnit<'_>) -> Result<WriteReport>;

    /// Claims a scope with this token and returns its checkpoint. From then on lower tokens are refused.
    ///
    /// All lanes of a scope share one lease, and so one token. The engine claims the live lane before a side lane; a unit of
    /// a side lane is refused when the live lane has been claimed with a higher token since.
    ///
    /// Only called where [`SinkCapabilities::atomic_checkpoint`] is set. Claiming again with the same token is harmless
    /// and is how the engine learns, after a lost reply, whether its last unit was applied.
    ///
    /// # Errors
    /// [`Error::fenced`] when a higher token has claimed the scope.
    async fn open(&self, scope: &Scope, token: FencingToken) -> Result<Option<Checkpoint>> {
        let _ = (scope, token);
        Ok(None)
    }

    /// Reads a scope's checkpoint without claiming it: for dry runs and reports, which must change nothing.
    async fn checkpoint(&self, scope: &Scope) -> Result<Option<Checkpoint>> {
        let _ = scope;
        Ok(None)
    }

    /// Creates or evolves the target of a stream, and says what it changed in one that was there. A change that would lose data is
    /// refused with the exact difference.
    ///
    /// A call whose answer was lost is tried again: the one that comes through says what was changed by both.
    async fn prepare(&self, stream: &StreamSpec) -> Result<Altered> {
        let _ = stream;
        Ok(Altered::default())
    }

    /// What [`prepare`](Self::prepare) would change in a target that is there; nothing, where there is none. A dry run says so,
    /// and changes nothing. Refuses what `prepare` would refuse.
    async fn lacking(&self, stream: &StreamSpec) -> Result<Altered> {
        let _ = stream;
        Ok(Altered::default())
    }

    /// Whether the target of a stream is there. Asked before [`prepare`](Self::prepare) would make a new one: where a
    /// position says that rows were brought into it, a target that is gone is a loss, and the run is refused. A sink
    /// that cannot tell says yes.
    async fn exists(&self, stream: &StreamSpec) -> Result<bool> {
        let _ = stream;
        Ok(true)
    }

    /// The rows stored under these keys, in the order of the keys. Needed by policies and detectors without a guard.
    async fn stored(&self, stream: &StreamSpec, keys: &[Key]) -> Result<Vec<Option<StoredRow>>> {
        let _ = (stream, keys);
        Err(Error::config("this sink cannot read back what it stored").with("sink", self.name()))
    }

    /// How many rows of the stream the target holds in this scope; `None` when it cannot tell.
    async fn count(&self, stream: &StreamSpec, rows: &RowScope) -> Result<Option<u64>> {
        let _ = (stream, rows);
        Ok(None)
    }

    /// What it can promise. The builder refuses pipelines that need more.
    fn capabilities(&self) -> SinkCapabilities {
        SinkCapabilities::default()
    }

    /// Whether the other side can be reached and lets us write. Changes nothing there.
    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: Sink + ?Sized> Sink for Arc<T> {
    fn name(&self) -> &str {
        (**self).name()
    }

    async fn apply(&self, unit: &WriteUnit<'_>) -> Result<WriteReport> {
        (**self).apply(unit).await
    }

    async fn open(&self, scope: &Scope, token: FencingToken) -> Result<Option<Checkpoint>> {
        (**self).open(scope, token).await
    }

    async fn checkpoint(&self, scope: &Scope) -> Result<Option<Checkpoint>> {
        (**self).checkpoint(scope).await
    }

    async fn prepare(&self, stream: &StreamSpec) -> Result<Altered> {
        (**self).prepare(stream).await
    }

    async fn lacking(&self, stream: &StreamSpec) -> Result<Altered> {
        (**self).lacking(stream).await
    }

    async fn exists(&self, stream: &StreamSpec) -> Result<bool> {
        (**self).exists(stream).await
    }

    async fn stored(&self, stream: &StreamSpec, keys: &[Key]) -> Result<Vec<Option<StoredRow>>> {
        (**self).stored(stream, keys).await
    }

    async fn count(&self, stream: &StreamSpec, rows: &RowScope) -> Result<Option<u64>> {
        (**self).count(stream, rows).await
    }

    fn capabilities(&self) -> SinkCapabilities {
        (**self).capabilities()
    }

    async fn check(&self) -> Result<()> {
        (**self).check().await
    }
}

/// What is applied together: some steps, and how far the scope has got with them.
#[derive(Debug)]
pub struct WriteUnit<'a> {
    /// Whose unit it is.
    pub scope: &'a Scope,
    /// The steps, in order.
    pub steps: &'a [Step],
    /// The new checkpoint, where the sink keeps it. It is written last, and only when its token and sequence hold.
    pub advance: Option<&'a Advance>,
    /// Whether to write at all.
    pub intent: Intent,
}

/// Whether a unit is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Intent {
    /// Write it.
    #[default]
    Commit,
    /// Find out what would happen, by the same path, and leave no trace: no row, no table, no checkpoint.
    Rehearse,
}

/// One step of a unit.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Step {
    /// Write changes where everyone sees them.
    Write(Write),
    /// Keep rows durably where nobody sees them yet. A step without rows creates an empty stage.
    Stage(Stage),
    /// Make staged rows visible at once, and deal with the rows they do not name. The stage is gone afterwards. A stage
    /// that is not there was published already: then nothing happens, and nothing is reported. So a publish may come
    /// again after a lost reply.
    Publish(Publish),
    /// Forget staged rows.
    Discard {
        /// Which ones.
        stage: StageName,
        /// Of which stream.
        stream: Arc<StreamSpec>,
    },
}

/// Changes to write where everyone sees them.
#[derive(Debug, Clone)]
pub struct Write {
    /// The stream.
    pub stream: Arc<StreamSpec>,
    /// The changes. No key stands twice.
    pub changes: Changes,
    /// What an existing row means.
    pub mode: WriteMode,
    /// When an incoming row may replace an existing one.
    pub guard: Guard,
    /// When an incoming row counts as different from an existing one.
    pub difference: Difference,
    /// Compare-and-set: what must be stored for each change, or the whole unit fails with `Conflict`. Empty or one each.
    pub expect: Vec<Expect>,
}

/// What an existing row means for a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum WriteMode {
    /// It is updated where it differs.
    #[default]
    Upsert,
    /// It is left alone.
    InsertOnly,
    /// There is no key: every row is a new one.
    Append,
}

/// When an incoming row may replace an existing one, in a form a sink can evaluate by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Guard {
    /// Always.
    #[default]
    Always,
    /// Unless the stored version is higher. A row without version counts as the lowest.
    NotOlder,
    /// Only when its (version, content) is higher, in the total order of [`crate::conflict::order`]: of two rows the
    /// same one wins wherever and in whatever order they meet.
    Newer,
    /// Never: the existing row stays.
    Never,
}

/// What a compare-and-set expects to find.
#[derive(Debug, Clone, PartialEq)]
pub enum Expect {
    /// No row of this key.
    Absent,
    /// Exactly these values, in schema order.
    Row(Vec<Value>),
}

/// Rows to keep durably where nobody sees them yet.
#[derive(Debug, Clone)]
pub struct Stage {
    /// Under which name.
    pub stage: StageName,
    /// The stream.
    pub stream: Arc<StreamSpec>,
    /// The rows. A key may have been staged before: publishing keeps the highest version.
    pub changes: Changes,
}

/// What becomes visible at once.
#[derive(Debug, Clone)]
pub struct Publish {
    /// Which stage.
    pub stage: StageName,
    /// The stream.
    pub stream: Arc<StreamSpec>,
    /// Which target rows the stage speaks for.
    pub rows: RowScope,
    /// What happens to target rows in that scope which the stage does not name.
    pub absent: Absent,
    /// The most rows that may be removed or marked; with more, none is, and all are counted as withheld.
    pub most: MostDeletes,
    /// When a staged row may replace an existing one.
    pub guard: Guard,
    /// When a staged row counts as different from an existing one.
    pub difference: Difference,
    /// What an existing row means.
    pub mode: WriteMode,
    /// Whether the stage holds only keys: then nothing is written, and rows the target lacks are counted as missing.
    pub keys_only: bool,
    /// Staged keys that are left out, since their rows went to the dead letters.
    pub skip: Vec<Key>,
    /// Keys that the listing named but that could not be staged, since their rows went to the dead letters: they are
    /// not absent.
    pub spared: Vec<Key>,
}

/// How many rows a publish may remove: a listing that lost its tail must not empty a table (P19).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MostDeletes {
    /// As many as it takes: a person has confirmed it.
    Any,
    /// At most `rows`, or this share of the target rows in scope if that is more.
    Limited {
        /// Always allowed, rows.
        rows: u64,
        /// Allowed share of the rows in scope, 0 to 1.
        share: f64,
    },
}

impl MostDeletes {
    /// Whether `absent` of `present` rows may be removed.
    #[expect(clippy::cast_precision_loss, reason = "a share of a row count needs no more than 52 bits")]
    pub fn allows(self, absent: u64, present: u64) -> bool {
        match self {
            Self::Any => true,
            Self::Limited { rows, share } => absent <= rows || absent as f64 <= share * present as f64,
        }
    }
}

/// What became of a unit: one report for each step, in order.
#[derive(Debug, Clone, Default)]
pub struct WriteReport {
    /// What became of each step.
    pub steps: Vec<StepReport>,
}

impl WriteReport {
    /// What became of all steps together.
    pub fn tally(&self) -> Tally {
        let mut sum = Tally::new();
        for step in &self.steps {
            sum += step.tally();
        }
        sum
    }
}

/// What became of one step.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum StepReport {
    /// One outcome for each change, in order.
    Rows(Vec<Outcome>),
    /// What a publish did: outcomes of staged rows, and of rows the listing did not name.
    Published {
        /// Outcomes of all rows that had been staged; those whose key was staged again are duplicates.
        staged: Tally,
        /// Outcomes of target rows the listing did not name: deleted or withheld.
        absent: Tally,
    },
    /// Staged rows were forgotten: how many.
    Discarded(u64),
}

impl StepReport {
    /// All outcomes of the step, added up.
    pub fn tally(&self) -> Tally {
        match self {
            Self::Rows(outcomes) => outcomes.iter().copied().collect(),
            Self::Published { staged, absent } => {
                let mut sum = *staged;
                sum += *absent;
                sum
            }
            Self::Discarded(_) => Tally::new(),
        }
    }
}

/// What a sink can promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SinkCapabilities {
    /// Rows and checkpoint in one transaction, fenced by token and sequence. Such a sink is given rows without a key as well
    /// ([`WriteMode::Append`]), and none of them twice. Without it, a target that is restored from an older
    /// copy lacks what came since, and no run of changes notices: run it full then.
    pub atomic_checkpoint: bool,
    /// Writing the same changes again does no harm (writes by key).
    pub idempotent: bool,
    /// It evaluates every [`Guard`]; otherwise the engine reads, decides and compares-and-sets.
    pub guards: bool,
    /// It stages and publishes.
    pub staging: bool,
    /// It can say what it stored, and compares-and-sets by [`Write::expect`].
    pub read_back: bool,
    /// It can rehearse a unit without leaving a trace.
    pub rehearsal: bool,
    /// It takes rows in key order so much faster than scattered ones that a first load of unordered keys is better staged
    /// and then published in their order, though it is written twice. Only of use to a sink that stages.
    pub sorts_first_load: bool,
}

impl SinkCapabilities {
    /// Everything.
    pub fn all() -> Self {
        Self {
            atomic_checkpoint: true,
            idempotent: true,
            guards: true,
            staging: true,
            read_back: true,
            rehearsal: true,
            sorts_first_load: true,
        }
    }

    /// Writes by key that may be repeated without harm, and nothing else.
    pub fn idempotent() -> Self {
        Self { idempotent: true, ..Self::default() }
    }
}
