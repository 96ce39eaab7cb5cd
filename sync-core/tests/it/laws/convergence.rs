//! Policies that claim to converge do so: in whatever order changes meet, and by whatever way states travel between
//! replicas, the same row is left.

use std::collections::HashMap;

use proptest::prelude::*;
use sync_core::conflict::{
    Claim, Conflict, ExistingWins, FieldLastWriteWins, IncomingWins, LastWriteWins, NewerWins, Resolution, order,
    order_changes,
};
use sync_core::model::Op;
use sync_core::{ConflictPolicy, Value};

use super::fixture::{Cells, Edit, NAME, STOCK, VERSION, edit, items};
use super::policies::{End, Meeting, settle};
use super::{Law, catches, ensure, holds};

/// A row at a replica that keeps deletes as tombstones.
#[derive(Debug, Clone, PartialEq)]
enum State {
    Absent,
    Row(Cells),
    Tombstone(Edit),
}

impl State {
    /// What a replica sends to another one.
    fn as_edit(&self) -> Option<Edit> {
        match self {
            Self::Absent => None,
            Self::Row(cells) => Some(Edit::upsert(cells.clone())),
            Self::Tombstone(delete) => Some(delete.clone()),
        }
    }

    fn of(edit: &Edit) -> Self {
        if edit.is_delete() { Self::Tombstone(edit.clone().plain()) } else { Self::Row(edit.cells.clone()) }
    }
}

/// Whether an edit brings a deleted row back.
#[derive(Debug, Clone, Copy)]
enum Revival {
    /// When it stands above the tombstone.
    ByOrder,
    /// Never.
    None,
}

#[derive(Debug)]
struct Replicas<'a> {
    policy: &'a dyn ConflictPolicy,
    revival: Revival,
}

impl Replicas<'_> {
    fn apply(&self, state: &mut State, edit: &Edit) {
        *state = match &*state {
            State::Absent => State::of(edit),
            State::Tombstone(tombstone) => {
                let revives = edit.is_delete() || matches!(self.revival, Revival::ByOrder);
                if revives && stands_above(edit, tombstone) { State::of(edit) } else { return }
            }
            State::Row(existing) => {
                let meeting = Meeting { existing: existing.clone(), incoming: edit.clone(), base: None };
                match settle(self.policy, &meeting) {
                    End::Gone => State::of(edit),
                    End::Row(row) => State::Row(row),
                    End::Parked(_) => return,
                }
            }
        };
    }

    fn after<'e>(&self, edits: impl IntoIterator<Item = &'e Edit>) -> State {
        let mut state = State::Absent;
        edits.into_iter().for_each(|edit| self.apply(&mut state, edit));
        state
    }

    fn send(&self, replicas: &mut [State], from: usize, to: usize) {
        if let Some(edit) = replicas[from].as_edit() {
            self.apply(&mut replicas[to], &edit);
        }
    }
}

fn stands_above(a: &Edit, b: &Edit) -> bool {
    let stream = items();
    let (a, b) = (a.page(stream), b.page(stream));
    order_changes(stream, a.at(0), b.at(0)).is_gt()
}

/// All orders of some things.
pub(super) fn permutations<T: Clone>(things: &[T]) -> Vec<Vec<T>> {
    let Some((first, rest)) = things.split_first() else { return vec![Vec::new()] };
    let insert = |order: Vec<T>, at: usize| {
        let mut order = order;
        order.insert(at, first.clone());
        order
    };
    permutations(rest)
        .into_iter()
        .flat_map(|order| (0..=order.len()).map(move |at| insert(order.clone(), at)))
        .collect()
}

fn any_order_gives_the_same_row(replicas: &Replicas<'_>, edits: &[Edit]) -> Law {
    let first = replicas.after(edits);
    permutations(edits)
        .into_iter()
        .try_for_each(|order| ensure(replicas.after(&order) == first, "another order leaves another row"))
}

/// Something that happens among three replicas.
#[derive(Debug, Clone)]
enum Event {
    Edit { at: usize, edit: Edit },
    Send { from: usize, to: usize },
}

fn history() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        (0_usize..3, edit()).prop_map(|(at, edit)| Event::Edit { at, edit }),
        (0_usize..3, 0_usize..3).prop_map(|(from, to)| Event::Send { from, to }),
    ];
    prop::collection::vec(event, 0..12)
}

/// After everybody has told everybody, all hold what one place would hold that saw every edit.
fn replicas_agree(replicas: &Replicas<'_>, history: &[Event]) -> Law {
    let mut states = vec![State::Absent; 3];
    let mut edits = Vec::new();
    for event in history {
        match event {
            Event::Edit { at, edit } => {
                replicas.apply(&mut states[*at], edit);
                edits.push(edit.clone());
            }
            Event::Send { from, to } => replicas.send(&mut states, *from, *to),
        }
    }
    for (from, to) in [(0, 1), (1, 2), (2, 1), (1, 0)] {
        replicas.send(&mut states, from, to);
    }
    let expected = replicas.after(&edits);
    ensure(states.iter().all(|state| *state == expected), "a replica holds something else than the others")
}

/// Every sequence of up to four of these edits, at one place and spread over three replicas that then meet.
fn exhaustively_convergent(replicas: &Replicas<'_>, edits: &[Edit]) -> Law {
    let mut left_by: HashMap<Vec<usize>, State> = HashMap::new();
    let mut sequences: Vec<Vec<usize>> = vec![Vec::new()];
    for _ in 0..4 {
        let longer =
            sequences.iter().flat_map(|sequence| (0..edits.len()).map(move |next| [&sequence[..], &[next]].concat()));
        sequences = longer.collect();
        for sequence in &sequences {
            let alone = replicas.after(sequence.iter().map(|edit| &edits[*edit]));
            let mut spread = vec![State::Absent; 3];
            for (turn, edit) in sequence.iter().enumerate() {
                replicas.apply(&mut spread[turn % 3], &edits[*edit]);
            }
            replicas.send(&mut spread, 1, 2);
            replicas.send(&mut spread, 2, 0);
            let mut same_edits = sequence.clone();
            same_edits.sort_unstable();
            let first = left_by.entry(same_edits).or_insert_with(|| alone.clone());
            ensure(
                *first == alone && *first == spread[0],
                format!("edits {sequence:?} leave another row in another order"),
            )?;
        }
    }
    Ok(())
}

fn small(op: Op, version: impl Into<Value>, name: &str, name_version: i64, rate: f64) -> Edit {
    let mut cells =
        vec![1.into(), version.into(), name.into(), name_version.into(), Value::Null, rate.into(), 0.into()];
    if op == Op::Delete {
        cells[NAME..].fill(Value::Null);
    }
    Edit { op, ..Edit::upsert(cells) }
}

/// Edits that tie wherever they can: equal versions, no version, zeros of both signs, NaN, a subnormal.
fn small_scope() -> Vec<Edit> {
    let (up, del) = (Op::Upsert, Op::Delete);
    vec![
        small(up, 1_i64, "a", 2, 0.0),
        small(up, 1_i64, "b", 1, -0.0),
        small(up, 1_i64, "b", 1, f64::NAN),
        small(up, 2_i64, "a", 1, 5e-324),
        small(up, 2_i64, "b", 2, 5e-324),
        small(up, Value::Null, "c", 2, 0.0),
        small(del, 1_i64, "", 0, 0.0),
        small(del, 2_i64, "", 0, 0.0),
        small(del, Value::Null, "", 0, 0.0),
    ]
}

const LAST_WRITE_WINS: Replicas<'_> = Replicas { policy: &LastWriteWins, revival: Revival::ByOrder };

fn by_field() -> FieldLastWriteWins {
    FieldLastWriteWins::new().group(["name"], "name_v")
}

#[test]
fn last_write_wins_converges_in_every_small_case() {
    assert_eq!(LastWriteWins.claim(), Claim::Convergent);
    assert_eq!(exhaustively_convergent(&LAST_WRITE_WINS, &small_scope()), Ok(()));
}

#[test]
fn last_write_wins_by_field_converges_in_every_small_case() {
    let policy = by_field();
    assert_eq!(policy.claim(), Claim::Convergent);
    assert_eq!(exhaustively_convergent(&Replicas { policy: &policy, revival: Revival::None }, &small_scope()), Ok(()));
}

#[test]
fn last_write_wins_leaves_the_same_row_in_any_order() {
    holds(&prop::collection::vec(edit(), 0..=4), |edits| any_order_gives_the_same_row(&LAST_WRITE_WINS, edits));
}

#[test]
fn last_write_wins_by_field_leaves_the_same_row_in_any_order() {
    let policy = by_field();
    let replicas = Replicas { policy: &policy, revival: Revival::None };
    holds(&prop::collection::vec(edit(), 0..=4), |edits| any_order_gives_the_same_row(&replicas, edits));
}

#[test]
fn replicas_under_last_write_wins_agree_whatever_way_states_travel() {
    holds(&history(), |history| replicas_agree(&LAST_WRITE_WINS, history));
}

#[test]
fn replicas_under_last_write_wins_by_field_agree_whatever_way_states_travel() {
    let policy = by_field();
    let replicas = Replicas { policy: &policy, revival: Revival::None };
    holds(&history(), |history| replicas_agree(&replicas, history));
}

/// Agreeing is not enough: replicas may agree on the wrong row. The right one is picked here without any policy.
#[test]
fn the_row_that_last_write_wins_leaves_is_the_last_write() {
    holds(&prop::collection::vec(edit(), 1..=4), |edits| {
        let rank = |edit: &Edit| (edit.cells[VERSION].clone(), edit.is_delete(), edit.cells.clone());
        let last = edits.iter().max_by_key(|edit| rank(edit)).map_or(State::Absent, State::of);
        ensure(LAST_WRITE_WINS.after(edits) == last, "another write won")
    });
}

#[test]
fn each_field_that_last_write_wins_by_field_leaves_is_its_last_write() {
    let policy = by_field();
    let replicas = Replicas { policy: &policy, revival: Revival::None };
    holds(&prop::collection::vec(edit(), 1..=4), |edits| {
        if edits.iter().any(Edit::is_delete) {
            return ensure(matches!(replicas.after(edits), State::Tombstone(_)), "an edit outlived a delete");
        }
        let State::Row(row) = replicas.after(edits) else { return Err("there is no row".into()) };
        let last = |columns: &[usize]| {
            let group = |row: &Cells| columns.iter().map(|&column| row[column].clone()).collect::<Cells>();
            let highest = edits.iter().map(|edit| group(&edit.cells)).max();
            highest == Some(group(&row))
        };
        ensure(last(&[3, NAME]) && last(&[VERSION, 4, 5, STOCK]), "a field is not its last write")
    });
}

/// Claims, wrongly, that any order gives the same row.
#[derive(Debug)]
struct Boast<P>(P);

impl<P: ConflictPolicy> ConflictPolicy for Boast<P> {
    fn resolve(&self, conflict: &Conflict<'_>) -> Resolution {
        self.0.resolve(conflict)
    }

    fn claim(&self) -> Claim {
        Claim::Convergent
    }
}

#[test]
fn policies_that_depend_on_the_order_are_caught_when_they_claim_to_converge() {
    let boasts: [Box<dyn ConflictPolicy>; 3] =
        [Box::new(Boast(IncomingWins)), Box::new(Boast(ExistingWins)), Box::new(Boast(NewerWins))];
    for boast in &boasts {
        let replicas = Replicas { policy: boast.as_ref(), revival: Revival::ByOrder };
        assert_eq!(boast.claim(), Claim::Convergent);
        assert!(exhaustively_convergent(&replicas, &small_scope()).is_err(), "{boast:?} in the small scope");
        catches(&prop::collection::vec(edit(), 0..=4), |edits| any_order_gives_the_same_row(&replicas, edits));
        catches(&history(), |history| replicas_agree(&replicas, history));
    }
}

#[test]
fn last_write_wins_that_forgets_what_a_delete_is_is_caught() {
    let forgetful = sync_core::conflict::decide(|conflict| {
        match order(conflict.stream, conflict.incoming.row(), conflict.existing).is_gt() {
            true => Resolution::TakeIncoming,
            false => Resolution::KeepExisting,
        }
    });
    let replicas = Replicas { policy: &forgetful, revival: Revival::ByOrder };
    assert!(exhaustively_convergent(&replicas, &small_scope()).is_err());
    catches(&prop::collection::vec(edit(), 0..=4), |edits| any_order_gives_the_same_row(&replicas, edits));
}
