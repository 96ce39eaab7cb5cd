//! A master as a sink, where things are not as they should be.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use sync_core::engine::{Engine, Pipeline, RunOptions};
use sync_core::memory::{MemoryReplica, MemorySource, MemoryStore};
use sync_core::model::Outcome;
use sync_core::two_way::{Access, Found, Hub, HubSettings, Lookup, Master, Page, Pull, Push, Pushed, Table, Tables};
use sync_core::{Clock, Error, ErrorKind, Key, Result, StreamSpec, Value};
use sync_master::{HttpMaster, Limits, MasterSink, Routes};
use tokio::sync::Notify;

use crate::client::Way;
use crate::support::*;

pub(crate) fn prices() -> StreamSpec {
    StreamSpec::new("items").text("id").key(["id"]).text("client_id").text("branch_id").text("name").int("stock")
}

pub(crate) fn price(source: &MemorySource, id: &str, name: &str, stock: i64) {
    source.upsert("items", [id.into(), "A".into(), "1".into(), name.into(), stock.into()]);
}

pub(crate) fn engine(source: &MemorySource, sink: MasterSink) -> Engine {
    let pipeline = Pipeline::new("prices", source.clone(), sink);
    Engine::builder(MemoryStore::new(clock())).pipeline(pipeline).build().unwrap()
}

#[tokio::test]
async fn a_row_that_waits_is_told_as_parked_and_neither_sent_again_nor_added_to_twice() {
    let master = replica("master").unique("items", &["name"]);
    put(&master, "items", item("a1", "A", "1", "pear", 10)).await;
    put(&master, "items", item("a2", "A", "1", "plum", 10)).await;
    let hub = Hub::new(master.clone(), clock());
    let way = Way::to(routes(&hub).router().unwrap()).await;
    let source = MemorySource::of([prices()]);
    price(&source, "a1", "plum", 12);
    for _ in 0..3 {
        // Another process each time.
        let sink = MasterSink::new("prices", way.master(SecretString::from(token("A", "1"))), &tables(), clock());
        let engine = engine(&source, sink);
        let report = engine.run_with("prices", RunOptions::full()).await.unwrap();
        assert_eq!(report.ledger().outcomes.count(Outcome::Parked), 1, "{report}");
        report.completed().unwrap();
        assert_eq!(hub.inbox(&Access::everything()).await.unwrap().len(), 1);
    }
    price(&source, "a1", "plum", 15);
    let sink = MasterSink::new("prices", way.master(SecretString::from(token("A", "1"))), &tables(), clock());
    let engine = engine(&source, sink);
    engine.run("prices").await.unwrap().completed().unwrap();
    assert_eq!(hub.inbox(&Access::everything()).await.unwrap().len(), 2);
    put(&master, "items", item("a2", "A", "1", "fig", 10)).await;
    price(&source, "a3", "quince", 1);
    engine.run("prices").await.unwrap().completed().unwrap();
    assert_eq!(row(&master, "items", "a1").unwrap(), item("a1", "A", "1", "plum", 15));
    assert_eq!(hub.inbox(&Access::everything()).await.unwrap(), []);
}

#[tokio::test]
async fn no_row_waits_for_what_is_wrong_with_another() {
    let master = replica("master").unique("items", &["name"]);
    put(&master, "items", item("a0", "A", "1", "n50", 10)).await;
    let hub = Hub::new(master.clone(), clock());
    let way = Way::to(routes(&hub).router().unwrap()).await;
    let source = MemorySource::of([prices()]);
    for n in 0..100 {
        price(&source, &format!("n{n:02}"), &format!("n{n}"), n);
    }
    let sink = MasterSink::new("prices", way.master(SecretString::from(token("A", "1"))), &tables(), clock());
    let report = engine(&source, sink).run("prices").await.unwrap();
    let told = [Outcome::Created, Outcome::Parked].map(|outcome| report.ledger().outcomes.count(outcome));
    assert_eq!((told, master.rows("items").len()), ([99, 1], 100), "{report}");
    let waiting = hub.inbox(&Access::everything()).await.unwrap();
    assert_eq!(waiting.iter().map(|waiting| waiting.group.edits.len()).collect::<Vec<_>>(), [1]);
    report.completed().unwrap();
}

#[tokio::test]
async fn what_a_sink_has_written_keeps_nothing_at_the_master_for_ever() {
    let master = replica("master");
    let mut settings = HubSettings::default();
    settings.keep = Duration::ZERO;
    let hub = Hub::new(master.clone(), clock()).settings(settings);
    let source = MemorySource::of([prices()]);
    for n in 0..10 {
        price(&source, &format!("n{n:02}"), &format!("n{n}"), n);
    }
    let sink = MasterSink::new("prices", (hub.clone(), Access::everything()), &tables(), clock());
    let engine = engine(&source, sink);
    engine.run("prices").await.unwrap().completed().unwrap();
    price(&source, "n01", "again", 1);
    engine.run("prices").await.unwrap().completed().unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let cleaned = hub.clean_up().await.unwrap();
    assert_eq!((cleaned.entries, cleaned.answers), (11, 11), "{cleaned:?}");
}

#[tokio::test]
async fn a_master_whose_pages_are_small_is_looked_up_in_as_many_requests_as_it_takes() {
    let mut limits = Limits::default();
    (limits.page_rows, limits.body_bytes) = (100, 1 << 20);
    let shop = Shop::with(|routes: Routes| routes.limits(limits)).await;
    let way = Way::to(shop.router.clone()).await;
    let source = MemorySource::of([prices()]).page(300);
    for n in 0..300 {
        price(&source, &format!("n{n:03}"), "pear", n);
    }
    let sink = MasterSink::new("prices", way.master(SecretString::from(token("A", "1"))), &tables(), clock());
    engine(&source, sink).run("prices").await.unwrap().completed().unwrap();
}

#[tokio::test]
async fn long_keys_are_looked_up_in_as_many_requests_as_it_takes() {
    let shop = Shop::open().await;
    let way = Way::to(shop.router.clone()).await;
    let source = MemorySource::of([prices()]).page(300);
    for n in 0..300 {
        price(&source, &format!("n{n:03}{}", "x".repeat(5000)), "pear", n);
    }
    let sink = MasterSink::new("prices", way.master(SecretString::from(token("A", "1"))), &tables(), clock());
    engine(&source, sink).run("prices").await.unwrap().completed().unwrap();
    assert_eq!(shop.master.rows("items").len(), 303);
}

#[tokio::test]
async fn a_row_that_is_larger_than_any_body_holds_up_no_other() {
    let mut limits = Limits::default();
    limits.body_bytes = 8000;
    let shop = Shop::with(|routes: Routes| routes.limits(limits)).await;
    let way = Way::to(shop.router.clone()).await;
    let source = MemorySource::of([prices()]);
    for n in 0..10 {
        price(&source, &format!("n{n}"), "pear", n);
    }
    price(&source, "n5", &"pear".repeat(3000), 5);
    let sink = MasterSink::new("prices", way.master(SecretString::from(token("A", "1"))), &tables(), clock());
    let report = engine(&source, sink).run("prices").await.unwrap();
    assert_eq!(report.ledger().outcomes.count(Outcome::Rejected), 1, "{report}");
    assert_eq!(shop.master.rows("items").len(), 12);
}

/// A clock that is late.
#[derive(Debug)]
struct Late(Arc<dyn Clock>);

#[async_trait]
impl Clock for Late {
    fn now(&self) -> chrono::DateTime<chrono::Utc> {
        self.0.now() - chrono::TimeDelta::minutes(5)
    }
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
    async fn sleep(&self, pause: Duration) {
        self.0.sleep(pause).await;
    }
    fn random(&self) -> u64 {
        self.0.random()
    }
}

#[tokio::test]
async fn a_row_that_was_deleted_is_made_anew_by_a_sink_whose_clock_is_late() {
    let master = replica("master");
    put(&master, "items", item("a1", "A", "1", "pear", 10)).await;
    let way = (Hub::new(master.clone(), clock()), Access::everything());
    master.transaction(|host| host.delete("items", &Key::new(["a1"]))).await.unwrap();
    let source = MemorySource::of([prices()]);
    price(&source, "a1", "plum", 12);
    let sink = MasterSink::new("prices", way, &tables(), Arc::new(Late(clock())));
    let report = engine(&source, sink).run("prices").await.unwrap();
    assert!(row(&master, "items", "a1").is_some(), "{report}");
}

#[tokio::test]
async fn rows_without_a_key_hold_up_no_other() {
    let shop = Shop::open().await;
    let way = Way::to(shop.router.clone()).await;
    let source = MemorySource::of([prices()]);
    price(&source, "n0", "pear", 0);
    source.upsert("items", [Value::Null, "A".into(), "1".into(), "x".into(), 1.into()]);
    let sink = MasterSink::new("prices", way.master(SecretString::from(token("A", "1"))), &tables(), clock());
    let report = engine(&source, sink).run("prices").await.unwrap();
    assert_eq!(report.ledger().outcomes.count(Outcome::Rejected), 1, "{report}");
    assert!(row(&shop.master, "items", "n0").is_some());
}

/// A way on which the first answer to a push is lost, and the token is another branch's since.
#[derive(Debug)]
struct Moved {
    one: HttpMaster,
    other: HttpMaster,
    pushed: AtomicUsize,
}

impl Moved {
    fn way(&self) -> &HttpMaster {
        if self.pushed.load(Ordering::SeqCst) == 0 { &self.one } else { &self.other }
    }
}

#[async_trait]
impl Master for Moved {
    async fn push(&self, push: &Push) -> Result<Pushed> {
        let pushed = self.way().push(push).await?;
        if self.pushed.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err(Error::new(ErrorKind::Unavailable, "lost").ambiguous());
        }
        Ok(pushed)
    }

    async fn pull(&self, pull: &Pull) -> Result<Page> {
        self.way().pull(pull).await
    }

    async fn look_up(&self, lookup: &Lookup) -> Result<Vec<Found>> {
        self.way().look_up(lookup).await
    }
}

/// A way on which the first push is late: it arrives once somebody else has looked rows up.
#[derive(Debug)]
struct Belated<M> {
    way: M,
    late: LatePush,
}

#[derive(Debug, Clone, Default)]
struct LatePush {
    behind: Arc<Mutex<Option<Push>>>,
    sent: Arc<Notify>,
    came: Arc<AtomicBool>,
    refused: Arc<Mutex<Option<Error>>>,
}

#[async_trait]
impl<M: Master> Master for Belated<M> {
    async fn push(&self, push: &Push) -> Result<Pushed> {
        if self.late.came.load(Ordering::SeqCst) {
            return self.way.push(push).await;
        }
        *self.late.behind.lock().unwrap() = Some(push.clone());
        self.late.sent.notify_one();
        std::future::pending().await
    }

    async fn pull(&self, pull: &Pull) -> Result<Page> {
        self.way.pull(pull).await
    }

    async fn look_up(&self, lookup: &Lookup) -> Result<Vec<Found>> {
        let found = self.way.look_up(lookup).await;
        let late = self.late.behind.lock().unwrap().take();
        if let Some(push) = late {
            *self.late.refused.lock().unwrap() = self.way.push(&push).await.err();
            self.late.came.store(true, Ordering::SeqCst);
        }
        found
    }
}

async fn killed_while_it_pushes<M: Master + 'static>(master: &MemoryReplica, way: impl Fn() -> M) {
    let source = MemorySource::of([prices()]);
    price(&source, "a1", "pear", 15);
    let late = LatePush::default();
    let process = || {
        let way = Belated { way: way(), late: late.clone() };
        engine(&source, MasterSink::new("prices", way, &tables(), clock()))
    };
    let killed = process();
    tokio::select! {
        report = killed.run("prices") => panic!("{report:?}"),
        () = late.sent.notified() => drop(killed),
    }
    let report = process().run("prices").await.unwrap();
    assert_eq!(row(master, "items", "a1").unwrap(), item("a1", "A", "1", "pear", 15), "{report}");
    report.completed().unwrap();
    let refused = late.refused.lock().unwrap().take().unwrap();
    assert!(refused.to_string().contains("another process"), "{refused}");
}

#[tokio::test]
async fn a_push_of_a_process_that_was_killed_adds_nothing_once_the_next_has_begun() {
    let master = replica("master");
    put(&master, "items", item("a1", "A", "1", "pear", 10)).await;
    killed_while_it_pushes(&master, || (Hub::new(master.clone(), clock()), Access::everything())).await;
}

#[tokio::test]
async fn a_push_of_a_process_that_was_killed_adds_nothing_over_http_either() {
    let master = replica("master");
    put(&master, "items", item("a1", "A", "1", "pear", 10)).await;
    let way = Way::to(routes(&Hub::new(master.clone(), clock())).router().unwrap()).await;
    killed_while_it_pushes(&master, || way.master(SecretString::from(token("A", "1")))).await;
}

#[tokio::test]
async fn a_counter_is_not_added_to_twice_where_the_token_becomes_another_branchs() {
    let counts = || StreamSpec::new("counts").text("id").key(["id"]).text("client_id").int("stock");
    let tables = || Tables::new([Table::new(counts()).scoped_by(["client_id"]).counters(["stock"])]).unwrap();
    let master = MemoryReplica::new("master", tables(), clock());
    put(&master, "counts", vec!["a1".into(), "A".into(), 10.into()]).await;
    let hub = Hub::new(master.clone(), clock());
    let way = Way::to(routes(&hub).router().unwrap()).await;
    let http = |branch: &str| HttpMaster::at(&way.url(), &tables(), SecretString::from(token("A", branch))).unwrap();
    let moved = Moved { one: http("1"), other: http("2"), pushed: AtomicUsize::new(0) };
    let source = MemorySource::of([counts()]);
    source.upsert("counts", ["a1".into(), "A".into(), 15.into()]);
    let engine = engine(&source, MasterSink::new("prices", moved, &tables(), clock()));
    let report = engine.run("prices").await.unwrap();
    let added: Vec<Value> =
        master.entries().iter().filter_map(|entry| entry.after.clone()).map(|row| row[2].clone()).collect();
    assert_eq!(added, [10.into(), 15.into()], "{report}");
}
