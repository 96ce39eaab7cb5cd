//! What goes over the wire, as types: the shapes of system 004.

mod codec;
mod number;
mod room;
mod translate;
mod value;

use serde::{Deserialize, Serialize};
use sync_core::two_way::{Became, Hlc};
use utoipa::ToSchema;

pub(crate) use self::codec::{Codec, Codecs, Raw};
pub(crate) use self::room::{
    Asked, BAD_MESSAGE, Closing, FAILED, Mark, NO_PONG, PROTOCOL, STOPPING, TOKEN, TOKEN_EXPIRED, TOKEN_REVOKED,
    TOO_LARGE, TOO_MANY, Told,
};

/// What the name of a replica is on the wire.
pub(crate) fn is_peer(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A batch of edits: groups, or edits that are one group.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchPush {
    /// The branch's name for this replica, 1 to 64 visible ASCII characters. It means something to this caller alone.
    pub(crate) peer: String,
    /// Which life the replica is in: another one after it was restored from a backup.
    #[serde(default, with = "number")]
    pub(crate) life: u64,
    /// What the pages say that the branch is known as: the batch of one that is known otherwise is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) known_as: Option<String>,
    /// Whether a group of several edits that would have to wait is refused instead, with `would_wait`: it comes again in parts.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) in_parts: bool,
    /// Groups, each applied whole or not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) groups: Option<Vec<GroupBody>>,
    /// Where edits are given without groups: the last number before them.
    #[serde(default, with = "number", skip_serializing_if = "is_zero")]
    pub(crate) previous: u64,
    /// Edits that are one group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) edits: Option<Vec<EditBody>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_false(said: &bool) -> bool {
    !said
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Edits of one transaction.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GroupBody {
    /// The number of the last edit of the group before it; 0 for the first of a life.
    #[serde(with = "number")]
    pub(crate) previous: u64,
    /// The edits, in order.
    pub(crate) edits: Vec<EditBody>,
}

/// One write of a row.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EditBody {
    /// Its number: it grows, and is never used again in this life.
    #[serde(with = "number")]
    pub(crate) op: u64,
    /// The table.
    pub(crate) table: String,
    /// The `rev` that the writer had seen; 0 is none.
    #[serde(default, with = "number")]
    pub(crate) base: u64,
    /// When: `milliseconds.counter`, or RFC 3339.
    #[serde(with = "number::written")]
    #[schema(value_type = String)]
    pub(crate) hlc: Hlc,
    /// The row before, by column; none where there was no row.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub(crate) before: Option<Raw>,
    /// The row after, by column; none where it was deleted.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub(crate) after: Option<Raw>,
}

/// What became of a batch.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct BatchPushed {
    /// The last edit that is durable here.
    #[serde(with = "number")]
    pub(crate) last_op: u64,
    /// What became of each.
    pub(crate) results: Vec<ResultBody>,
}

/// What became of one edit.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ResultBody {
    /// The edit's number.
    #[serde(with = "number")]
    pub(crate) op: u64,
    /// The table.
    pub(crate) table: String,
    /// `applied`, `prevailed`, `merged`, `overruled` or `waits`.
    #[schema(value_type = String)]
    pub(crate) became: Became,
    /// The row's `rev` here afterwards.
    #[serde(with = "number")]
    pub(crate) rev: u64,
    /// The row here afterwards, by column.
    #[schema(value_type = Option<Object>)]
    pub(crate) row: Option<Raw>,
    /// When that row was written.
    #[serde(with = "number::written")]
    #[schema(value_type = String)]
    pub(crate) hlc: Hlc,
    /// Whether the edit's time lay in the future and was set back.
    pub(crate) clamped: bool,
}

/// Changes since a cursor.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct PageBody {
    /// The rows, whole groups only.
    pub(crate) changes: Vec<ChangeBody>,
    /// Where the next page begins. Opaque, and good for this caller alone.
    pub(crate) cursor: String,
    /// How far this page reads, to be compared with what a room tells; none in a first load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mark: Option<Mark>,
    /// Whether more is there already.
    pub(crate) more: bool,
    /// Whether these rows are part of a first load: what it does not name is gone.
    pub(crate) load: bool,
    /// Whether the first load goes on with the next page.
    pub(crate) loading: bool,
    /// The caller's last edit that is durable here, in this life.
    #[serde(with = "number")]
    pub(crate) last_op: u64,
    /// Answers to edits that waited, decided meanwhile.
    pub(crate) decided: Vec<ResultBody>,
    /// The master's clock.
    #[serde(with = "number::written")]
    #[schema(value_type = String)]
    pub(crate) clock: Hlc,
    /// The same for all tokens of this client and branch, and another for those of others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) known_as: Option<String>,
}

/// One row in a page.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ChangeBody {
    /// The transaction; rows of one stand together.
    #[serde(with = "number")]
    pub(crate) group: u64,
    /// The table.
    pub(crate) table: String,
    /// The key, by column.
    #[schema(value_type = Object)]
    pub(crate) key: Raw,
    /// The row's `rev` here.
    #[serde(with = "number")]
    pub(crate) rev: u64,
    /// When it was written.
    #[serde(with = "number::written")]
    #[schema(value_type = String)]
    pub(crate) hlc: Hlc,
    /// Who wrote it: the caller's own replicas by their names, all others under names that say nothing.
    pub(crate) origin: String,
    /// The number of the write there.
    #[serde(with = "number")]
    pub(crate) op: u64,
    /// The row, by column; none where it is gone, or no longer the caller's.
    #[schema(value_type = Option<Object>)]
    pub(crate) row: Option<Raw>,
}

/// Rows that are asked for by their keys.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LookupBody {
    /// The caller's name for itself, where it writes: what of its own edits waits is told as if it had been taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) peer: Option<String>,
    /// The table.
    pub(crate) table: String,
    /// The keys, each by column.
    #[schema(value_type = Vec<Object>)]
    pub(crate) keys: Vec<Raw>,
}

/// What stands under the keys that were asked for.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct FoundBody {
    /// One for each key, in their order.
    pub(crate) rows: Vec<FoundRow>,
}

/// What stands under a key.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct FoundRow {
    /// The row's `rev` here; 0 where it is not there.
    #[serde(with = "number")]
    pub(crate) rev: u64,
    /// The row, by column; none where it is not there, or not the caller's.
    #[schema(value_type = Option<Object>)]
    pub(crate) row: Option<Raw>,
    /// Whether the row is as it will be once what the caller has written before is taken: it waits.
    #[serde(default)]
    pub(crate) waits: bool,
    /// An edit that is made now is later than this.
    #[serde(with = "number::written")]
    #[schema(value_type = String)]
    pub(crate) hlc: Hlc,
}

/// A decision about what waits.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resolve {
    /// What it is about: the `id` of a conflict.
    pub(crate) id: String,
    /// What is decided.
    pub(crate) decision: DecisionBody,
    /// For `write`: one row for each edit, by column; none deletes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Option<Object>>>)]
    pub(crate) rows: Option<Vec<Option<Raw>>>,
}

/// What may be decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DecisionBody {
    /// The branch's edits are applied, onto the rows as they are now.
    TakeIncoming,
    /// The rows stay as they are.
    KeepExisting,
    /// The given rows are written.
    Write,
}

/// The answer to a decision.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Resolved {
    /// What was decided.
    pub(crate) id: String,
}

/// How things stand for the caller.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Stats {
    /// How many groups wait for a decision.
    pub(crate) waiting: usize,
    /// The groups that wait, the oldest first; at most a hundred.
    pub(crate) conflicts: Vec<ConflictBody>,
    /// The tables that take part.
    pub(crate) tables: Vec<String>,
    /// How many edits go into one batch of several groups.
    pub(crate) edits_per_batch: usize,
    /// How large a body may be, bytes after decompression.
    pub(crate) body_bytes: usize,
    /// The master's clock.
    #[serde(with = "number::written")]
    #[schema(value_type = String)]
    pub(crate) clock: Hlc,
}

/// A group that waits for a decision.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ConflictBody {
    /// Under which it is decided.
    pub(crate) id: String,
    /// Whose replica wrote it, by the name it gave itself.
    pub(crate) peer: String,
    /// `clash`, `orphan`, `parked`, `refused` or `behind`.
    pub(crate) reason: String,
    /// The same in words.
    pub(crate) message: String,
    /// Since when, milliseconds since 1970.
    pub(crate) since: u64,
    /// The edits, in order.
    pub(crate) edits: Vec<WaitingEdit>,
}

/// One edit of a group that waits, with the three sides.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct WaitingEdit {
    /// The table.
    pub(crate) table: String,
    /// The key, by column.
    #[schema(value_type = Object)]
    pub(crate) key: Raw,
    /// The row that the branch had.
    #[schema(value_type = Option<Object>)]
    pub(crate) before: Option<Raw>,
    /// What it made of it.
    #[schema(value_type = Option<Object>)]
    pub(crate) after: Option<Raw>,
    /// The master's row when the edit came.
    #[schema(value_type = Option<Object>)]
    pub(crate) existing: Option<Raw>,
}

/// What went wrong.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Problem {
    /// For programs; stable.
    pub(crate) code: String,
    /// For people. Never a row's value.
    pub(crate) message: String,
    /// Under which the master has it in its log.
    pub(crate) id: String,
    /// With `gap`: the caller's last edit that is durable here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_op: Option<u64>,
    /// Where one edit is at fault: its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) op: Option<u64>,
}
