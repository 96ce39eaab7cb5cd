//! What tests look at in the adapters in memory: the log of effects, rejects, estimates.

use std::sync::Arc;

use futures::StreamExt;
use sync_core::detect::Difference;
use sync_core::memory::{MemorySink, MemorySource};
use sync_core::model::{Changes, Lane, Partition, Rows};
use sync_core::sink::{Guard, Intent, Step, Write, WriteMode, WriteUnit};
use sync_core::state::{Advance, Checkpoint, FencingToken};
use sync_core::{Batch, ErrorKind, Key, ReadRequest, Result, Scope, Sink, Source, StreamSpec, Value};

fn orders() -> Arc<StreamSpec> {
    Arc::new(StreamSpec::new("orders").key(["id"]).text("note"))
}

fn scope() -> Scope {
    Scope { pipeline: "shop".into(), feed: "orders".into(), partition: Partition::default(), lane: Lane::Live }
}

fn row(id: impl Into<Value>, note: &str) -> Vec<Value> {
    vec![id.into(), note.into()]
}

/// Applies rows in the next unit of the scope.
async fn apply(sink: &MemorySink, rows: &[Vec<Value>]) -> Result<()> {
    let mut page = Rows::new(Arc::clone(orders().schema()));
    rows.iter().try_for_each(|row| page.push(row.iter().map(Value::as_ref)))?;
    let write = Write {
        stream: orders(),
        changes: Changes::upserts(page),
        mode: WriteMode::Upsert,
        guard: Guard::Always,
        difference: Difference::Content,
        expect: Vec::new(),
    };
    let expected = sink.checkpoint(&scope()).await?.map_or(0, |checkpoint| checkpoint.seq);
    let next = Checkpoint { seq: expected + 1, ..Checkpoint::default() };
    let advance = Advance { token: FencingToken(7), expected, next };
    let (scope, steps) = (scope(), [Step::Write(write)]);
    let unit = WriteUnit { scope: &scope, steps: &steps, advance: Some(&advance), intent: Intent::Commit };
    sink.apply(&unit).await.map(drop)
}

async fn claimed() -> MemorySink {
    let sink = MemorySink::new();
    sink.prepare(&orders()).await.unwrap();
    sink.open(&scope(), FencingToken(7)).await.unwrap();
    sink
}

async fn read(source: &MemorySource) -> Vec<Batch> {
    let feed = source.feeds().await.unwrap().remove(0);
    source.read(ReadRequest::new(feed, Partition::default())).map(|batch| batch.unwrap()).collect().await
}

#[tokio::test]
async fn every_effective_write_is_logged_once_with_what_was_there_and_its_token() {
    let sink = claimed().await;
    apply(&sink, &[row(1i64, "one"), row(2i64, "two")]).await.unwrap();
    apply(&sink, &[row(1i64, "one"), row(2i64, "changed")]).await.unwrap();
    let effects = sink.effects();
    assert_eq!(effects.len(), 3, "an unchanged row is no effect");
    assert_eq!(effects[2].key, Key::new([2i64]));
    assert_eq!((&effects[2].before, &effects[2].after), (&Some(row(2i64, "two")), &Some(row(2i64, "changed"))));
    assert!(effects.iter().all(|effect| effect.token == Some(FencingToken(7))));
}

#[tokio::test]
async fn a_unit_that_fails_leaves_no_effect_and_no_row() {
    let sink = claimed().await;
    let error = apply(&sink, &[row(1i64, "one"), row(Value::Null, "no key")]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert_eq!((sink.effects(), sink.rows("orders"), sink.units()), (vec![], vec![], 0));
}

#[tokio::test]
async fn a_key_that_stands_twice_in_one_write_is_a_defect_of_the_writer() {
    let sink = claimed().await;
    let error = apply(&sink, &[row(1i64, "one"), row(1i64, "again")]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
}

#[tokio::test]
async fn a_spoiled_row_comes_as_a_reject_and_is_revived_once_it_is_mended() {
    let shop = MemorySource::of([orders()]);
    shop.upsert("orders", row(1i64, "one"));
    shop.upsert("orders", row(2i64, "two"));
    shop.spoil("orders", &Key::new([2i64]), "not readable");
    let batch = read(&shop).await.remove(1);
    assert_eq!((batch.records(), batch.rejects.len()), (2, 1));
    let reject = &batch.rejects[0];
    assert_eq!((reject.key.as_ref(), reject.reason.as_str()), (Some(&Key::new([2i64])), "not readable"));
    assert_eq!(shop.revive(&orders(), &reject.body).unwrap_err().kind(), ErrorKind::Data);
    shop.mend("orders", &Key::new([2i64]));
    assert_eq!(shop.revive(&orders(), &reject.body).unwrap().row(0).to_values(), row(2i64, "two"));
}

#[tokio::test]
async fn an_estimate_says_what_a_read_brings_and_reads_nothing() {
    let shop = MemorySource::of([orders()]).page(10);
    (0..25i64).for_each(|id| shop.upsert("orders", row(id, "note")));
    let feed = shop.feeds().await.unwrap().remove(0);
    let estimate = shop.estimate(&ReadRequest::new(feed, Partition::default())).await.unwrap().unwrap();
    assert_eq!((estimate.rows, estimate.requests), (25, Some(3)));
    assert_eq!(shop.requests(), 0);
    assert_eq!(read(&shop).await.iter().map(Batch::records).sum::<usize>(), 25);
    assert_eq!(shop.requests(), 3);
}

#[tokio::test]
async fn a_table_follows_a_new_column_and_refuses_to_lose_one() {
    let sink = claimed().await;
    apply(&sink, &[row(1i64, "one")]).await.unwrap();
    sink.prepare(&StreamSpec::new("orders").text("added").key(["id"]).text("note")).await.unwrap();
    assert_eq!(sink.rows("orders")[0].1, [Value::Null, 1i64.into(), "one".into()]);
    let error = sink.prepare(&StreamSpec::new("orders").key(["id"]).text("added")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema);
    assert!(error.message().contains("\"note\""), "{error}");
}
