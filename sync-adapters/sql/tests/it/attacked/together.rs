//! Several streams of one feed, whose stages are made together.

use std::sync::Arc;

use sync_core::memory::{FirstLoad, MemorySource, MemoryStore};
use sync_core::model::Outcome;
use sync_core::source::Listing;
use sync_core::state::RunStatus;
use sync_core::{ErrorKind, Feed, RunOptions, StreamSpec, SystemClock};
use sync_testkit::fault::{At, Call, Fault, FaultPlan};

use super::dry::{There, run};
use crate::faults::Server;

fn source() -> MemorySource {
    rows(30)
}

fn rows(most: i64) -> MemorySource {
    let stream = |name: &str| Arc::new(StreamSpec::new(name).key(["id"]).int("n"));
    let feed = Feed::new("all", [stream("orders"), stream("lines")]);
    let source = MemorySource::new([feed]).page(7).first_load(FirstLoad::Scattered).listing(Listing::Rows);
    for id in 1..=most {
        source.upsert("orders", vec![id.into(), 1.into()]);
        source.upsert("lines", vec![id.into(), 1.into()]);
    }
    source
}

fn alone(listing: Listing) -> MemorySource {
    let stream = StreamSpec::new("alone").key(["id"]).int("n");
    let source = MemorySource::of([stream]).page(7).listing(listing).first_load(FirstLoad::Scattered);
    (1..=30_i64).for_each(|id| source.upsert("alone", vec![id.into(), 1.into()]));
    source
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconcile_of_a_feed_with_two_streams_comes_to_its_end() {
    let mut wrong = Vec::new();
    for there in There::all().await {
        let (source, store, none) = (source(), MemoryStore::new(Arc::new(SystemClock::new())), FaultPlan::new(1));
        let sink = there.sink().await;
        run(Arc::clone(&sink), &source, &store, RunOptions::incremental(), &none, false).await.completed().unwrap();
        source.upsert("orders", vec![31.into(), 1.into()]);
        for _ in 0..3 {
            let report = run(Arc::clone(&sink), &source, &store, RunOptions::reconcile(), &none, false).await;
            if report.status != RunStatus::Completed {
                wrong.push(format!("{}: {:?}", there.name(), report.scopes[0].error));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sorted_first_load_of_a_feed_with_two_streams_comes_to_its_end() {
    let mut wrong = Vec::new();
    for there in There::all().await {
        let (source, store, none) = (source(), MemoryStore::new(Arc::new(SystemClock::new())), FaultPlan::new(1));
        let sink = there.sink().await;
        for _ in 0..2 {
            let report = run(Arc::clone(&sink), &source, &store, RunOptions::incremental(), &none, true).await;
            if report.status != RunStatus::Completed {
                wrong.push(format!("{}: {:?}", there.name(), report.scopes[0].error));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sorted_first_load_of_few_rows_of_two_streams_comes_to_its_end() {
    let mut wrong = Vec::new();
    for there in There::all().await {
        let (source, store, none) = (rows(3), MemoryStore::new(Arc::new(SystemClock::new())), FaultPlan::new(1));
        let sink = there.sink().await;
        for _ in 0..2 {
            let report = run(Arc::clone(&sink), &source, &store, RunOptions::incremental(), &none, true).await;
            if report.status != RunStatus::Completed {
                wrong.push(format!("{}: {:?}", there.name(), report.scopes[0].error));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The dry run foretells what the real run does.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_reconcile_of_two_streams_says_what_the_real_one_says() {
    let mut wrong = Vec::new();
    for there in There::all().await {
        let (source, store, none) = (source(), MemoryStore::new(Arc::new(SystemClock::new())), FaultPlan::new(1));
        let sink = there.sink().await;
        let dry = run(Arc::clone(&sink), &source, &store, RunOptions::reconcile().dry_run(), &none, false).await;
        let real = run(Arc::clone(&sink), &source, &store, RunOptions::reconcile(), &none, false).await;
        if (dry.status, dry.ledger()) != (real.status, real.ledger()) {
            wrong.push(format!("{}: {dry} and then {real}", there.name()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A source that lists keys alone, and a target that is not there yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_reconcile_by_keys_of_a_target_that_is_not_there_says_what_the_real_one_says() {
    let mut wrong = Vec::new();
    for there in There::all().await {
        for followed in [false, true] {
            let stream = StreamSpec::new("alone").key(["id"]).int("n");
            let source = MemorySource::of([stream]).page(7).listing(Listing::Keys).first_load(FirstLoad::Scattered);
            let (store, none) = (MemoryStore::new(Arc::new(SystemClock::new())), FaultPlan::new(1));
            let sink = there.sink().await;
            if followed {
                source.upsert("alone", vec![1.into(), 1.into()]);
                run(Arc::clone(&sink), &source, &store, RunOptions::incremental(), &none, true)
                    .await
                    .completed()
                    .unwrap();
            }
            (1..=30_i64).for_each(|id| source.upsert("alone", vec![id.into(), 1.into()]));
            let dry = run(Arc::clone(&sink), &source, &store, RunOptions::reconcile().dry_run(), &none, true).await;
            let real = run(Arc::clone(&sink), &source, &store, RunOptions::reconcile(), &none, true).await;
            if (dry.status, dry.ledger()) != (real.status, real.ledger()) {
                wrong.push(format!(
                    "{} followed {followed}: {:?} and then {:?}",
                    there.name(),
                    dry.ledger(),
                    real.ledger()
                ));
            }
            if !followed {
                let hollow = there.count("SELECT count(*) FROM alone WHERE n IS NULL").await;
                if hollow != "0" {
                    wrong.push(format!("{}: {hollow} rows that have a key alone", there.name()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// With the settings that everybody has: SQLite is loaded in order by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_reconcile_by_keys_into_an_empty_target_makes_no_row_that_has_a_key_alone() {
    let source = alone(Listing::Keys);
    let mut wrong = Vec::new();
    for there in There::all().await {
        let (store, none) = (MemoryStore::new(Arc::new(SystemClock::new())), FaultPlan::new(1));
        let real = run(there.sink().await, &source, &store, RunOptions::reconcile(), &none, false).await;
        let hollow = there.count("SELECT count(*) FROM alone WHERE n IS NULL").await;
        if hollow != "0" {
            wrong.push(format!("{}: {hollow} {real}", there.name()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconcile_into_an_empty_target_leaves_no_stage() {
    let source = alone(Listing::Rows);
    let mut wrong = Vec::new();
    for there in There::all().await {
        let (store, none) = (MemoryStore::new(Arc::new(SystemClock::new())), FaultPlan::new(1));
        for _ in 0..2 {
            let real = run(there.sink().await, &source, &store, RunOptions::reconcile(), &none, true).await;
            real.completed().unwrap();
        }
        if there.catalog().await.contains("_sync_stage_") {
            wrong.push(format!("{}: a stage is left", there.name()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// As an earlier release left it, or somebody who tidied up by hand.
#[tokio::test(flavor = "multi_thread")]
async fn a_stage_whose_table_is_gone_on_mariadb_keeps_no_later_reconcile_from_its_end() {
    let there = There::Server(Server::MariaDb, Server::MariaDb.database().await);
    let (source, store, none) = (source(), MemoryStore::new(Arc::new(SystemClock::new())), FaultPlan::new(1));
    let sink = there.sink().await;
    run(Arc::clone(&sink), &source, &store, RunOptions::incremental(), &none, false).await.completed().unwrap();
    let cut = FaultPlan::new(1).on(Call::Apply, At::From(3), Fault::Refuse(ErrorKind::Forbidden));
    run(Arc::clone(&sink), &source, &store, RunOptions::reconcile(), &cut, false).await.completed().unwrap_err();
    let There::Server(_, database) = &there else { unreachable!() };
    let staged = "SELECT place FROM _sync_stage";
    let places = database.client(staged).await.unwrap();
    assert_eq!(places.lines().count(), 2, "{places}");
    database.client(&format!("DROP TABLE {}", places.lines().next().unwrap())).await.unwrap();

    let report = run(sink, &source, &store, RunOptions::reconcile(), &none, false).await;
    assert_eq!(report.ledger().count(Outcome::Unchanged), 60, "{report}");
    report.completed().unwrap();
    assert_eq!(database.client(staged).await.unwrap(), "");
}
