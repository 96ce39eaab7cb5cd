//! The order of last-write-wins is total, and says `Equal` only of equal rows.

use std::cmp::Ordering;

use sync_core::StreamSpec;
use sync_core::conflict::{order, order_changes, order_with_origin};
use sync_core::model::Change;

use super::fixture::{Edit, VERSION, edit, items, marked_edit};
use super::{Law, catches, ensure, holds};

type Comparison = fn(&StreamSpec, Change<'_>, Change<'_>) -> Ordering;

fn compare(comparison: Comparison, a: &Edit, b: &Edit) -> Ordering {
    let stream = items();
    let (a, b) = (a.page(stream), b.page(stream));
    comparison(stream, a.at(0), b.at(0))
}

/// Antisymmetric, transitive, reflexive.
fn is_total(comparison: Comparison, [a, b, c]: &[Edit; 3]) -> Law {
    let cmp = |a, b| compare(comparison, a, b);
    ensure(cmp(a, a).is_eq(), "something is not equal to itself")?;
    ensure(cmp(a, b) == cmp(b, a).reverse(), "exchanging the two does not turn the answer round")?;
    ensure(!(cmp(a, b).is_le() && cmp(b, c).is_le()) || cmp(a, c).is_le(), "a ≤ b ≤ c, but not a ≤ c")?;
    ensure(!(cmp(a, b).is_eq() && cmp(b, c).is_eq()) || cmp(a, c).is_eq(), "a = b = c, but not a = c")
}

/// No tie is left between two rows that differ.
fn leaves_no_tie(comparison: Comparison, [a, b]: &[Edit; 2]) -> Law {
    let same = match (a.is_delete(), b.is_delete()) {
        (true, true) => a.cells[VERSION] == b.cells[VERSION],
        (false, false) => a.cells == b.cells,
        _ => false,
    };
    ensure(compare(comparison, a, b).is_eq() == same, "a tie between different changes, or none between equal ones")
}

#[test]
fn the_order_of_changes_is_total() {
    holds(&[edit(), edit(), edit()], |edits| is_total(order_changes, edits));
}

#[test]
fn the_order_of_changes_leaves_no_tie() {
    holds(&[edit(), edit()], |edits| leaves_no_tie(order_changes, edits));
}

#[test]
fn the_order_with_origins_is_total() {
    holds(&[marked_edit(), marked_edit(), marked_edit()], |edits| is_total(order_with_origin, edits));
}

#[test]
fn of_upserts_the_order_of_changes_is_the_order_of_rows() {
    holds(&[edit(), edit()], |[a, b]| {
        let rows = |stream: &StreamSpec, a: Change<'_>, b: Change<'_>| order(stream, a.row(), b.row());
        ensure(a.is_delete() || b.is_delete() || compare(rows, a, b) == compare(order_changes, a, b), "they disagree")
    });
}

#[test]
fn the_higher_version_is_higher_whatever_the_rest() {
    holds(&[marked_edit(), marked_edit()], |[a, b]| {
        let versions = a.cells[VERSION].cmp(&b.cells[VERSION]);
        let agrees = |comparison| versions.is_eq() || compare(comparison, a, b) == versions;
        ensure(agrees(order_changes) && agrees(order_with_origin), "a lower version stands higher")
    });
}

#[test]
fn of_equal_versions_the_delete_is_higher() {
    holds(&[marked_edit(), marked_edit()], |[a, b]| {
        let tie = a.cells[VERSION] == b.cells[VERSION] && a.is_delete() && !b.is_delete();
        let wins = |comparison| compare(comparison, a, b).is_gt();
        ensure(!tie || wins(order_changes) && wins(order_with_origin), "an edit stands above the delete")
    });
}

#[test]
fn an_order_that_takes_nan_for_equal_is_caught() {
    fn by_partial_cmp(stream: &StreamSpec, a: Change<'_>, b: Change<'_>) -> Ordering {
        let rate = |change: Change<'_>| match change.row().named("rate") {
            Some(sync_core::ValueRef::Float(rate)) => rate,
            _ => 0.0,
        };
        rate(a).partial_cmp(&rate(b)).unwrap_or(Ordering::Equal).then(order_changes(stream, a, b))
    }
    catches(&[edit(), edit(), edit()], |edits| is_total(by_partial_cmp, edits));
}

#[test]
fn an_order_that_looks_at_versions_alone_is_caught() {
    fn by_version(stream: &StreamSpec, a: Change<'_>, b: Change<'_>) -> Ordering {
        let version = |change: Change<'_>| stream.version_of(change.row()).map(sync_core::ValueRef::to_owned);
        version(a).cmp(&version(b))
    }
    catches(&[edit(), edit()], |edits| leaves_no_tie(by_version, edits));
}
