//! Counters lose no addition, add exactly, and leave to a person what they cannot add.

use proptest::prelude::*;
use sync_core::conflict::{Counters, FieldMerge, LastWriteWins, NewerWins, Park};
use sync_core::model::{Decimal, Op};
use sync_core::{ConflictPolicy, ErrorKind, StreamSpec, Value};

use super::fixture::{Cells, Edit, decimal, items};
use super::policies::{End, Meeting, settle};
use super::{Law, catches, ensure, holds};

fn row(version: i64, name: &str, price: Value, stock: impl Into<Value>) -> Cells {
    vec![1.into(), version.into(), name.into(), Value::Null, price, Value::Null, stock.into()]
}

fn counters() -> Counters {
    Counters::new(["stock", "price"], NewerWins)
}

/// What sales did to stock and balance, each seen from the row as its till knew it.
#[derive(Debug, Clone)]
struct Sale {
    known: (i64, i64),
    stock: i64,
    cents: i64,
}

fn sales() -> impl Strategy<Value = Vec<Sale>> {
    let small = -1_000_i64..1_000;
    let sale = (small.clone(), small.clone(), small.clone(), small).prop_map(|(stock, cents, by, paid)| Sale {
        known: (stock, cents),
        stock: by,
        cents: paid,
    });
    prop::collection::vec(sale, 0..6)
}

fn every_sale_counts(policy: &dyn ConflictPolicy, sales: &[Sale]) -> Law {
    let mut state = row(1, "pen", decimal(10_000, 2), 500);
    for (at, sale) in (2..).zip(sales) {
        let base = row(1, "pen", decimal(sale.known.1, 2), sale.known.0);
        // The same amount with another number of digits after the point: exactness must not depend on the spelling.
        let price = decimal((sale.known.1 + sale.cents) * 10, 3);
        let incoming = Edit::upsert(row(at, "pen", price, sale.known.0 + sale.stock));
        match settle(policy, &Meeting { existing: state.clone(), incoming, base: Some(base) }) {
            End::Row(row) => state = row,
            other => return Err(format!("a sale ended in {other:?}")),
        }
    }
    let sum = |start: i64, part: fn(&Sale) -> i64| start + sales.iter().map(part).sum::<i64>();
    let version = 1 + i64::try_from(sales.len()).map_err(|_| "too many")?;
    let expected = row(version, "pen", decimal(sum(10_000, |sale| sale.cents), 2), sum(500, |sale| sale.stock));
    ensure(state == expected, "the sum is not the sum of all sales")
}

#[test]
fn every_sale_counts_once_in_any_order() {
    let counters = counters();
    holds(&sales(), |sales| every_sale_counts(&counters, sales));
}

#[test]
fn last_write_wins_is_caught_losing_sales() {
    catches(&sales(), |sales| every_sale_counts(&LastWriteWins, sales));
    catches(&sales(), |sales| every_sale_counts(&FieldMerge::new(), sales));
}

#[test]
fn sums_of_whole_numbers_are_exact_or_parked() {
    let any = || prop_oneof![any::<i64>(), prop::sample::select(vec![i64::MIN, -1, 0, 1, i64::MAX])];
    holds(&(any(), any(), any()), |(existing, base, incoming)| {
        let expected = i128::from(*existing) + i128::from(*incoming) - i128::from(*base);
        let meeting = Meeting {
            existing: row(1, "pen", Value::Null, *existing),
            incoming: Edit::upsert(row(2, "pen", Value::Null, *incoming)),
            base: Some(row(1, "pen", Value::Null, *base)),
        };
        match (settle(&counters(), &meeting), i64::try_from(expected)) {
            (End::Row(found), Ok(sum)) => ensure(found == row(2, "pen", Value::Null, sum), "the sum is wrong"),
            (End::Parked(reason), Err(_)) => ensure(reason.contains("stock"), "the column is not named"),
            (other, _) => Err(format!("{other:?} instead of {expected}")),
        }
    });
}

fn settled_price(existing: Value, base: Value, incoming: Value) -> End {
    let meeting = Meeting {
        existing: row(1, "pen", existing, 0),
        incoming: Edit::upsert(row(2, "pen", incoming, 0)),
        base: Some(row(1, "pen", base, 0)),
    };
    settle(&counters(), &meeting)
}

#[test]
fn tenths_add_up_exactly() {
    let end = settled_price(decimal(1, 1), decimal(0, 0), decimal(2, 1));
    assert_eq!(end, End::Row(row(2, "pen", decimal(3, 1), 0)));
}

#[test]
fn a_sum_with_more_digits_than_the_column_has_is_parked() {
    // decimal(12,2): ten digits before the point.
    let most = decimal(999_999_999_999, 2);
    assert_eq!(settled_price(most.clone(), decimal(1, 2), decimal(1, 2)), End::Row(row(2, "pen", most.clone(), 0)));
    assert!(
        matches!(settled_price(most, decimal(0, 2), decimal(1, 2)), End::Parked(reason) if reason.contains("price"))
    );
}

#[test]
fn a_sum_that_would_have_to_be_rounded_is_parked() {
    let tiny: Value = Decimal::new(1, 28).into();
    let end = settled_price(decimal(9_999_999_999, 0), decimal(0, 0), tiny);
    assert!(matches!(end, End::Parked(reason) if reason.contains("price")));
}

#[test]
fn an_exact_number_that_is_kept_as_text_is_parked() {
    let end = settled_price("79228162514264337593543950336".into(), decimal(0, 0), decimal(1, 0));
    assert!(matches!(end, End::Parked(reason) if reason.contains("price")));
}

fn stock(existing: impl Into<Value>, base: impl Into<Value>, incoming: impl Into<Value>) -> End {
    let at = |stock| row(1, "pen", Value::Null, stock);
    let incoming = Edit::upsert(at(incoming.into()));
    settle(&counters(), &Meeting { existing: at(existing.into()), incoming, base: Some(at(base.into())) })
}

#[test]
fn an_empty_counter_counts_from_zero() {
    assert_eq!(stock(Value::Null, Value::Null, 5_i64), End::Row(row(1, "pen", Value::Null, 5_i64)));
    assert_eq!(stock(3_i64, Value::Null, 5_i64), End::Row(row(1, "pen", Value::Null, 8_i64)));
}

#[test]
fn a_counter_that_nobody_touched_stays_empty() {
    assert_eq!(stock(Value::Null, Value::Null, Value::Null), End::Row(row(1, "pen", Value::Null, Value::Null)));
}

#[test]
fn emptying_a_counter_is_parked() {
    assert!(matches!(stock(3_i64, 3_i64, Value::Null), End::Parked(reason) if reason.contains("emptied")));
}

#[test]
fn two_equal_additions_are_two_additions() {
    assert_eq!(stock(5_i64, 3_i64, 5_i64), End::Row(row(1, "pen", Value::Null, 7_i64)));
}

#[test]
fn a_counter_of_unknown_base_is_parked_and_an_equal_one_is_not() {
    let existing = row(1, "pen", Value::Null, 5);
    let against = |incoming| {
        settle(&counters(), &Meeting { existing: existing.clone(), incoming: Edit::upsert(incoming), base: None })
    };
    assert!(matches!(against(row(2, "pen", Value::Null, 6)), End::Parked(reason) if reason.contains("stock")));
    assert_eq!(against(row(2, "red pen", Value::Null, 5)), End::Row(row(2, "red pen", Value::Null, 5)));
}

#[test]
fn a_counter_that_the_change_does_not_name_stays() {
    let incoming = Edit { fields: Some([2].into_iter().collect()), ..Edit::upsert(row(2, "red pen", Value::Null, 0)) };
    let meeting = Meeting { existing: row(1, "pen", Value::Null, 5), incoming, base: None };
    assert_eq!(settle(&counters(), &meeting), End::Row(row(2, "red pen", Value::Null, 5)));
}

#[test]
fn an_old_edit_still_adds_although_its_other_fields_lose() {
    let meeting = Meeting {
        existing: row(9, "red pen", Value::Null, 5),
        incoming: Edit::upsert(row(2, "pen", Value::Null, 2)),
        base: Some(row(1, "pen", Value::Null, 3)),
    };
    assert_eq!(settle(&counters(), &meeting), End::Row(row(9, "red pen", Value::Null, 4)));
}

#[test]
fn the_other_policy_does_not_see_counters_that_differ() {
    let policy = Counters::new(["stock"], FieldMerge::new().contested(Park::new("contested")));
    let meeting = Meeting {
        existing: row(1, "pen", Value::Null, 4),
        incoming: Edit::upsert(row(1, "pen", Value::Null, 2)),
        base: Some(row(1, "pen", Value::Null, 3)),
    };
    assert_eq!(settle(&policy, &meeting), End::Row(row(1, "pen", Value::Null, 3)));
}

#[test]
fn a_delete_goes_to_the_other_policy() {
    let delete = |version| Edit { op: Op::Delete, ..Edit::upsert(row(version, "", Value::Null, 0)) };
    let against = |incoming| Meeting { existing: row(5, "pen", Value::Null, 4), incoming, base: None };
    assert_eq!(settle(&counters(), &against(delete(6))), End::Gone);
    assert_eq!(settle(&counters(), &against(delete(4))), End::Row(row(5, "pen", Value::Null, 4)));
}

#[test]
fn columns_that_cannot_be_counters_are_refused_by_name() {
    for column in ["rate", "name", "v", "id", "sotck"] {
        let policy = Counters::new([column], NewerWins);
        let error = policy.check(items()).expect_err(column);
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(&format!("{column:?}")), "{error}");
        let meeting = Meeting {
            existing: row(1, "a", Value::Null, 0),
            incoming: Edit::upsert(row(2, "b", Value::Null, 0)),
            base: None,
        };
        assert!(matches!(settle(&policy, &meeting), End::Parked(_)));
    }
    assert!(counters().check(items()).is_ok());
    assert!(Counters::new(["n"], NewerWins).check(&StreamSpec::new("s").key(["id"]).uint("n")).is_ok());
}
