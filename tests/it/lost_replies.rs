//! Every call fails once in every way, and nothing is lost, doubled or counted twice.

use super::bench::*;

/// P1, commit outcome unknown: the reply is lost, and so is the first answer to the question what became of the unit.
#[tokio::test(flavor = "multi_thread")]
async fn a_unit_with_a_policy_whose_reply_is_lost_twice_is_counted_once() {
    use sync_testkit::fault::{At, Call, Fault, FaultPlan, Faulty};
    let (stream, world) = (orders(), World::new().await);
    let script = Script::of(&stream);
    script.then(vec![page(&stream, &[row(1, 1, "a"), row(2, 1, "b")], at(1))]);
    let plan = FaultPlan::new(1).on(Call::Apply, At::Nth(1), Fault::LostReply).on(Call::Open, At::Nth(2), Fault::Fail);
    let pipeline = Pipeline::new("shop", script, Faulty::new(world.sink.clone(), &plan))
        .policy(decide(|_| Resolution::TakeIncoming));
    let report = world.run(pipeline, RunOptions::incremental()).await;
    assert_eq!(
        (report.status, count(&report, Outcome::Created), count(&report, Outcome::Unchanged)),
        (RunStatus::Completed, 2, 0),
        "{report} {:?}",
        report.scopes[0].error
    );
}

/// The order of changes of one key over two batches of a staged first load, deletes included.
#[tokio::test(flavor = "multi_thread")]
async fn a_delete_and_a_recreation_within_a_staged_first_load_end_as_they_would_unstaged() {
    for staged in [true, false] {
        let (stream, world) = (orders(), World::new().await);
        let script = Script::of(&stream);
        let gone = |id: i64| {
            Changes::marked(rows(&stream, &[vec![id.into(), Value::Null, Value::Null]]), vec![Mark::delete()])
        };
        script.then(vec![
            page(&stream, &[row(9, 1, "x"), row(1, 1, "a"), row(2, 1, "b")], at(1)),
            Batch::of(&stream, gone(1), at(2)),
            Batch::of(&stream, gone(2), at(3)),
            page(&stream, &[row(2, 2, "again")], at(4)),
            Batch::of(&stream, gone(7), at(5)),
        ]);
        let first_load =
            if staged { sync_core::engine::FirstLoad::Sorted } else { sync_core::engine::FirstLoad::Direct };
        let report = world.run(world.pipeline(script).first_load(first_load), RunOptions::incremental()).await;
        assert_eq!(
            (report.status, world.ids(), world.texts("SELECT note FROM orders WHERE id = 2")),
            (RunStatus::Completed, vec![2, 9], vec!["again".to_owned()]),
            "staged: {staged} {report}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_failing_once_in_every_way_loses_and_doubles_nothing() {
    every_call_fails_once(false, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_of_a_staged_first_load_failing_once_in_every_way_loses_and_doubles_nothing() {
    every_call_fails_once(false, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_of_a_run_with_a_policy_failing_once_in_every_way_loses_and_doubles_nothing() {
    every_call_fails_once(true, false).await;
}

/// Every call fails once, in every way; after restarts every row is there once, every poison row is a letter, no more.
async fn every_call_fails_once(policy: bool, staged: bool) {
    use sync_testkit::fault::{At, Call, Fault, FaultPlan, Faulty};
    let ways = [Fault::Fail, Fault::LostReply, Fault::LostRequest, Fault::CrashBefore, Fault::CrashAfter];
    let calls = [
        Call::Feeds,
        Call::Read,
        Call::Batch,
        Call::Prepare,
        Call::Open,
        Call::Apply,
        Call::LookUp,
        Call::Acquire,
        Call::Release,
        Call::Record,
        Call::State,
    ];
    let mut wrong = Vec::new();
    for call in calls {
        for fault in ways {
            for nth in 1..=40 {
                let world = World::prepared("CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, version INTEGER, note TEXT CHECK (note <> 'bad'));
                        CREATE TABLE log (id INTEGER, version INTEGER);
                        CREATE TRIGGER i AFTER INSERT ON orders BEGIN INSERT INTO log VALUES (NEW.id, NEW.version); END;
                        CREATE TRIGGER u AFTER UPDATE ON orders BEGIN INSERT INTO log VALUES (NEW.id, NEW.version); END;").await;
                let mut source = MemorySource::of([StreamSpec::clone(&versioned())]).page(4);
                if staged {
                    source = source.first_load(FirstLoad::Scattered);
                }
                for id in 1..=12 {
                    source.upsert("orders", row(id, 1, if id % 6 == 2 { "bad" } else { "fine" }));
                }
                let plan = FaultPlan::new(7).on(call, At::Nth(nth), fault);
                let engine = |plan: &FaultPlan| {
                    let mut pipeline =
                        Pipeline::new("shop", Faulty::new(source.clone(), plan), Faulty::new(world.sink.clone(), plan));
                    if policy {
                        pipeline = pipeline.policy(decide(|_| Resolution::TakeIncoming));
                    }
                    Engine::builder(Faulty::new(world.store.clone(), plan))
                        .owner("a")
                        .unit_rows(4)
                        .retry(
                            sync_core::retry::RetryPolicy::new()
                                .base(Duration::from_micros(100))
                                .cap(Duration::from_millis(1)),
                        )
                        .pipeline(pipeline)
                        .build()
                        .unwrap()
                };
                let first = engine(&plan).run("shop").await;
                let injected = !plan.injected().is_empty();
                if let Ok(report) = &first {
                    let said = report
                        .scopes
                        .iter()
                        .filter_map(|scope| scope.error.as_ref())
                        .map(|error| format!("{:?}: {error}", error.kind()))
                        .collect::<String>();
                    if said.contains("Internal") && !said.contains("has died") {
                        wrong.push(format!("policy {policy} staged {staged} {call:?} {nth} {fault:?}: {said}"));
                    }
                    if matches!(fault, Fault::Fail) && report.status != RunStatus::Completed {
                        wrong.push(format!(
                            "policy {policy} staged {staged} {call:?} {nth} {fault:?} was not survived: {said}"
                        ));
                    }
                }
                source.upsert("orders", row(1, 2, "fine"));
                let none = FaultPlan::new(7);
                for _ in 0..2 {
                    match engine(&none).run("shop").await {
                        Ok(report) if report.status == RunStatus::Completed => {}
                        other => wrong.push(format!(
                            "policy {policy} staged {staged} {call:?} {nth} {fault:?}: afterwards {other:?}"
                        )),
                    }
                }
                let fine: Vec<i64> = (1..=12).filter(|id| id % 6 != 2).collect();
                let letters = world.letters(world.pipeline(source.clone())).await;
                let doubled: i64 = world
                    .plain()
                    .query_row(
                        "SELECT count(*) FROM (SELECT 1 FROM log GROUP BY id, version HAVING count(*) > 1)",
                        [],
                        |row| row.get(0),
                    )
                    .unwrap();
                if world.ids() != fine || letters.len() != 2 || doubled != 0 {
                    wrong.push(format!("policy {policy} staged {staged} {call:?} {nth} {fault:?}: rows {:?} letters {letters:?} doubled {doubled}", world.ids()));
                }
                if !injected {
                    break;
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} cases:\n{}",
        wrong.len(),
        wrong.iter().take(60).cloned().collect::<Vec<_>>().join("\n")
    );
}
