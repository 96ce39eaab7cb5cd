//! Every call fails once in every way while rows are refused, deleted and made anew: rows and letters come out right.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use sync_core::memory::{Feeding, FirstLoad, MemorySource, MemoryStore};
use sync_core::retry::RetryPolicy;
use sync_core::source::Listing;
use sync_core::state::LetterQuery;
use sync_core::{Engine, Key, Pipeline, Report, Result, RunOptions, Sink, StreamSpec, SystemClock};
use sync_sql::Sqlite;
use sync_testkit::fault::{At, Call, Fault, FaultPlan, Faulty};

use super::apart::Apart;

async fn run(
    source: &MemorySource,
    file: &Path,
    store: &MemoryStore,
    apart: bool,
    plan: &FaultPlan,
    options: RunOptions,
) -> Result<Report> {
    let sink = Sqlite::open(file).await.unwrap();
    let sink: Arc<dyn Sink> = Arc::new(sink);
    let sink = if apart { Arc::new(Apart(sink)) } else { sink };
    let quick = RetryPolicy::new().base(Duration::from_micros(100)).cap(Duration::from_millis(1)).attempts(4);
    let pipeline = Pipeline::new("shop", Faulty::new(source.clone(), plan), Faulty::new(sink, plan))
        .first_load(sync_core::engine::FirstLoad::Sorted);
    let engine = Engine::builder(Faulty::new(store.clone(), plan))
        .owner("a")
        .unit_rows(3)
        .retry(quick)
        .pipeline(pipeline)
        .build()
        .unwrap();
    engine.run_with("shop", options).await
}

async fn letters(source: &MemorySource, file: &Path, store: &MemoryStore) -> Vec<String> {
    let pipeline = Pipeline::new("shop", source.clone(), Sqlite::open(file).await.unwrap());
    let engine = Engine::builder(store.clone()).pipeline(pipeline).build().unwrap();
    let all = engine.dead_letters(&LetterQuery::default()).await.unwrap();
    let mut keys: Vec<String> = all.iter().map(|letter| letter.key.as_ref().unwrap().to_string()).collect();
    keys.sort();
    keys
}

fn rows(file: &Path) -> Vec<(i64, String)> {
    let plain = Connection::open(file).unwrap();
    let mut read = plain.prepare("SELECT id, note FROM orders ORDER BY id").unwrap();
    read.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(std::result::Result::unwrap).collect()
}

const CALLS: [Call; 9] = [
    Call::Read,
    Call::Batch,
    Call::Prepare,
    Call::Open,
    Call::Apply,
    Call::LookUp,
    Call::Acquire,
    Call::Record,
    Call::State,
];

/// What fails, and when.
#[derive(Debug, Clone, Copy)]
struct Case {
    /// Whether positions are kept in the store.
    apart: bool,
    versioned: bool,
    call: Call,
    nth: u64,
    fault: Fault,
    /// Before which of three steps; the fourth is a reconcile.
    phase: usize,
}

impl Case {
    /// What is wrong afterwards, and whether there was such a call at all.
    async fn check(self) -> (Vec<String>, bool) {
        let Self { apart, versioned, call, nth, fault, phase } = self;
        let mut wrong = Vec::new();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("shop.db");
        Connection::open(&file).unwrap().execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, n INTEGER, note TEXT CHECK (note <> 'bad'))").unwrap();
        let store = MemoryStore::new(Arc::new(SystemClock::new()));
        let mut stream = StreamSpec::new("orders").key(["id"]).int("n").text("note");
        if versioned {
            stream = stream.version("n");
        }
        let source = MemorySource::of([stream])
            .feeding(Feeding::Log)
            .page(3)
            .listing(Listing::Rows)
            .first_load(FirstLoad::Scattered);
        let plan = FaultPlan::new(7).on(call, At::Nth(nth), fault);
        let none = FaultPlan::new(7);
        let put = |id: i64, n: i64, note: &str| source.upsert("orders", vec![id.into(), n.into(), note.into()]);
        let del = |id: i64, n: i64| {
            if versioned {
                source.delete_at("orders", &Key::new([id]), n)
            } else {
                source.delete("orders", &Key::new([id]))
            }
        };
        let expected = [vec!["3", "7"], vec!["4", "7"], vec!["3", "7"]];
        let at = format!("{self:?}");
        for (step, expected) in expected.iter().enumerate() {
            match step {
                0 => (1..=12).for_each(|id| put(id, 1, if id == 3 || id == 7 { "bad" } else { "fine" })),
                1 => {
                    del(3, 2);
                    put(4, 2, "bad");
                    del(5, 2);
                    put(6, 2, "new");
                    put(13, 2, "fine");
                }
                _ => {
                    put(3, 3, "bad");
                    del(4, 3);
                    put(5, 3, "back");
                    put(14, 3, "fine");
                    del(6, 3);
                }
            }
            if step == phase {
                let _ = run(&source, &file, &store, apart, &plan, RunOptions::incremental()).await;
            }
            let report = run(&source, &file, &store, apart, &none, RunOptions::incremental()).await;
            if !matches!(&report, Ok(report) if report.status == sync_core::state::RunStatus::Completed) {
                wrong.push(format!("{at}: {report:?}"));
            }
            let mut open = letters(&source, &file, &store).await;
            open.dedup();
            let crashed = matches!(fault, Fault::CrashBefore | Fault::CrashAfter);
            let exact = open == *expected;
            let covered = expected.iter().all(|key| open.contains(&(*key).to_owned()));
            if !covered || (!exact && !crashed) {
                wrong.push(format!("{at} step {step}: letters {open:?}, not {expected:?}"));
            }
        }
        if phase == 3 {
            // A row that is gone though nobody said so, and its letter.
            let _ = run(&source, &file, &store, apart, &plan, RunOptions::reconcile().confirm_deletes()).await;
            let open = letters(&source, &file, &store).await;
            if !expected[2].iter().all(|key| open.contains(&(*key).to_owned())) {
                wrong.push(format!("{at}: after a cut reconcile letters {open:?}"));
            }
        }
        let report = run(&source, &file, &store, apart, &none, RunOptions::reconcile().confirm_deletes()).await;
        let mut open = letters(&source, &file, &store).await;
        open.dedup();
        if open != expected[2] {
            wrong.push(format!("{at}: after a reconcile letters {open:?}: {report:?}"));
        }
        let mut there: Vec<(i64, String)> = source
            .rows("orders")
            .into_iter()
            .filter_map(|(_, values)| match (&values[0], &values[2]) {
                (sync_core::Value::Int(id), sync_core::Value::Text(note)) if &**note != "bad" => {
                    Some((*id, note.to_string()))
                }
                _ => None,
            })
            .collect();
        there.sort();
        if rows(&file) != there {
            wrong.push(format!("{at}: rows {:?} instead of {there:?}", rows(&file)));
        }
        (wrong, !plan.injected().is_empty())
    }
}

/// One call of each kind, and so many in each phase of a row's life where `SWEEP` says how many.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_call_fails_letters_stay_open_as_long_as_their_rows_are_refused_and_no_longer() {
    let most: Option<u64> = std::env::var("SWEEP").ok().map(|text| text.parse().unwrap());
    let homes = [(true, false), (false, true), (true, true), (false, false)];
    let (homes, phases) = if most.is_some() { (&homes[..], 0..4) } else { (&homes[..2], 1..2) };
    let faults = [Fault::Fail, Fault::LostReply, Fault::LostRequest, Fault::CrashBefore, Fault::CrashAfter];
    let (mut wrong, mut cases) = (Vec::new(), 0);
    for &(apart, versioned) in homes {
        for (call, fault) in CALLS.into_iter().flat_map(|call| faults.map(|fault| (call, fault))) {
            for phase in phases.clone() {
                for nth in 1..=most.unwrap_or(1) {
                    let (found, was_called) = Case { apart, versioned, call, nth, fault, phase }.check().await;
                    wrong.extend(found);
                    cases += 1;
                    if !was_called {
                        break;
                    }
                }
            }
        }
    }
    let first: Vec<String> = wrong.iter().take(40).map(|text| text.chars().take(400).collect()).collect();
    assert!(wrong.is_empty(), "{} of {cases}:\n{}", wrong.len(), first.join("\n"));
}
