//! The laws of policies, and a lawbreaker for each.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use sync_core::conflict::{
    Claim, Conflict, ExistingWins, FieldLastWriteWins, FieldMerge, IncomingWins, LastWriteWins, NewerWins, Park,
    Resolution,
};
use sync_core::model::Op;
use sync_core::sink::Guard;
use sync_core::{ConflictPolicy, StreamSpec, Value};
use sync_testkit::policy;

fn orders() -> StreamSpec {
    StreamSpec::new("orders").key(["id"]).version("changed_at").text("note").decimal("total", 12, 2).int("stock")
}

#[test]
fn every_policy_of_the_core_keeps_its_laws() {
    let policies: [&dyn ConflictPolicy; 7] = [
        &LastWriteWins,
        &NewerWins,
        &IncomingWins,
        &ExistingWins,
        &FieldMerge::new(),
        &FieldLastWriteWins::new(),
        &Park::new("ask"),
    ];
    for law_abiding in policies {
        policy::conformance(law_abiding, &orders()).assert();
    }
}

/// What a lawbreaker does, and the law that must see it.
const TWINS: &[(Breach, &str)] = &[
    (Breach::TossesACoin, "the_same_conflict_is_resolved_the_same"),
    (Breach::MergesIntoAnotherKey, "a_merged_row_fits_its_stream"),
    (Breach::AddsEveryTime, "a_result_against_itself_stays"),
    (Breach::HasAnotherGuard, "the_guard_decides_as_the_policy"),
    (Breach::ClaimsToConverge, "every_order_ends_in_the_same_row"),
];

#[test]
fn every_lawbreaker_is_caught_by_its_law() {
    for (breach, law) in TWINS {
        let report = policy::conformance(&Lawbreaker(*breach, AtomicU64::new(0)), &orders());
        assert!(report.broken().contains(law), "{breach:?} was not seen by {law}\n{report}");
    }
    let twins: BTreeSet<&str> = TWINS.iter().map(|(_, law)| *law).collect();
    assert_eq!(twins, policy::names().into_iter().collect());
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Breach {
    TossesACoin,
    MergesIntoAnotherKey,
    AddsEveryTime,
    HasAnotherGuard,
    ClaimsToConverge,
}

#[derive(Debug)]
struct Lawbreaker(Breach, AtomicU64);

impl ConflictPolicy for Lawbreaker {
    fn resolve(&self, conflict: &Conflict<'_>) -> Resolution {
        let tossed = self.1.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        let mut values = conflict.existing.to_values();
        match self.0 {
            Breach::TossesACoin if tossed => Resolution::KeepExisting,
            Breach::MergesIntoAnotherKey => {
                values[0] = Value::Int(99);
                Resolution::Merge(values)
            }
            Breach::AddsEveryTime if conflict.incoming.op() == Op::Upsert => {
                let stock = values[4].as_ref().as_i64().unwrap_or_default();
                values[4] = Value::Int(stock + 1);
                Resolution::Merge(values)
            }
            _ => Resolution::TakeIncoming,
        }
    }

    fn guard(&self) -> Option<Guard> {
        (self.0 == Breach::HasAnotherGuard).then_some(Guard::NotOlder)
    }

    fn claim(&self) -> Claim {
        if self.0 == Breach::ClaimsToConverge { Claim::Convergent } else { Claim::Coordinated }
    }
}
