//! The stages of a run, one by one: parse, detect, apply.
#![allow(missing_docs, reason = "the macros of criterion make undocumented functions")]

use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sync_core::detect::{ByHash, Difference};
use sync_core::json::{Envelope, RecordReader};
use sync_core::model::{Changes, Lane, Partition};
use sync_core::sink::{Guard, Intent, Step, Write, WriteMode, WriteUnit};
use sync_core::{ChangeDetector, Rows, Scope, Sink, StreamSpec};
use sync_sql::Sqlite;

const ROWS: u64 = 1000;

fn stream() -> Arc<StreamSpec> {
    let spec =
        StreamSpec::new("records").key(["id"]).text("name").text("email").text("city").text("status").text("note");
    let spec = spec.decimal("amount", 12, 2).int("quantity").int("score").bool("active").timestamp("created_at");
    Arc::new(spec.version("updated_at"))
}

fn page(from: u64) -> Vec<u8> {
    let record = |id: u64| {
        format!(
            r#"{{"id":{id},"name":"Customer {id:016x} Ltd","email":"contact{id}@customer-{id:06x}.example","city":"São Paulo",
            "status":"shipped","note":"delivery {id:05} of lot 0042, call before noon","amount":"{id}.99","quantity":{},
            "score":{id},"active":true,"created_at":"2024-01-01T00:00:00Z","updated_at":"2024-02-01T00:00:00Z"}}"#,
            id % 500
        )
    };
    let records: Vec<String> = (from..from + ROWS).map(record).collect();
    format!("{{\"data\":[{}],\"next\":\"2\",\"total\":{ROWS}}}", records.join(",")).into_bytes()
}

fn rows(from: u64) -> Rows {
    let reader = RecordReader::new(stream());
    reader.read(&page(from), &Envelope::at(["/data"])).expect("a page").rows
}

fn parse(criterion: &mut Criterion) {
    let (reader, body) = (RecordReader::new(stream()), page(0));
    let envelope = Envelope::at(["/data"]).also(["/next", "/total"]);
    let mut group = criterion.benchmark_group("parse");
    group.throughput(Throughput::Elements(ROWS));
    group.bench_function("page of 1000", |bencher| bencher.iter(|| reader.read(&body, &envelope).expect("a page")));
    group.finish();
}

fn detect(criterion: &mut Criterion) {
    let (stream, changes) = (stream(), Changes::upserts(rows(0)));
    let detector = ByHash::default();
    let mut group = criterion.benchmark_group("detect");
    group.throughput(Throughput::Elements(ROWS));
    group.bench_function("fingerprints by hash", |bencher| {
        bencher.iter(|| changes.iter().map(|change| detector.fingerprint(&stream, &change).0.len()).sum::<usize>());
    });
    group.finish();
}

fn apply(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let sink = runtime.block_on(Sqlite::open(folder.path().join("bench.db"))).expect("a database");
    runtime.block_on(sink.prepare(&stream())).expect("a table");
    let scope =
        Scope { pipeline: "bench".into(), feed: "records".into(), partition: Partition::default(), lane: Lane::Live };
    let step = |from: u64| {
        let changes = Changes::upserts(rows(from));
        let (mode, guard, difference) = (WriteMode::Upsert, Guard::NotOlder, Difference::Content);
        [Step::Write(Write { stream: stream(), changes, mode, guard, difference, expect: Vec::new() })]
    };
    let write = |steps: &[Step]| {
        let unit = WriteUnit { scope: &scope, steps, advance: None, intent: Intent::Commit };
        runtime.block_on(sink.apply(&unit)).expect("a unit")
    };
    let mut group = criterion.benchmark_group("apply");
    group.throughput(Throughput::Elements(ROWS));
    let mut next = 0;
    group.bench_function("1000 new rows", |bencher| {
        let fresh = || {
            next += ROWS;
            step(next)
        };
        bencher.iter_batched(fresh, |steps| write(&steps), BatchSize::SmallInput);
    });
    let known = step(0);
    write(&known);
    group.bench_function("1000 unchanged rows", |bencher| bencher.iter(|| write(&known)));
    group.finish();
}

criterion_group! {
    name = stages;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
    targets = parse, detect, apply
}
criterion_main!(stages);
