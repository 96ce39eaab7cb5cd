//! What every policy owes: deterministic, idempotent, and a guard that says what the policy says.

use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use sync_core::conflict::{
    Claim, Conflict, Counters, ExistingWins, FieldLastWriteWins, FieldMerge, IncomingWins, LastWriteWins, NewerWins,
    Park, Resolution, decide,
};
use sync_core::model::Op;
use sync_core::sink::Guard;
use sync_core::{ConflictPolicy, Key, Value};

use super::fixture::{Cells, Edit, STOCK, VERSION, edit, item, items, marked_edit, page};
use super::{Law, catches, ensure, holds};

/// What a conflict ends in.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum End {
    Row(Cells),
    Gone,
    Parked(String),
}

/// Two states of one row of [`items`] that meet.
#[derive(Debug, Clone)]
pub(super) struct Meeting {
    pub(super) existing: Cells,
    pub(super) incoming: Edit,
    pub(super) base: Option<Cells>,
}

pub(super) fn resolve(policy: &dyn ConflictPolicy, meeting: &Meeting) -> Resolution {
    let stream = items();
    let existing = page(stream, &[&meeting.existing]);
    let incoming = meeting.incoming.page(stream);
    let base = meeting.base.as_ref().map(|base| page(stream, &[base]));
    let key = Key::of(existing.row(0), &stream.key_indices());
    let conflict = Conflict::new(stream, &key, existing.row(0), incoming.at(0));
    match &base {
        Some(base) => policy.resolve(&conflict.with_base(base.row(0))),
        None => policy.resolve(&conflict),
    }
}

pub(super) fn settle(policy: &dyn ConflictPolicy, meeting: &Meeting) -> End {
    match resolve(policy, meeting) {
        Resolution::TakeIncoming if meeting.incoming.is_delete() => End::Gone,
        Resolution::TakeIncoming => End::Row(meeting.incoming.cells.clone()),
        Resolution::KeepExisting => End::Row(meeting.existing.clone()),
        Resolution::Merge(row) => End::Row(row),
        Resolution::Park(reason) => End::Parked(reason),
        other => panic!("a resolution the laws do not know: {other:?}"),
    }
}

/// Meetings with and without a base; with one, each side has changed some of its columns.
pub(super) fn meeting() -> impl Strategy<Value = Meeting> {
    let unrelated = (item(), marked_edit()).prop_map(|(existing, incoming)| Meeting { existing, incoming, base: None });
    let edited = (item(), item(), marked_edit(), any::<u8>(), any::<u8>());
    let related = edited.prop_map(|(base, theirs, mut incoming, mine, yours)| {
        let existing = edited_in(&base, &theirs, mine);
        if !incoming.is_delete() {
            incoming.cells = edited_in(&base, &incoming.cells, yours);
        }
        Meeting { existing, incoming, base: Some(base) }
    });
    prop_oneof![1 => unrelated, 2 => related]
}

/// The base with the columns of the mask taken from another row.
fn edited_in(base: &[Value], other: &[Value], mask: u8) -> Cells {
    let pairs = base.iter().zip(other).enumerate();
    pairs.map(|(column, (base, other))| if mask & (1 << column) == 0 { base } else { other }.clone()).collect()
}

/// Policies under which the same edit may come twice.
fn repeatable() -> Vec<Box<dyn ConflictPolicy>> {
    vec![
        Box::new(LastWriteWins),
        Box::new(NewerWins),
        Box::new(IncomingWins),
        Box::new(ExistingWins),
        Box::new(FieldMerge::new()),
        Box::new(FieldMerge::new().fill(["name", "price"])),
        Box::new(FieldLastWriteWins::new().group(["name"], "name_v")),
        Box::new(Park::new("somebody decides")),
        Box::new(decide(|_| Resolution::KeepExisting)),
    ]
}

fn all() -> Vec<Box<dyn ConflictPolicy>> {
    let mut all = repeatable();
    all.push(Box::new(FieldMerge::new().contested(LastWriteWins)));
    all.push(Box::new(FieldMerge::new().contested(Park::new("both changed it"))));
    all.push(Box::new(Counters::new(["stock"], NewerWins)));
    all.push(Box::new(Counters::new(["stock", "price"], FieldMerge::new())));
    all
}

fn every(policies: &[Box<dyn ConflictPolicy>], law: impl Fn(&dyn ConflictPolicy) -> Law) -> Law {
    policies.iter().try_for_each(|policy| law(policy.as_ref()).map_err(|broken| format!("{policy:?}: {broken}")))
}

fn is_deterministic(policy: &dyn ConflictPolicy, meeting: &Meeting) -> Law {
    ensure(resolve(policy, meeting) == resolve(policy, meeting), "the same conflict has two resolutions")
}

/// The outcome coming in against itself stays as it is, whether or not it is known as the base too.
fn is_idempotent(policy: &dyn ConflictPolicy, meeting: &Meeting) -> Law {
    let End::Row(row) = settle(policy, meeting) else { return Ok(()) };
    let again = |base| Meeting { existing: row.clone(), incoming: Edit::upsert(row.clone()), base };
    for base in [None, Some(row.clone())] {
        ensure(settle(policy, &again(base)) == End::Row(row.clone()), "the outcome is not its own outcome")?;
    }
    Ok(())
}

/// The same edit coming again, against what it led to, changes nothing more.
fn is_repeatable(policy: &dyn ConflictPolicy, meeting: &Meeting) -> Law {
    let End::Row(row) = settle(policy, meeting) else { return Ok(()) };
    let again = Meeting { existing: row.clone(), ..meeting.clone() };
    ensure(settle(policy, &again) == End::Row(row), "the same edit changes more when it comes again")
}

fn guard_agrees(policy: &dyn ConflictPolicy, meeting: &Meeting) -> Law {
    let Some(guard) = policy.guard() else { return Ok(()) };
    let stream = items();
    let (existing, incoming) = (page(stream, &[&meeting.existing]), meeting.incoming.page(stream));
    let admits = guard.admits(stream, existing.row(0), incoming.at(0));
    let expected = if admits { Resolution::TakeIncoming } else { Resolution::KeepExisting };
    ensure(resolve(policy, meeting) == expected, "the guard lets through what the policy does not, or the reverse")
}

#[test]
fn the_same_conflict_has_the_same_resolution() {
    let policies = all();
    holds(&meeting(), |meeting| every(&policies, |policy| is_deterministic(policy, meeting)));
}

#[test]
fn an_outcome_is_its_own_outcome() {
    let policies = all();
    holds(&meeting(), |meeting| every(&policies, |policy| is_idempotent(policy, meeting)));
}

#[test]
fn an_edit_that_comes_twice_changes_nothing_the_second_time() {
    let policies = repeatable();
    holds(&meeting(), |meeting| every(&policies, |policy| is_repeatable(policy, meeting)));
}

#[test]
fn a_guard_says_what_its_policy_says() {
    let policies = all();
    assert!(policies.iter().filter(|policy| policy.guard().is_some()).count() >= 4);
    holds(&meeting(), |meeting| every(&policies, |policy| guard_agrees(policy, meeting)));
}

#[test]
fn a_delete_is_parked_even_when_it_shows_the_row_as_it_is() {
    holds(&item(), |row| {
        let delete = Edit { op: Op::Delete, ..Edit::upsert(row.clone()) };
        let meeting = |incoming| Meeting { existing: row.clone(), incoming, base: None };
        let park = Park::new("somebody decides");
        ensure(matches!(settle(&park, &meeting(delete)), End::Parked(_)), "the delete is not parked")?;
        let same = settle(&park, &meeting(Edit::upsert(row.clone())));
        ensure(same == End::Row(row.clone()), "an equal row is parked")
    });
}

#[test]
fn a_shared_policy_is_the_policy() {
    let shared = std::sync::Arc::new(LastWriteWins);
    assert_eq!(shared.guard(), Some(Guard::Newer));
    assert_eq!(shared.claim(), Claim::Convergent);
    assert!(shared.needs_version());
    holds(&meeting(), |meeting| ensure(resolve(&shared, meeting) == resolve(&LastWriteWins, meeting), "they differ"));
}

#[test]
fn a_policy_that_remembers_is_caught() {
    let last = AtomicBool::new(false);
    let fickle = decide(move |_| match last.fetch_xor(true, Ordering::Relaxed) {
        true => Resolution::TakeIncoming,
        false => Resolution::KeepExisting,
    });
    catches(&meeting(), |meeting| is_deterministic(&fickle, meeting));
}

#[test]
fn a_policy_that_adds_itself_to_itself_is_caught() {
    let growing = decide(|conflict| {
        let mut row = conflict.existing.to_values();
        let stock = conflict.incoming.row().at(STOCK).as_i64().unwrap_or(0);
        row[STOCK] = (conflict.existing.at(STOCK).as_i64().unwrap_or(0) + stock).into();
        Resolution::Merge(row)
    });
    catches(&meeting(), |meeting| is_idempotent(&growing, meeting));
}

#[test]
fn a_merge_that_weighs_whole_rows_for_one_field_is_caught() {
    let by_row = FieldMerge::new().contested(LastWriteWins);
    catches(&meeting(), |meeting| is_repeatable(&by_row, meeting));
}

#[test]
fn additions_that_come_twice_are_caught() {
    let counters = Counters::new(["stock"], NewerWins);
    catches(&meeting(), |meeting| is_repeatable(&counters, meeting));
}

#[derive(Debug)]
struct Misguarded;

impl ConflictPolicy for Misguarded {
    fn resolve(&self, conflict: &Conflict<'_>) -> Resolution {
        NewerWins.resolve(conflict)
    }

    fn guard(&self) -> Option<Guard> {
        Some(Guard::Newer)
    }
}

#[test]
fn a_guard_of_another_policy_is_caught() {
    catches(&meeting(), |meeting| guard_agrees(&Misguarded, meeting));
}

fn admits(guard: Guard, existing: &[Value], incoming: &Edit) -> bool {
    let stream = items();
    let (existing, incoming) = (page(stream, &[existing]), incoming.page(stream));
    guard.admits(stream, existing.row(0), incoming.at(0))
}

#[test]
fn not_older_admits_by_version_alone() {
    holds(&(item(), edit()), |(existing, incoming)| {
        let (stored, version) = (&existing[VERSION], &incoming.cells[VERSION]);
        let expected = version >= stored || incoming.is_delete() && version.is_null();
        ensure(admits(Guard::NotOlder, existing, incoming) == expected, "it does not go by the version")
    });
}

#[test]
fn newer_never_admits_an_equal_row_nor_a_lower_version() {
    holds(&(item(), edit()), |(existing, incoming)| {
        let refused = incoming.cells[VERSION] < existing[VERSION] || incoming == &Edit::upsert(existing.clone());
        ensure(!refused || !admits(Guard::Newer, existing, incoming), "it lets an old or equal state through")
    });
}

fn replaces(guard: Guard, earlier: &Edit, later: &Edit) -> bool {
    let stream = items();
    let (earlier, later) = (earlier.page(stream), later.page(stream));
    guard.replaces(stream, earlier.at(0), later.at(0))
}

/// What a batch keeps of two changes of one key leads to what both lead to, one after the other.
fn one_stands_for_two(keeps: impl Fn(&Edit, &Edit) -> bool, guard: Guard, [stored, a, b]: &[Edit; 3]) -> Law {
    let after = |state: &Edit, edit: &Edit| if replaces(guard, state, edit) { edit.clone() } else { state.clone() };
    let kept = if keeps(a, b) { b } else { a };
    ensure(
        after(&after(stored, a), b).plain() == after(stored, kept).plain(),
        "the change that was kept leads elsewhere",
    )
}

#[test]
fn of_two_changes_of_one_key_the_one_that_is_kept_stands_for_both() {
    let versioned = |edit: &Edit| !edit.is_delete() || !edit.cells[VERSION].is_null();
    holds(&[edit(), edit(), edit()], |edits| {
        for guard in [Guard::Always, Guard::Newer] {
            one_stands_for_two(|a, b| replaces(guard, a, b), guard, edits)?;
        }
        // Nobody can tell whether a row that comes back after a delete without version is older than what is stored.
        if edits.iter().all(versioned) {
            one_stands_for_two(|a, b| replaces(Guard::NotOlder, a, b), Guard::NotOlder, edits)?;
        }
        Ok(())
    });
}

#[test]
fn keeping_any_delete_without_version_is_caught_losing_an_edit() {
    let keeps = |a: &Edit, b: &Edit| b.is_delete() && b.cells[VERSION].is_null() || replaces(Guard::Newer, a, b);
    catches(&[edit(), edit(), edit()], |edits| one_stands_for_two(keeps, Guard::Newer, edits));
}

#[test]
fn always_admits_everything_and_never_nothing() {
    holds(&(item(), edit()), |(existing, incoming)| {
        ensure(admits(Guard::Always, existing, incoming) && !admits(Guard::Never, existing, incoming), "it does not")
    });
}
