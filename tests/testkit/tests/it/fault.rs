//! Fault scripts do what they say, and the same thing twice.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use sync_core::detect::Difference;
use sync_core::memory::{MemorySink, MemorySource, MemoryStore};
use sync_core::model::{Changes, Lane, Partition, Rows};
use sync_core::sink::{Guard, Intent, Step, Write, WriteMode, WriteReport, WriteUnit};
use sync_core::state::FencingToken;
use sync_core::{
    Clock, ErrorKind, Key, ReadRequest, Result, Retry, RowAt, Scope, Sink, Source, StateStore, StreamSpec,
};
use sync_testkit::ManualClock;
use sync_testkit::fault::{At, Call, Fault, FaultPlan, Faulty};

fn stream() -> Arc<StreamSpec> {
    Arc::new(StreamSpec::new("orders").key(["id"]).text("note"))
}

async fn write(sink: &impl Sink, ids: impl IntoIterator<Item = i64>) -> Result<WriteReport> {
    let stream = stream();
    let mut rows = Rows::new(Arc::clone(stream.schema()));
    for id in ids {
        rows.push([sync_core::ValueRef::Int(id), sync_core::ValueRef::Null])?;
    }
    let scope =
        Scope { pipeline: "shop".into(), feed: "orders".into(), partition: Partition::default(), lane: Lane::Live };
    let (mode, guard, difference) = (WriteMode::Upsert, Guard::Always, Difference::Content);
    let write = Write { stream, changes: Changes::upserts(rows), mode, guard, difference, expect: Vec::new() };
    let steps = [Step::Write(write)];
    sink.apply(&WriteUnit { scope: &scope, steps: &steps, advance: None, intent: Intent::Commit }).await
}

async fn faulty_sink(plan: &FaultPlan) -> Faulty<MemorySink> {
    let sink = MemorySink::new();
    sink.prepare(&stream()).await.unwrap();
    Faulty::new(sink, plan)
}

fn shop(rows: i64) -> MemorySource {
    let shop = MemorySource::of([stream()]).page(10);
    (1..=rows).for_each(|id| shop.upsert("orders", [id.into(), "note".into()]));
    shop
}

/// The ids of each batch until the read ends, and the error it ended with.
async fn batches(source: &impl Source) -> (Vec<usize>, Option<ErrorKind>) {
    let feed = source.feeds().await.unwrap().remove(0);
    let mut read = source.read(ReadRequest::new(feed, Partition::default()));
    let mut sizes = Vec::new();
    while let Some(batch) = read.next().await {
        match batch {
            Ok(batch) => sizes.push(batch.records()),
            Err(error) => return (sizes, Some(error.kind())),
        }
    }
    (sizes, None)
}

#[tokio::test]
async fn a_call_fails_at_the_number_it_is_told_to_and_at_no_other() {
    let sink = faulty_sink(&FaultPlan::new(1).on(Call::Apply, At::Nth(2), Fault::Fail)).await;
    write(&sink, [1]).await.unwrap();
    let error = write(&sink, [2]).await.unwrap_err();
    assert_eq!((error.kind(), error.retry(), error.is_ambiguous()), (ErrorKind::Unavailable, Retry::Backoff, false));
    write(&sink, [3]).await.unwrap();
    assert_eq!(sink.inner().rows("orders").len(), 2);
}

#[tokio::test]
async fn a_lost_reply_has_its_effect_and_a_lost_request_has_none() {
    let plan = FaultPlan::new(1).on(Call::Apply, At::Nth(1), Fault::LostReply);
    let sink = faulty_sink(&plan.on(Call::Apply, At::Nth(2), Fault::LostRequest)).await;
    assert!(write(&sink, [1]).await.unwrap_err().is_ambiguous());
    assert!(write(&sink, [2]).await.unwrap_err().is_ambiguous());
    assert_eq!(sink.inner().effects().len(), 1);
}

#[tokio::test]
async fn a_persistent_fault_stays_until_the_plan_is_quiet() {
    let plan = FaultPlan::new(1).on(Call::Apply, At::From(2), Fault::Refuse(ErrorKind::Full));
    let sink = faulty_sink(&plan).await;
    write(&sink, [1]).await.unwrap();
    for id in 2..5 {
        assert_eq!(write(&sink, [id]).await.unwrap_err().kind(), ErrorKind::Full);
    }
    plan.quiet();
    write(&sink, [5]).await.unwrap();
}

#[tokio::test]
async fn a_fault_with_a_limit_strikes_that_often() {
    let plan = FaultPlan::new(1).at_most(2, Call::Apply, At::From(1), Fault::Throttle(Duration::from_secs(7)));
    let sink = faulty_sink(&plan).await;
    assert_eq!(write(&sink, [1]).await.unwrap_err().retry(), Retry::After(Duration::from_secs(7)));
    assert_eq!(write(&sink, [1]).await.unwrap_err().kind(), ErrorKind::Throttled);
    write(&sink, [1]).await.unwrap();
    assert_eq!(plan.injected().len(), 2);
}

#[tokio::test]
async fn a_poisoned_row_is_refused_by_name_or_without_until_it_is_healed() {
    let plan = FaultPlan::new(1).poison("orders", Key::new([2i64])).hidden_poison("orders", Key::new([9i64]));
    let sink = faulty_sink(&plan).await;
    let named = write(&sink, [1, 2, 3]).await.unwrap_err();
    assert_eq!((named.kind(), named.row()), (ErrorKind::Data, Some(RowAt { step: 0, row: 1 })));
    let hidden = write(&sink, [8, 9]).await.unwrap_err();
    assert_eq!((hidden.kind(), hidden.row()), (ErrorKind::Data, None));
    assert_eq!(sink.inner().rows("orders"), []);
    plan.heal();
    write(&sink, [1, 2, 3, 8, 9]).await.unwrap();
}

#[tokio::test]
async fn a_share_of_rows_is_poisoned_and_always_the_same_ones() {
    let poisoned = |seed| {
        let plan = FaultPlan::new(seed).poison_share(0.1, true);
        (0..1000).filter(|id| plan.is_poison("orders", &Key::new([*id as i64]))).collect::<Vec<u64>>()
    };
    assert_eq!(poisoned(7), poisoned(7));
    assert_ne!(poisoned(7), poisoned(8));
    assert!((60..140).contains(&poisoned(7).len()), "{} of 1000", poisoned(7).len());
}

#[tokio::test]
async fn a_slow_call_takes_its_time_by_the_clock_and_then_does_its_work() {
    let clock = Arc::new(ManualClock::new(1));
    let plan = FaultPlan::new(1).on(Call::Apply, At::Nth(1), Fault::Slow(Duration::from_secs(90)));
    let sink = faulty_sink(&plan).await.clock(Arc::clone(&clock) as Arc<dyn Clock>);
    write(&sink, [1]).await.unwrap();
    assert_eq!(clock.elapsed(), Duration::from_secs(90));
    assert_eq!(sink.inner().effects().len(), 1);
}

#[tokio::test]
async fn a_crash_stops_everything_behind_the_plan_until_the_restart() {
    let plan = FaultPlan::new(1).on(Call::Apply, At::Nth(2), Fault::CrashAfter);
    let sink = faulty_sink(&plan).await;
    let source = Faulty::new(shop(5), &plan);
    let store = Faulty::new(MemoryStore::new(Arc::new(ManualClock::new(1))), &plan);
    write(&sink, [1]).await.unwrap();
    assert!(write(&sink, [2]).await.is_err());
    assert!(plan.has_crashed());
    assert_eq!(sink.inner().effects().len(), 2, "it died after its work was done");
    assert!(write(&sink, [3]).await.is_err());
    assert!(source.feeds().await.is_err());
    assert!(store.acquire("shop", "me", Duration::from_secs(1), FencingToken(0)).await.is_err());
    plan.restart();
    write(&sink, [3]).await.unwrap();
    assert_eq!(batches(&source).await, (vec![0, 5], None), "a position, and the rows");
}

#[tokio::test]
async fn a_read_that_fails_yields_one_error_and_ends() {
    let plan = FaultPlan::new(1).on(Call::Batch, At::Nth(3), Fault::Fail);
    assert_eq!(batches(&Faulty::new(shop(35), &plan)).await, (vec![0, 10], Some(ErrorKind::Unavailable)));
}

#[tokio::test]
async fn a_read_that_is_cut_ends_without_a_word() {
    let plan = FaultPlan::new(1).on(Call::Batch, At::Nth(3), Fault::Cut);
    assert_eq!(batches(&Faulty::new(shop(35), &plan)).await, (vec![0, 10], None));
}

#[tokio::test]
async fn a_duplicated_batch_brings_every_change_twice() {
    let plan = FaultPlan::new(1).on(Call::Batch, At::Nth(2), Fault::Duplicate);
    assert_eq!(batches(&Faulty::new(shop(25), &plan)).await, (vec![0, 20, 10, 5], None));
}

#[tokio::test]
async fn the_same_seed_injects_the_same_faults() {
    let run = async |seed| {
        let plan = FaultPlan::new(seed).on(Call::Apply, At::Chance(0.3), Fault::Fail);
        let sink = faulty_sink(&plan).await;
        for id in 0..50 {
            let _ = write(&sink, [id]).await;
        }
        plan.injected().iter().map(|fault| fault.number).collect::<Vec<_>>()
    };
    let first = run(3).await;
    assert_eq!(first, run(3).await);
    assert_ne!(first, run(4).await);
    assert!((5..30).contains(&first.len()), "{first:?}");
}
