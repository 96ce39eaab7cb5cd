//! Dry runs where an earlier run was cut off, with rows that are staged and not yet published.

use std::sync::Arc;

use sync_core::memory::{FirstLoad, MemorySource, MemoryStore};
use sync_core::source::Listing;
use sync_core::{ErrorKind, Report, RunOptions, StreamSpec, SystemClock, Value};
use sync_testkit::fault::{At, Call, Fault, FaultPlan};

use super::dry::{There, run};

/// Sixty orders in no order, so that a first load of them is worth sorting; `late` adds a column to them.
fn orders(late: bool) -> MemorySource {
    let declared = StreamSpec::new("orders").key(["id"]).int("n").text("note");
    let declared = if late { declared.text("late") } else { declared };
    let source = MemorySource::of([declared]).page(7).first_load(FirstLoad::Scattered).listing(Listing::Rows);
    for id in 0..60_i64 {
        let row: [Value; 4] = [id.into(), 1.into(), "note".into(), "late".into()];
        source.upsert("orders", row.into_iter().take(if late { 4 } else { 3 }));
    }
    source
}

/// `whole` is run before, and `cut` goes wrong at a unit that stages.
async fn a_dry_run_over_an_open_stage_changes_nothing(whole: Option<RunOptions>, cut: RunOptions) {
    let reconcile = RunOptions::reconcile();
    let why = |report: &Report| report.scopes[0].error.as_ref().map(ToString::to_string);
    for late in [false, true] {
        for there in There::all().await {
            let what = format!("{}, late {late}", there.name());
            let (store, sink) = (MemoryStore::new(Arc::new(SystemClock::new())), there.sink().await);
            let (healthy, broken) = (
                FaultPlan::new(1),
                FaultPlan::new(1).on(Call::Apply, At::From(4), Fault::Refuse(ErrorKind::Forbidden)),
            );
            let go = async |source: &MemorySource, options: &RunOptions, plan: &FaultPlan| {
                run(Arc::clone(&sink), source, &store, options.clone(), plan, true).await
            };
            if let Some(whole) = &whole {
                go(&orders(false), whole, &healthy).await.completed().unwrap();
            }
            go(&orders(false), &cut, &broken).await.completed().unwrap_err();
            // A reconcile must not overtake a first load.
            let refused = if whole.is_none() { why(&go(&orders(false), &reconcile, &healthy).await) } else { None };
            let before = there.catalog().await;
            assert!(before.contains("_sync_stage_"), "{what}: nothing is staged: {before}");

            let source = orders(late);
            for options in [&cut, &RunOptions::full(), &RunOptions::incremental().force()] {
                let dry = go(&source, &options.clone().dry_run(), &healthy).await;
                assert!(dry.scopes.iter().all(|scope| scope.error.is_none()), "{what}: {dry}");
                assert_eq!(before, there.catalog().await, "{what}: {dry}");
            }
            if whole.is_none() {
                let dry = go(&source, &reconcile.clone().dry_run(), &healthy).await;
                assert!(refused.is_some() && refused == why(&dry), "{what}: {refused:?} and then {dry}");
                assert_eq!(before, there.catalog().await, "{what}");
            }
            let dry = go(&source, &cut.clone().dry_run(), &healthy).await;
            let real = go(&source, &cut, &healthy).await;
            assert_eq!(dry.ledger(), real.ledger(), "{what}: {dry} and then {real}");
            real.completed().unwrap();
            assert!(!there.catalog().await.contains("_sync_stage_"), "{what}: what was published is still staged");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_over_a_first_load_that_was_cut_off_while_it_staged_changes_nothing() {
    a_dry_run_over_an_open_stage_changes_nothing(None, RunOptions::incremental()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_over_a_listing_that_was_cut_off_while_it_staged_changes_nothing() {
    a_dry_run_over_an_open_stage_changes_nothing(Some(RunOptions::incremental()), RunOptions::reconcile()).await;
}
