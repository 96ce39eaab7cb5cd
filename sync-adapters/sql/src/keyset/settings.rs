//! What a host says about the tables of a source, and what the source can promise then.

use std::sync::Arc;
use std::time::Duration;

use sync_core::source::{CursorKind, Listing, SourceCapabilities};
use sync_core::{Clock, Feed, StreamSpec, SystemClock};

use super::position::{by_time, may_repeat};

/// The tables that are read, and how they are followed.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) streams: Vec<Arc<StreamSpec>>,
    /// The most rows in a batch.
    pub(crate) page: usize,
    /// How long before the newest version of the last run every run begins.
    pub(crate) lookback: Duration,
    /// Whether rows of the last version are read again where it is no time.
    pub(crate) inclusive: bool,
    /// Whether the database can say which versions may still appear, so that nothing needs to be read again.
    pub(crate) proven: bool,
    /// Says which versions lie in the future.
    pub(crate) clock: Arc<dyn Clock>,
}

impl Settings {
    pub(crate) fn new() -> Self {
        Self {
            streams: Vec::new(),
            page: 1000,
            lookback: Duration::ZERO,
            inclusive: false,
            proven: false,
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// Whether a run reads rows of this stream again that it has read before.
    pub(crate) fn repeats(&self, stream: &StreamSpec) -> bool {
        let by_time = by_time(stream) && !(self.proven && self.lookback.is_zero());
        may_repeat(stream) && (self.inclusive || by_time)
    }

    pub(crate) fn capabilities(&self) -> SourceCapabilities {
        let repeats = self.streams.iter().any(|stream| self.repeats(stream));
        let cursor = if repeats { CursorKind::Inclusive } else { CursorKind::PositionAndKey };
        SourceCapabilities::replayable(cursor).listing(Listing::Rows).ranges()
    }

    /// One feed for each table: each is followed by itself.
    pub(crate) fn feeds(&self) -> Vec<Feed> {
        self.streams.iter().map(|stream| Feed::one(Arc::clone(stream))).collect()
    }
}
