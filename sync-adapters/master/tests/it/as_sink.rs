//! A master as a sink.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use secrecy::SecretString;
use sync_core::engine::{Engine, Pipeline, RunOptions};
use sync_core::memory::{MemoryReplica, MemorySink, MemorySource, MemoryStore};
use sync_core::model::Outcome;
use sync_core::sink::{Altered, Sink, SinkCapabilities, StoredRow, WriteReport, WriteUnit};
use sync_core::state::LetterQuery;
use sync_core::two_way::{Access, Found, Hub, Lookup, Master, Page, Pull, Push, Pushed, Replica as _, Table, Tables};
use sync_core::{Error, ErrorKind, Key, Result, StreamSpec, Value};
use sync_master::{HttpMaster, Limits, MasterSink, MasterSource, Routes};
use sync_testkit::sink::{conformance, durability, streams};

use crate::client::Way;
use crate::support::*;

/// The same, and nobody else writes there: then it can say what it stored, and compare before it writes.
#[derive(Debug)]
struct Alone(MasterSink);

#[async_trait]
impl Sink for Alone {
    fn name(&self) -> &str {
        self.0.name()
    }

    async fn apply(&self, unit: &WriteUnit<'_>) -> Result<WriteReport> {
        self.0.apply(unit).await
    }

    async fn prepare(&self, stream: &StreamSpec) -> Result<Altered> {
        self.0.prepare(stream).await
    }

    async fn stored(&self, stream: &StreamSpec, keys: &[Key]) -> Result<Vec<Option<StoredRow>>> {
        self.0.stored(stream, keys).await
    }

    fn capabilities(&self) -> SinkCapabilities {
        let mut capabilities = self.0.capabilities();
        capabilities.read_back = true;
        capabilities
    }
}

fn tables_of_the_suite() -> Tables {
    Tables::new(streams().into_iter().map(Table::new)).unwrap()
}

const MUST_HOLD: [&str; 8] = [
    "a_new_row_is_created",
    "fields_that_are_not_named_stay_as_they_are",
    "a_row_may_come_back_after_its_delete",
    "values_come_back_as_they_were",
    "a_unit_is_all_or_nothing",
    "a_dropped_unit_is_whole_or_nothing",
    "guards_agree_with_their_one_reading",
    "a_rehearsal_leaves_no_trace",
];

#[tokio::test]
async fn a_master_in_this_process_keeps_the_specification_of_a_sink() {
    let report = conformance(async |_| {
        let tables = tables_of_the_suite();
        let hub = Hub::new(MemoryReplica::new("master", tables.clone(), clock()), clock());
        Ok::<_, Error>(Alone(MasterSink::new("prices", (hub, Access::everything()), &tables, clock())))
    });
    report.await.assert_held(MUST_HOLD);
}

#[tokio::test]
async fn a_master_behind_http_keeps_the_specification_of_a_sink() {
    let tables = tables_of_the_suite();
    let open = async |hub: &Hub| {
        let way = Way::to(routes(hub).router().unwrap()).await;
        let http = HttpMaster::at(&way.url(), &tables, SecretString::from(token("A", "1"))).unwrap();
        Ok::<_, Error>(Alone(MasterSink::new("prices", http, &tables, clock())))
    };
    let hub = || Hub::new(MemoryReplica::new("master", tables.clone(), clock()), clock());
    conformance(async |_| open(&hub()).await).await.assert_held(MUST_HOLD);
    let lasting = hub();
    durability(async |_| open(&lasting).await).await.assert_held(["rows_survive_a_restart"]);
}

fn prices() -> StreamSpec {
    StreamSpec::new("items").text("id").key(["id"]).text("client_id").text("branch_id").int("stock")
}

fn price(source: &MemorySource, id: &str, client: &str, stock: i64) {
    source.upsert("items", [id.into(), client.into(), "1".into(), stock.into()]);
}

fn engine(source: &MemorySource, sink: MasterSink) -> Engine {
    let pipeline = Pipeline::new("prices", source.clone(), sink);
    Engine::builder(MemoryStore::new(clock())).pipeline(pipeline).build().unwrap()
}

#[tokio::test]
async fn a_run_writes_what_differs_and_leaves_columns_that_it_does_not_have() {
    let shop = Shop::open().await;
    let way = Way::to(shop.router.clone()).await;
    let source = MemorySource::of([prices()]);
    price(&source, "a1", "A", 12);
    price(&source, "new", "A", 7);
    let sink = MasterSink::new("prices", way.master(SecretString::from(token("A", "1"))), &tables(), clock());
    let engine = engine(&source, sink);
    let rehearsed = engine.run_with("prices", RunOptions::default().dry_run()).await.unwrap();
    assert_eq!(row(&shop.master, "items", "new"), None);
    let report = engine.run("prices").await.unwrap();
    let counted = |report: &sync_core::engine::Report| {
        [Outcome::Created, Outcome::Updated, Outcome::Unchanged].map(|outcome| report.ledger().outcomes.count(outcome))
    };
    assert_eq!((counted(&rehearsed), counted(&report)), ([1, 1, 0], [1, 1, 0]), "{report}");
    assert_eq!(row(&shop.master, "items", "a1").unwrap(), item("a1", "A", "1", "pear", 12));
    let new = row(&shop.master, "items", "new").unwrap();
    assert_eq!((&new[3], &new[4]), (&Value::Null, &7.into()));
    // Everything again: nothing differs.
    let head = shop.master.sequence().await.unwrap();
    let again = engine.run_with("prices", RunOptions::full()).await.unwrap();
    assert_eq!((counted(&again), shop.master.sequence().await.unwrap()), ([0, 0, 2], head), "{again}");
}

#[tokio::test]
async fn what_is_anothers_is_neither_seen_nor_written_and_goes_to_the_dead_letters() {
    let shop = Shop::open().await;
    let way = Way::to(shop.router.clone()).await;
    for (client, mine) in [("A", "m1"), ("B", "m2")] {
        let before = shop.rows().len();
        let theirs = row(&shop.master, "items", "b1");
        let source = MemorySource::of([prices()]);
        price(&source, "b1", client, 99);
        price(&source, mine, "A", 5);
        let sink = MasterSink::new("prices", way.master(SecretString::from(token("A", "1"))), &tables(), clock());
        let engine = engine(&source, sink);
        let report = engine.run("prices").await.unwrap();
        assert_eq!(
            [Outcome::Rejected, Outcome::Created].map(|it| report.ledger().outcomes.count(it)),
            [1, 1],
            "{report}"
        );
        let letters = engine.dead_letters(&LetterQuery::default()).await.unwrap();
        assert!(!format!("{report}{letters:?}").contains(CANARY), "{report}{letters:?}");
        assert_eq!((row(&shop.master, "items", "b1"), shop.rows().len()), (theirs, before + 1));
    }
}

#[tokio::test]
async fn a_unit_that_is_more_than_the_master_takes_goes_in_groups_that_it_does() {
    let mut limits = Limits::default();
    limits.body_bytes = 8000;
    let shop = Shop::with(|routes: Routes| routes.limits(limits)).await;
    let way = Way::to(shop.router.clone()).await;
    let source = MemorySource::of([prices()]).page(300);
    for n in 0..300 {
        price(&source, &format!("n{n:03}"), "A", n);
    }
    let sink = MasterSink::new("prices", way.master(SecretString::from(token("A", "1"))), &tables(), clock());
    engine(&source, sink).run("prices").await.unwrap().completed().unwrap();
    let there = shop.master.rows("items");
    assert_eq!(there.iter().filter(|(_, row)| row[0].to_string().contains('n')).count(), 300);
    shop.master.sequence().await.unwrap();
    let groups: std::collections::BTreeSet<u64> = shop.master.entries().iter().map(|entry| entry.group).collect();
    assert!(groups.len() > 10, "{}", groups.len());
}

/// A master whose answers to pushes are lost now and then, whether they were taken or not, and beside which somebody else writes.
#[derive(Debug, Clone)]
struct Shaky {
    way: (Hub, Access),
    master: MemoryReplica,
    pushed: Arc<AtomicUsize>,
}

#[async_trait]
impl Master for Shaky {
    async fn push(&self, push: &Push) -> Result<Pushed> {
        let lost = || Error::new(ErrorKind::Unavailable, "lost").ambiguous();
        match self.pushed.fetch_add(1, Ordering::SeqCst) % 4 {
            0 => Err(lost()),
            2 => {
                self.way.push(push).await?;
                // Sold in between.
                let mut sold = row(&self.master, "items", "a1").unwrap();
                sold[4] = match sold[4] {
                    Value::Int(stock) => (stock - 1).into(),
                    _ => panic!("no stock"),
                };
                put(&self.master, "items", sold).await;
                Err(lost())
            }
            _ => self.way.push(push).await,
        }
    }

    async fn pull(&self, pull: &Pull) -> Result<Page> {
        self.way.pull(pull).await
    }

    async fn look_up(&self, lookup: &Lookup) -> Result<Vec<Found>> {
        self.way.look_up(lookup).await
    }
}

#[tokio::test]
async fn a_counter_is_not_added_to_twice_where_an_answer_is_lost() {
    let master = replica("master");
    put(&master, "items", item("a1", "A", "1", "pear", 10)).await;
    let way = (Hub::new(master.clone(), clock()), Access::everything());
    let shaky = Shaky { way, master: master.clone(), pushed: Arc::default() };
    let source = MemorySource::of([prices()]);
    let engine = engine(&source, MasterSink::new("prices", shaky, &tables(), clock()));
    for delivered in [15, 40, 41, 55, 100] {
        price(&source, "a1", "A", delivered);
        let report = engine.run("prices").await.unwrap();
        let told = report.to_string();
        let stock = row(&master, "items", "a1").unwrap()[4].clone();
        // As the source says it, or less what was sold since; never more.
        assert!([delivered, delivered - 1].map(Value::from).contains(&stock), "{stock:?} of {delivered}\n{told}");
        report.completed().unwrap();
    }
}

#[tokio::test]
async fn a_stream_that_does_not_fit_the_table_is_refused_before_anything_is_read() {
    let items = || StreamSpec::new("items").text("id").key(["id"]);
    let streams = [
        (StreamSpec::new("nothing").key(["id"]), "no table of this name"),
        (items().text("colour"), "does not have this column"),
        (items().text("stock"), "another kind"),
        (items().text("grade"), "only the master writes"),
        (StreamSpec::new("items").text("name").key(["name"]), "another key"),
    ];
    let hub = Hub::new(replica("master"), clock());
    let sink = MasterSink::new("prices", (hub, Access::everything()), &tables(), clock());
    for (stream, what) in streams {
        let error = sink.prepare(&stream).await.unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[tokio::test]
async fn tables_that_are_not_the_masters_are_refused_by_their_names() {
    let master = replica("master");
    put(&master, "items", item("a1", "A", "1", "pear", 10)).await;
    let way = (Hub::new(master, clock()), Access::everything());
    let narrow = Tables::new([Table::new(prices())]).unwrap();
    let source = MemorySource::of([prices()]);
    price(&source, "a1", "A", 12);
    let into = engine(&source, MasterSink::new("prices", way.clone(), &narrow, clock()));
    let out = Pipeline::new("out", MasterSource::new("out", way, &narrow), MemorySink::new());
    let out = Engine::builder(MemoryStore::new(clock())).pipeline(out).build().unwrap();
    for report in [into.run("prices").await.unwrap(), out.run("out").await.unwrap()] {
        let error = report.completed().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains("other columns than this host declares"), "{error}");
    }
}
