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

/// The methods of a source by which its host says which tables are read and how they are followed: the same of every database.
macro_rules! told_by_host {
    () => {
        /// Reads the table of the stream's name: its declared columns, and nothing else.
        #[must_use]
        pub fn table(mut self, stream: impl Into<std::sync::Arc<sync_core::StreamSpec>>) -> Self {
            self.settings.streams.push(stream.into());
            self
        }

        /// The most rows in a batch. The default is 1,000. A batch ends earlier when its rows take 4 MiB.
        #[must_use]
        pub fn page(mut self, rows: usize) -> Self {
            self.settings.page = rows.max(1);
            self
        }

        /// Every run reads the rows of the last version again, also where it is no time.
        ///
        /// For numbers that several changes may come to share at different times, such as seconds since 1970: a row that gets
        /// the last version later, and has a lower key, would not be found. A number that grows with every change or
        /// transaction, one writer at a time, needs no such care.
        #[must_use]
        pub fn inclusive(mut self) -> Self {
            self.settings.inclusive = true;
            self
        }

        /// Every run begins this long before the newest version of the last one, for rows that commit late with an older
        /// version. It holds for versions that are times, in streams whose rows may come again: not in one that is appended.
        /// The default is none.
        #[must_use]
        pub fn lookback(mut self, time: std::time::Duration) -> Self {
            self.settings.lookback = time;
            self
        }

        /// Another clock, such as a simulated one. It says which versions lie in the future, where the database does not.
        #[must_use]
        pub fn clock(mut self, clock: std::sync::Arc<dyn sync_core::Clock>) -> Self {
            self.settings.clock = clock;
            self
        }
    };
}

pub(crate) use told_by_host;
