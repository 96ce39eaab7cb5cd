//! The total order of last-write-wins: version first, then content, so that no tie is left to chance.

use std::cmp::Ordering;

use crate::model::{Change, Op, Row, StreamSpec, ValueRef};

/// Orders two states of one row: by version, then by content.
///
/// Versions compare by [`ValueRef::total_cmp`]; a missing one is the lowest. Of equal versions the greater content wins:
/// the first column that differs decides, again by `total_cmp`. `Equal` therefore means equal in every column, and of
/// any two rows every place picks the same winner, in whatever order they meet.
pub fn order(stream: &StreamSpec, a: Row<'_>, b: Row<'_>) -> Ordering {
    by_version(stream, a, b).then_with(|| by_content(a, b))
}

/// Orders two changes of one row: by version; of equal versions a delete stands above every upsert; then by content.
///
/// A delete must have a higher version than the row it removes or tie with it; a row that comes back after a delete needs
/// a truly higher version. Deletes of one version are equal: only their key and version matter.
pub fn order_changes(stream: &StreamSpec, a: Change<'_>, b: Change<'_>) -> Ordering {
    ordered(stream, a, b, || Ordering::Equal)
}

/// Orders two changes of one row: by version, delete above upsert, then by the name of the origin, then by content.
///
/// For places that keep the origin with each row. Where one side forgets it, use [`order_changes`]: a tie-break that
/// only some replicas can see makes them differ.
pub fn order_with_origin(stream: &StreamSpec, a: Change<'_>, b: Change<'_>) -> Ordering {
    ordered(stream, a, b, || a.origin().cmp(&b.origin()))
}

fn ordered(stream: &StreamSpec, a: Change<'_>, b: Change<'_>, tie: impl FnOnce() -> Ordering) -> Ordering {
    let by_op = || is_delete(a).cmp(&is_delete(b));
    let content = || if is_delete(a) { Ordering::Equal } else { by_content(a.row(), b.row()) };
    by_version(stream, a.row(), b.row()).then_with(by_op).then_with(tie).then_with(content)
}

/// Orders two rows by version alone; a missing version is the lowest.
pub(super) fn by_version(stream: &StreamSpec, a: Row<'_>, b: Row<'_>) -> Ordering {
    let version = |row| stream.version_of(row).unwrap_or(ValueRef::Null);
    version(a).total_cmp(version(b))
}

fn by_content(a: Row<'_>, b: Row<'_>) -> Ordering {
    by_value(a.values(), b.values())
}

/// Orders two lists of values: the first pair that differs decides.
pub(super) fn by_value<'a>(a: impl Iterator<Item = ValueRef<'a>>, b: impl Iterator<Item = ValueRef<'a>>) -> Ordering {
    a.zip(b).map(|(a, b)| a.total_cmp(b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// The higher of two values.
pub(super) fn higher<'a>(a: ValueRef<'a>, b: ValueRef<'a>) -> ValueRef<'a> {
    if b.total_cmp(a).is_gt() { b } else { a }
}

pub(super) fn is_delete(change: Change<'_>) -> bool {
    change.op() == Op::Delete
}
