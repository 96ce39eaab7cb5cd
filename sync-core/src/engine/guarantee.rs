//! What source and sink can promise together.

use std::fmt;

use crate::sink::SinkCapabilities;
use crate::source::{CursorKind, SourceCapabilities};

/// How often the effect of a change appears in the target, over crashes, retries and restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Guarantee {
    /// At most once: what a crash interrupts may be lost.
    AtMostOnce,
    /// At least once: nothing is lost, and some effects may appear twice.
    AtLeastOnce,
    /// Exactly once in effect: delivery may repeat, the effect does not.
    EffectivelyOnce,
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AtMostOnce => "at most once",
            Self::AtLeastOnce => "at least once",
            Self::EffectivelyOnce => "effectively once",
        })
    }
}

/// What these two can promise together.
///
/// A source that can be read again loses nothing. A sink that keeps the checkpoint with the rows, or that takes the
/// same rows again without harm, doubles nothing; a source without cursors is read from the beginning each time, so
/// only repeatable writes keep it from doubling.
pub fn guarantee(source: SourceCapabilities, sink: SinkCapabilities) -> Guarantee {
    if !source.replayable {
        return Guarantee::AtMostOnce;
    }
    let resumes = source.cursor != CursorKind::None && source.cursor != CursorKind::Inclusive;
    if sink.idempotent || (sink.atomic_checkpoint && resumes) {
        Guarantee::EffectivelyOnce
    } else {
        Guarantee::AtLeastOnce
    }
}
