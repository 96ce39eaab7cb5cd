//! A field merge loses no edit of a field that only one side changed, and favours neither side.

use proptest::prelude::*;
use sync_core::conflict::{Claim, FieldLastWriteWins, FieldMerge, IncomingWins, LastWriteWins, NewerWins, Park};
use sync_core::model::Op;
use sync_core::{ConflictPolicy, ErrorKind, Value};

use super::convergence::permutations;
use super::fixture::{Cells, Edit, NAME, PRICE, STOCK, VERSION, item, items};
use super::policies::{End, Meeting, settle};
use super::{Law, catches, ensure, holds};

/// A base and two edits of it.
fn two_edits() -> impl Strategy<Value = [Cells; 3]> {
    let mixed = (item(), item(), item(), any::<[bool; 7]>(), any::<[bool; 7]>());
    mixed.prop_map(|(base, a, b, in_a, in_b)| {
        let edited = |other: Cells, columns: [bool; 7]| {
            let cells = base.iter().zip(other).zip(columns);
            cells.map(|((base, other), changed)| if changed { other } else { base.clone() }).collect()
        };
        let (a, b) = (edited(a, in_a), edited(b, in_b));
        [base, a, b]
    })
}

fn merge(policy: &dyn ConflictPolicy, base: &Cells, existing: &Cells, incoming: &Cells) -> End {
    let incoming = Edit::upsert(incoming.clone());
    settle(policy, &Meeting { existing: existing.clone(), incoming, base: Some(base.clone()) })
}

fn loses_nothing(policy: &dyn ConflictPolicy, [base, a, b]: &[Cells; 3]) -> Law {
    let End::Row(row) = merge(policy, base, a, b) else { return Err("there is no row".into()) };
    for column in NAME..row.len() {
        let expected = match (a[column] == base[column], b[column] == base[column]) {
            (true, _) => &b[column],
            (false, true) => &a[column],
            (false, false) => continue,
        };
        ensure(row[column] == *expected, format!("the only edit of column {column} is lost"))?;
    }
    ensure(row[VERSION] == a[VERSION].clone().max(b[VERSION].clone()), "the version is not the higher one")
}

fn favours_neither(policy: &dyn ConflictPolicy, [base, a, b]: &[Cells; 3]) -> Law {
    ensure(merge(policy, base, a, b) == merge(policy, base, b, a), "the side that comes in matters")
}

#[test]
fn an_edit_of_a_field_that_one_side_changed_is_never_lost() {
    holds(&two_edits(), |edits| loses_nothing(&FieldMerge::new(), edits));
}

#[test]
fn it_does_not_matter_which_side_comes_in() {
    holds(&two_edits(), |edits| favours_neither(&FieldMerge::new(), edits));
}

#[test]
fn a_contested_field_is_always_one_of_the_two() {
    holds(&two_edits(), |[base, a, b]| {
        let End::Row(row) = merge(&FieldMerge::new(), base, a, b) else { return Err("there is no row".into()) };
        let from_a_side = row.iter().zip(a.iter().zip(b)).all(|(merged, (a, b))| merged == a || merged == b);
        ensure(from_a_side, "a value appeared that neither side has")
    });
}

#[test]
fn whole_rows_are_caught_losing_edits() {
    catches(&two_edits(), |edits| loses_nothing(&LastWriteWins, edits));
    catches(&two_edits(), |edits| loses_nothing(&NewerWins, edits));
}

#[test]
fn a_merge_that_favours_what_comes_in_is_caught() {
    catches(&two_edits(), |edits| favours_neither(&FieldMerge::new().contested(IncomingWins), edits));
}

fn any_order_gives_the_same_row(policy: &dyn ConflictPolicy, (base, edits): &(Cells, Vec<Cells>)) -> Law {
    let after = |edits: &[Cells]| {
        edits.iter().try_fold(base.clone(), |row, edit| match merge(policy, base, &row, edit) {
            End::Row(row) => Ok(row),
            _ => Err("there is no row"),
        })
    };
    let first = after(edits)?;
    permutations(edits).iter().try_for_each(|order| ensure(after(order)? == first, "another order leaves another row"))
}

/// A base, and edits of it that are all newer.
fn newer_edits(count: usize) -> impl Strategy<Value = (Cells, Vec<Cells>)> {
    (item(), prop::collection::vec(item(), count)).prop_map(|(mut base, edits)| {
        base[VERSION] = Value::Null;
        (base, edits)
    })
}

#[test]
fn two_edits_of_one_base_leave_the_same_row_in_any_order() {
    holds(&newer_edits(2), |edits| any_order_gives_the_same_row(&FieldMerge::new(), edits));
}

/// Why a field merge does not claim to converge.
#[test]
fn three_edits_of_one_base_are_caught_depending_on_their_order() {
    assert_eq!(FieldMerge::new().claim(), Claim::Coordinated);
    catches(&newer_edits(3), |edits| any_order_gives_the_same_row(&FieldMerge::new(), edits));
}

fn row(version: i64, name: impl Into<Value>, price: impl Into<Value>, stock: i64) -> Cells {
    vec![1.into(), version.into(), name.into(), Value::Null, price.into(), Value::Null, stock.into()]
}

fn price(cents: i64) -> Value {
    super::fixture::decimal(cents, 2)
}

fn delete(version: i64) -> Edit {
    Edit { op: Op::Delete, ..Edit::upsert(row(version, Value::Null, Value::Null, 0)) }
}

#[test]
fn edits_of_different_fields_both_stay() {
    let end = merge(
        &FieldMerge::new(),
        &row(1, "pen", price(100), 5),
        &row(2, "blue pen", price(100), 5),
        &row(3, "pen", price(90), 5),
    );
    assert_eq!(end, End::Row(row(3, "blue pen", price(90), 5)));
}

#[test]
fn a_field_that_both_changed_comes_from_the_higher_version() {
    let end = merge(
        &FieldMerge::new(),
        &row(1, "pen", price(100), 5),
        &row(3, "red pen", price(80), 5),
        &row(2, "blue pen", price(100), 5),
    );
    assert_eq!(end, End::Row(row(3, "red pen", price(80), 5)));
}

#[test]
fn a_field_that_both_changed_may_wait_for_a_person() {
    let policy = FieldMerge::new().contested(Park::new("the name was changed twice"));
    let base = row(1, "pen", price(100), 5);
    let contested = merge(&policy, &base, &row(2, "red pen", price(100), 5), &row(2, "blue pen", price(100), 5));
    assert_eq!(contested, End::Parked("the name was changed twice".into()));
    let peaceful = merge(&policy, &base, &row(2, "red pen", price(100), 5), &row(2, "pen", price(90), 5));
    assert_eq!(peaceful, End::Row(row(2, "red pen", price(90), 5)));
}

#[test]
fn without_a_base_only_named_fields_come_in() {
    let incoming = Edit { fields: Some([PRICE].into_iter().collect()), ..Edit::upsert(row(9, "pen", price(90), 5)) };
    let meeting = Meeting { existing: row(2, "red pen", price(100), 7), incoming, base: None };
    assert_eq!(settle(&FieldMerge::new(), &meeting), End::Row(row(9, "red pen", price(90), 7)));
}

#[test]
fn without_a_base_a_filling_null_empties_nothing() {
    let policy = FieldMerge::new().fill(["name"]);
    let incoming = Edit::upsert(row(9, Value::Null, Value::Null, 5));
    let meeting = Meeting { existing: row(2, "pen", price(100), 5), incoming, base: None };
    assert_eq!(settle(&policy, &meeting), End::Row(row(9, "pen", Value::Null, 5)));
}

#[test]
fn a_null_that_was_meant_empties_the_field() {
    let policy = FieldMerge::new().fill(["name"]);
    let base = row(1, "pen", price(100), 5);
    let emptied = Edit::upsert(row(2, Value::Null, price(100), 5));
    let by_base = Meeting { existing: base.clone(), incoming: emptied.clone(), base: Some(base.clone()) };
    assert_eq!(settle(&policy, &by_base), End::Row(emptied.cells.clone()));
    let named = Edit { fields: Some([NAME].into_iter().collect()), ..emptied.clone() };
    assert_eq!(settle(&policy, &Meeting { existing: base, incoming: named, base: None }), End::Row(emptied.cells));
}

#[test]
fn a_delete_of_a_row_that_nobody_changed_is_taken_whatever_its_version() {
    let base = row(5, "pen", price(100), 5);
    let meeting = Meeting { existing: base.clone(), incoming: delete(1), base: Some(base) };
    assert_eq!(settle(&FieldMerge::new(), &meeting), End::Gone);
}

#[test]
fn a_delete_of_a_row_that_was_changed_meanwhile_goes_by_version() {
    let (base, existing) = (row(1, "pen", price(100), 5), row(3, "red pen", price(100), 5));
    let against = |delete| Meeting { existing: existing.clone(), incoming: delete, base: Some(base.clone()) };
    assert_eq!(settle(&FieldMerge::new(), &against(delete(2))), End::Row(existing.clone()));
    assert_eq!(settle(&FieldMerge::new(), &against(delete(3))), End::Gone);
    let asking = FieldMerge::new().contested(Park::new("deleted and edited"));
    assert_eq!(settle(&asking, &against(delete(9))), End::Parked("deleted and edited".into()));
}

#[test]
fn groups_that_do_not_fit_the_stream_are_refused_by_name() {
    let cases = [
        (FieldLastWriteWins::new().group(["nmae"], "name_v"), "\"nmae\""),
        (FieldLastWriteWins::new().group(["name"], "v"), "\"v\""),
        (FieldLastWriteWins::new().group(["id"], "name_v"), "\"id\""),
        (FieldLastWriteWins::new().group(["name"], "name_v").group(["name"], "stock"), "\"name\""),
    ];
    for (policy, column) in cases {
        let error = policy.check(items()).expect_err(column);
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(column), "{error}");
        let meeting = Meeting {
            existing: row(1, "a", price(1), 0),
            incoming: Edit::upsert(row(2, "b", price(1), 0)),
            base: None,
        };
        assert!(matches!(settle(&policy, &meeting), End::Parked(reason) if reason.contains(column)));
    }
    assert!(FieldLastWriteWins::new().group(["name"], "name_v").check(items()).is_ok());
}

#[test]
fn a_policy_of_the_host_that_gives_a_misshapen_row_is_parked() {
    let short = || sync_core::conflict::decide(|_| sync_core::conflict::Resolution::Merge(vec![Value::Null]));
    let (base, a, b) =
        (row(1, "pen", price(100), 5), row(2, "red pen", price(100), 5), row(2, "blue pen", price(100), 6));
    assert!(matches!(merge(&FieldMerge::new().contested(short()), &base, &a, &b), End::Parked(_)));
    let counters = sync_core::conflict::Counters::new(["stock"], short());
    assert!(matches!(merge(&counters, &base, &a, &b), End::Parked(_)));
    assert_eq!(b[STOCK], 6_i64.into());
}
