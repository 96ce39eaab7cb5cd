//! What a host puts together: a source, a sink, the streams between them, and how differences are settled.

use std::fmt;
use std::sync::Arc;

use super::guarantee::{Guarantee, guarantee};
use crate::conflict::ConflictPolicy;
use crate::detect::{ChangeDetector, Difference};
use crate::model::{Change, Disposition, StreamSpec};
use crate::sink::{Guard, MostDeletes, Sink};
use crate::source::{CursorKind, Source};
use crate::{Error, Result};

type Filter = Arc<dyn Fn(&StreamSpec, &Change<'_>) -> bool + Send + Sync>;

/// How a first load is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum FirstLoad {
    /// As [`Sorted`](Self::Sorted) into a sink that is faster so ([`SinkCapabilities::sorts_first_load`]), otherwise as
    /// [`Direct`](Self::Direct).
    ///
    /// [`SinkCapabilities::sorts_first_load`]: crate::sink::SinkCapabilities::sorts_first_load
    #[default]
    Auto,
    /// Staged, where rows come unordered and the sink stages, and published in key order at the end. Nothing is visible until
    /// the load is whole.
    Sorted,
    /// Page by page, visible as it comes.
    Direct,
}

/// A source, a sink, the streams between them, and how differences are settled.
///
/// Without further settings an incoming row replaces the stored one where it differs, unless the stored version is
/// higher.
#[derive(Clone)]
pub struct Pipeline {
    pub(super) name: String,
    pub(super) source: Arc<dyn Source>,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) streams: Vec<Arc<StreamSpec>>,
    pub(super) policy: Option<Arc<dyn ConflictPolicy>>,
    pub(super) detector: Option<Arc<dyn ChangeDetector>>,
    pub(super) filter: Option<Filter>,
    pub(super) demand: Guarantee,
    pub(super) first_load: FirstLoad,
    pub(super) most_deletes: MostDeletes,
}

impl Pipeline {
    /// A pipeline of this name: its checkpoints are kept under it, so it must stay the same over releases.
    pub fn new(name: impl Into<String>, source: impl Source + 'static, sink: impl Sink + 'static) -> Self {
        Self {
            name: name.into(),
            source: Arc::new(source),
            sink: Arc::new(sink),
            streams: Vec::new(),
            policy: None,
            detector: None,
            filter: None,
            demand: Guarantee::AtLeastOnce,
            first_load: FirstLoad::Auto,
            most_deletes: MostDeletes::Limited { rows: 10, share: 0.1 },
        }
    }

    /// Only these of the source's streams, in this order. Without any, all of them run.
    #[must_use]
    pub fn stream(mut self, stream: impl Into<Arc<StreamSpec>>) -> Self {
        self.streams.push(stream.into());
        self
    }

    /// Decides which of two states of a row stays.
    #[must_use]
    pub fn policy(mut self, policy: impl ConflictPolicy + 'static) -> Self {
        self.policy = Some(Arc::new(policy));
        self
    }

    /// Decides whether a row differs.
    #[must_use]
    pub fn detector(mut self, detector: impl ChangeDetector + 'static) -> Self {
        self.detector = Some(Arc::new(detector));
        self
    }

    /// Leaves out the changes for which this says false; they are counted as `filtered`.
    #[must_use]
    pub fn filter(mut self, keep: impl Fn(&StreamSpec, &Change<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.filter = Some(Arc::new(keep));
        self
    }

    /// Refuses to build unless source and sink can promise this. The default is at least once.
    #[must_use]
    pub fn demand(mut self, guarantee: Guarantee) -> Self {
        self.demand = guarantee;
        self
    }

    /// How a first load is written.
    #[must_use]
    pub fn first_load(mut self, first_load: FirstLoad) -> Self {
        self.first_load = first_load;
        self
    }

    /// How many rows a complete listing may remove without confirmation; the default is 10, or 10 % if that is more.
    #[must_use]
    pub fn most_deletes(mut self, most: MostDeletes) -> Self {
        self.most_deletes = most;
        self
    }

    /// The pipeline's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the source and the sink can promise together.
    pub fn guarantee(&self) -> Guarantee {
        guarantee(self.source.capabilities(), self.sink.capabilities())
    }

    /// When an incoming row may replace a stored one, in a form the sink can evaluate; `None` when the engine must
    /// read back and ask the policy.
    pub(super) fn guard(&self, stream: &StreamSpec) -> Option<Guard> {
        let guard = match &self.policy {
            Some(policy) => policy.guard()?,
            None if stream.version_column().is_some() => Guard::NotOlder,
            None => Guard::Always,
        };
        let sink_evaluates = self.sink.capabilities().guards || guard == Guard::Always;
        sink_evaluates.then_some(guard)
    }

    /// When an incoming row counts as different, in a form the sink can evaluate.
    pub(super) fn difference(&self) -> Option<Difference> {
        self.detector.as_ref().map_or(Some(Difference::Content), |detector| detector.guard())
    }

    /// Whether rows of one version count as the same, where nothing is to be repaired.
    pub(super) fn compares_versions(&self) -> bool {
        self.detector.as_ref().is_some_and(|detector| detector.compares_versions())
    }

    pub(super) fn keeps(&self, stream: &StreamSpec, change: &Change<'_>) -> bool {
        self.filter.as_ref().is_none_or(|keep| keep(stream, change))
    }

    /// Refuses what cannot work, before anything is read.
    pub(super) fn check(&self) -> Result<()> {
        self.check_pair()
            .and_then(|()| self.streams.iter().try_for_each(|stream| self.check_stream(stream)))
            .map_err(|error| error.with("pipeline", &self.name))
    }

    fn check_pair(&self) -> Result<()> {
        if self.name.is_empty() {
            return Err(Error::config("a pipeline needs a name: its checkpoints are kept under it"));
        }
        if self.source.capabilities().cursor == CursorKind::BareTimestamp {
            return Err(Error::config("the source's cursor is a bare timestamp: rows that share it would be lost. Add the key to the cursor, or read the position again inclusively")
                .with("source", self.source.name()));
        }
        let given = self.guarantee();
        if given < self.demand {
            return Err(Error::config(format!(
                "this source and this sink deliver {given}, and {} is demanded",
                self.demand
            ))
            .with("source", self.source.name())
            .with("sink", self.sink.name()));
        }
        Ok(())
    }

    /// Refuses a stream that this source, sink, policy and detector cannot carry.
    pub(super) fn check_stream(&self, stream: &StreamSpec) -> Result<()> {
        stream.check()?;
        let sink = self.sink.capabilities();
        let wrong =
            |text: String| Err(Error::config(text).with("stream", stream.name()).with("sink", self.sink.name()));
        if let Some(policy) = &self.policy {
            policy.check(stream)?;
        }
        if let Some(policy) = &self.policy
            && policy.needs_version()
            && stream.version_column().is_none()
        {
            return wrong(format!(
                "{policy:?} decides by version, and the stream declares none: add `.version(\"updated_at\")` or choose another policy"
            ));
        }
        if self.compares_versions() && stream.version_column().is_none() {
            return wrong("the detector compares versions, and the stream declares none: add `.version(\"updated_at\")` or choose another detector".to_owned());
        }
        match stream.writes() {
            Disposition::Append if !sink.atomic_checkpoint => {
                return wrong("rows that are appended could double after a retry: the sink must keep the checkpoint with the rows".to_owned());
            }
            Disposition::Snapshot | Disposition::ReplaceWindow if !sink.staging => {
                return wrong("a complete listing replaces rows at once, and this sink cannot stage them".to_owned());
            }
            Disposition::Snapshot | Disposition::ReplaceWindow
                if self.guard(stream).is_none() || self.difference().is_none() =>
            {
                return wrong("a complete listing replaces rows at once in the sink, which cannot ask this policy or detector: choose one that is a guard".to_owned());
            }
            Disposition::Append => return Ok(()),
            _ => {}
        }
        if (self.guard(stream).is_none() || self.difference().is_none()) && !sink.read_back {
            return wrong(
                "the policy or the detector must see what is stored, and this sink cannot read back".to_owned(),
            );
        }
        Ok(())
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("name", &self.name)
            .field("source", &self.source)
            .field("sink", &self.sink)
            .field("streams", &self.streams.iter().map(|stream| stream.name()).collect::<Vec<_>>())
            .field("policy", &self.policy)
            .field("detector", &self.detector)
            .finish_non_exhaustive()
    }
}
