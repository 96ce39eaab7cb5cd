//! A master as a source.

use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use secrecy::SecretString;
use sync_core::engine::{Engine, Pipeline, RunOptions};
use sync_core::memory::{MemoryReplica, MemorySink, MemoryStore};
use sync_core::two_way::{Access, Hub};
use sync_core::{Error, ErrorKind, Key, Result, Source as _};
use sync_master::MasterSource;
use sync_testkit::source::{Act, Hand, conformance, with_hand};

use crate::client::Way;
use crate::support::*;

/// Works at the master.
struct Clerk {
    master: MemoryReplica,
    done: AtomicI64,
}

#[async_trait]
impl Hand for Clerk {
    async fn act(&self, act: Act) -> Result<Option<(String, Key)>> {
        let done = self.done.fetch_add(1, Ordering::SeqCst);
        let put = |id: String| async move {
            put(&self.master, "items", item(&id, "A", "1", &format!("after {done}"), done)).await;
            id
        };
        let id = match act {
            Act::Add => put(format!("new{done:03}")).await,
            Act::Change => put("old004".to_owned()).await,
            Act::AddGroup => {
                let rows = (0..25).map(|n| item(&format!("group{done:03}-{n:02}"), "A", "1", "together", n));
                let rows: Vec<_> = rows.collect();
                self.master.transaction(|host| rows.iter().try_for_each(|row| host.put("items", row.clone()))).await?;
                format!("group{done:03}-00")
            }
            Act::Remove => {
                let id = format!("old{:03}", 10 + done);
                self.master.transaction(|host| host.delete("items", &Key::new([id.as_str()]))).await?;
                id
            }
            // No two changes share a place in the feed.
            _ => return Ok(None),
        };
        Ok(Some(("items".to_owned(), Key::new([id]))))
    }
}

async fn filled() -> MemoryReplica {
    let master = replica("master");
    for n in 0..35 {
        put(&master, "items", item(&format!("old{n:03}"), "A", "1", "pear", n)).await;
    }
    master
}

const MUST_HOLD: [&str; 8] = [
    "no_row_is_lost_behind_a_cursor",
    "a_foreign_cursor_is_gone",
    "a_listing_names_every_row_once",
    "an_added_row_comes_next",
    "a_changed_row_comes_next",
    "a_change_during_a_read_is_not_lost",
    "a_row_deleted_during_a_first_load_is_reported",
    "a_deleted_row_is_not_listed",
];

#[tokio::test]
async fn a_master_in_this_process_keeps_the_specification_of_a_source() {
    let report = conformance(async |_| {
        let master = filled().await;
        let way = (Hub::new(master.clone(), clock()), Access::everything());
        let source = MasterSource::new("reports", way, &tables()).page_rows(10);
        Ok::<_, Error>(with_hand(source, Clerk { master, done: AtomicI64::new(0) }))
    });
    report.await.assert_held(MUST_HOLD);
}

#[tokio::test]
async fn a_master_behind_http_keeps_the_specification_of_a_source() {
    let report = conformance(async |_| {
        let master = filled().await;
        let way = Way::to(routes(&Hub::new(master.clone(), clock())).router().unwrap()).await;
        let http = way.master(SecretString::from(token("A", "1")));
        let source = MasterSource::new("reports", http, &tables()).page_rows(10);
        Ok::<_, Error>(with_hand(source, Clerk { master, done: AtomicI64::new(0) }))
    });
    report.await.assert_held(MUST_HOLD);
}

fn copied(master: MasterSource, sink: &MemorySink) -> Engine {
    let pipeline = Pipeline::new("reports", master, sink.clone());
    Engine::builder(MemoryStore::new(clock())).pipeline(pipeline).build().unwrap()
}

#[tokio::test]
async fn a_run_brings_a_tenants_rows_and_then_what_happens_to_them() {
    let shop = Shop::open().await;
    let way = Way::to(shop.router.clone()).await;
    let sink = MemorySink::new();
    let http = way.master(SecretString::from(token("A", "1")));
    let engine = copied(MasterSource::new("reports", http, &tables()), &sink);
    engine.run("reports").await.unwrap().completed().unwrap();
    let ids = |table: &str| {
        let rows: Vec<Key> = sink.rows(table).into_iter().map(|(key, _)| key).collect();
        rows
    };
    assert_eq!((ids("items"), ids("notes")), (vec![Key::new(["a1"])], vec![Key::new(["na"])]));

    put(&shop.master, "items", item("a9", "A", "1", "quince", 3)).await;
    put(&shop.master, "items", item("b9", "B", "1", CANARY, 3)).await;
    // A row that goes to another branch is gone for this one.
    put(&shop.master, "items", item("a1", "A", "2", "pear", 10)).await;
    let report = engine.run("reports").await.unwrap();
    assert_eq!((ids("items"), ids("notes")), (vec![Key::new(["a9"])], vec![Key::new(["na"])]));
    assert_eq!(report.ledger().fetched, 2, "{report}");

    let asked = way.asked.load(Ordering::SeqCst);
    engine.run("reports").await.unwrap().completed().unwrap();
    assert_eq!(way.asked.load(Ordering::SeqCst) - asked, 1, "nothing has changed: one request");
}

#[tokio::test]
async fn a_reader_that_the_master_has_forgotten_reads_everything_again_and_a_reconcile_finds_what_was_deleted() {
    let master = filled().await;
    let hub = Hub::new(master.clone(), clock());
    let sink = MemorySink::new();
    let way = (hub.clone(), Access::everything());
    let engine = copied(MasterSource::new("reports", way, &tables()), &sink);
    engine.run("reports").await.unwrap().completed().unwrap();
    // Everything up to here is forgotten, the delete with it.
    master.transaction(|host| host.delete("items", &Key::new(["old007"]))).await.unwrap();
    let mut settings = sync_core::two_way::HubSettings::default();
    (settings.keep, settings.forget) = (std::time::Duration::ZERO, std::time::Duration::ZERO);
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    hub.settings(settings).clean_up().await.unwrap();
    put(&master, "items", item("new", "A", "1", "quince", 3)).await;
    engine.run("reports").await.unwrap().completed().unwrap();
    assert_eq!(sink.rows("items").len(), 36);
    engine.run_with("reports", RunOptions::reconcile()).await.unwrap().completed().unwrap();
    assert_eq!(sink.rows("items").len(), 35);
    assert!(sink.rows("items").iter().all(|(key, _)| *key != Key::new(["old007"])));
}

#[tokio::test]
async fn a_master_that_does_not_take_the_token_is_named() {
    let shop = Shop::open().await;
    let way = Way::to(shop.router.clone()).await;
    let source = MasterSource::new("reports", way.master(SecretString::from("no.such.token".to_owned())), &tables());
    let error = source.check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(error.context().any(|(name, value)| (name, value) == ("source", "reports")), "{error}");
}
