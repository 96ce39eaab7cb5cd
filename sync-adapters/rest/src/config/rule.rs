//! What answers mean: ordered rules over status, headers and body.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One rule. Every condition that is given must hold.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct RuleConfig {
    /// The status is one of these.
    pub status: Vec<u16>,
    /// Each of these headers matches its regular expression.
    pub headers: BTreeMap<String, String>,
    /// The value in the body that the conditions below look at, a JSON pointer. Without one of them it must be there, and
    /// be neither null, false, nor empty.
    pub pointer: Option<String>,
    /// The value is one of these.
    pub equals: Vec<serde_json::Value>,
    /// The regular expression matches the value, or the whole body where no pointer is given.
    pub matches: Option<String>,
    /// What the answer means.
    pub class: Class,
    /// Where the time to wait comes from, tried in order; for the class `throttle`.
    pub wait: Vec<WaitSource>,
}

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Class {
    /// Slow down.
    Throttle,
    /// Our credentials are not accepted (any more).
    Auth,
    /// We may not do this.
    Permission,
    /// The request is wrong: a fault of the declaration, never an empty answer.
    BadRequest,
    /// Try again.
    Transient,
    /// The position or the resource is gone: read everything again.
    Gone,
    /// A failure in the guise of success.
    #[default]
    Failure,
    /// There is more than one answer holds, or the answer says that it is not all: the range of dates is halved, where the
    /// stream's window says `halve`.
    TooMany,
    /// The request takes the other side too long: it is tried again, and after some times the range of dates is halved,
    /// where the stream's window says `halve`.
    TooSlow,
    /// All is well, whatever the status says.
    Ok,
}

/// Where the time to wait comes from.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum WaitSource {
    /// `Retry-After`: seconds, or a date, which is compared with the response's own `Date`.
    RetryAfter,
    /// A header of this name.
    Header {
        /// The header.
        name: String,
        /// What its number means.
        unit: Unit,
    },
    /// A value in the body.
    Body {
        /// A JSON pointer.
        pointer: String,
        /// What the number means.
        unit: Unit,
    },
    /// The first group of a regular expression over the whole body.
    Text {
        /// The regular expression, with one group around the number.
        regex: String,
        /// What the number means.
        unit: Unit,
    },
    /// So many seconds.
    Fixed {
        /// Seconds.
        seconds: u64,
    },
}

/// What a number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unit {
    /// Thousandths of a second from now.
    Milliseconds,
    /// Seconds from now.
    Seconds,
    /// Minutes from now.
    Minutes,
    /// Hours from now.
    Hours,
    /// Seconds since 1970.
    Epoch,
}
