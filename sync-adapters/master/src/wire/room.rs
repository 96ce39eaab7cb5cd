//! What is said in a room: that there is news, never the news itself.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::number;

/// A place in the master's feed: how far somebody has read, or could.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Mark {
    /// Which life of the feed: another one after the master was restored from a backup.
    #[serde(with = "number")]
    pub(crate) feed: u64,
    /// The last entry.
    #[serde(with = "number")]
    pub(crate) up_to: u64,
}

impl Mark {
    /// Whether somebody who has read up to here knows what there is up to there.
    pub(crate) fn covers(self, other: Self) -> bool {
        self.feed == other.feed && self.up_to >= other.up_to
    }
}

/// What the master says in a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Told {
    /// The first message: where the feed stands now. Of everything after it, the room is told.
    Welcome {
        /// Where the feed stands.
        at: Mark,
        /// How often a ping comes, milliseconds.
        ping_ms: u64,
    },
    /// There is something to pull, up to there.
    News {
        /// Up to where.
        at: Mark,
        /// Whether it is about edits that waited for a decision, whatever was pulled already.
        decided: bool,
    },
    /// How many groups of this caller's wait for a decision.
    Queue {
        /// How many.
        waiting: usize,
    },
    /// What a later version may say.
    #[serde(other)]
    Other,
}

/// What a member of a room says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Asked {
    /// Once, at the beginning: it has read up to there. It is told whether anything came since.
    Resume {
        /// Up to where.
        at: Mark,
    },
}

/// The subprotocol.
pub(crate) const PROTOCOL: &str = "sync.v1";

/// What the element of `Sec-WebSocket-Protocol` begins with that holds a browser's token.
pub(crate) const TOKEN: &str = "bearer.";

/// Why a connection is closed, as its code and its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closing {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
}

/// The master stops.
pub(crate) const STOPPING: Closing = Closing { code: 1001, reason: "stopping" };
/// A message is larger than the master takes.
pub(crate) const TOO_LARGE: Closing = Closing { code: 1009, reason: "too_large" };
/// The master could not look for news.
pub(crate) const FAILED: Closing = Closing { code: 1011, reason: "failed" };
/// A message is not one of this protocol.
pub(crate) const BAD_MESSAGE: Closing = Closing { code: 4400, reason: "bad_message" };
/// The token has expired: come back with another.
pub(crate) const TOKEN_EXPIRED: Closing = Closing { code: 4401, reason: "token_expired" };
/// The token was taken back: come back with another, if there is one.
pub(crate) const TOKEN_REVOKED: Closing = Closing { code: 4401, reason: "token_revoked" };
/// A ping was not answered in time.
pub(crate) const NO_PONG: Closing = Closing { code: 4408, reason: "no_pong" };
/// Too many messages a second.
pub(crate) const TOO_MANY: Closing = Closing { code: 4429, reason: "too_many_messages" };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_has_the_documented_form() {
        let at = Mark { feed: u64::MAX, up_to: 7 };
        let said = serde_json::to_value(Told::News { at, decided: false }).unwrap();
        let expected =
            serde_json::json!({"type": "news", "at": {"feed": u64::MAX.to_string(), "up_to": 7}, "decided": false});
        assert_eq!(said, expected);
        assert_eq!(serde_json::from_value::<Told>(said).unwrap(), Told::News { at, decided: false });
        assert_eq!(serde_json::from_str::<Told>(r#"{"type": "party", "when": 1}"#).unwrap(), Told::Other);
        assert!(
            serde_json::from_str::<Asked>(r#"{"type": "resume", "at": {"feed": 1, "up_to": 7}, "rows": 1}"#).is_err()
        );
    }

    #[test]
    fn a_mark_covers_what_is_before_it_in_the_same_life() {
        let mark = |feed, up_to| Mark { feed, up_to };
        assert!(mark(1, 7).covers(mark(1, 7)) && mark(1, 7).covers(mark(1, 6)));
        assert!(!mark(1, 7).covers(mark(1, 8)) && !mark(1, 7).covers(mark(2, 1)));
    }
}
