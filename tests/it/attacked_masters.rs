//! Pipelines into masters on real databases, whose processes and servers die, and whose pushes come late, twice or not at all,
//! while tills and hosts write the same rows: the source's ledger says what may stand there.
//!
//! `ATTACKS` says how many seeds, `ATTACKS_FROM` from which on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::{Connection as _, Executor as _};
use sync_core::engine::{Engine, Pipeline, Report, RunOptions};
use sync_core::memory::{Feeding, MemoryReplica, MemorySource, MemoryStore};
use sync_core::model::Outcome;
use sync_core::retry::RetryPolicy;
use sync_core::state::RunStatus;
use sync_core::two_way::{
    Access, Branch, Entry, Flaw, Found, Hub, HubSettings, Lookup, Master, Page, Pull, Push, Pushed, Replica, Table,
    Tables,
};
use sync_core::{Clock, Error, ErrorKind, Key, Result, StreamSpec, SystemClock, Value};
use sync_master::{HttpMaster, MasterSink, MasterSource, Routes};
use sync_sql::{MySql, MySqlReplica, Postgres, PostgresReplica, SqliteReplica};
use sync_test_servers::{Database, Durability, MariaDbServer, PostgresServer};
use sync_testkit::Random;
use sync_tests::selling::login::{Login, cursor_key, keys};
use sync_tests::selling::shop::CLIENT;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const DDL: &str =
    "CREATE TABLE products (id varchar(40) PRIMARY KEY, client_id varchar(40), name varchar(40), stock bigint)";

/// Rows that tills and hosts touch as well; the others are now and then deleted by the source.
const TOUCHED: usize = 40;
const ROWS: usize = 60;

/// More than tills and hosts move.
const FAR: i64 = 100_000_000;

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

fn products() -> StreamSpec {
    StreamSpec::new("products").text("id").key(["id"]).text("client_id").text("name").int("stock")
}

fn tables() -> Tables {
    Tables::new([Table::new(products()).counters(["stock"]).scoped_by(["client_id"])]).unwrap()
}

fn product(id: &str, name: &str, stock: i64) -> Vec<Value> {
    vec![id.into(), CLIENT.into(), name.into(), stock.into()]
}

fn id(n: usize) -> String {
    format!("n{n:03}")
}

fn number(row: &[Value]) -> Option<usize> {
    match &row[0] {
        Value::Text(id) => id.strip_prefix('n')?.parse().ok(),
        _ => None,
    }
}

fn stock(row: &[Value]) -> i64 {
    match row[3] {
        Value::Int(stock) => stock,
        _ => panic!("no stock"),
    }
}

fn told(report: &Report) -> String {
    format!("{report} {:?}", report.scopes.iter().map(|scope| &scope.error).collect::<Vec<_>>())
}

/// A master, its database, and whatever keeps it alive.
#[derive(Clone)]
struct Office {
    hub: Hub,
    replica: Arc<dyn Replica>,
}

enum At {
    Sqlite(tempfile::TempDir),
    Postgres(Database, Option<PostgresServer>),
    MariaDb(Database, Option<MariaDbServer>),
}

/// `ATTACKS_FLAW=no-idempotency` plants a flaw that must be found.
fn hub<R: Replica + Clone + 'static>(replica: R) -> (Hub, Arc<dyn Replica>) {
    let hub = Hub::new(replica.clone(), clock());
    let hub = match std::env::var("ATTACKS_FLAW").as_deref() {
        Ok("no-idempotency") => hub.plant(Flaw::NoIdempotency),
        _ => hub,
    };
    (hub, Arc::new(replica))
}

impl At {
    async fn open(&self) -> Office {
        let (hub, replica) = match self {
            Self::Sqlite(folder) => {
                hub(SqliteReplica::open(folder.path().join("m.db"), "master", tables(), clock()).await.unwrap())
            }
            Self::Postgres(it, _) => hub(PostgresReplica::open(&it.url(), "master", tables(), clock()).await.unwrap()),
            Self::MariaDb(it, _) => hub(MySqlReplica::open(&it.url(), "master", tables(), clock()).await.unwrap()),
        };
        Office { hub, replica }
    }

    async fn sqlite() -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        rusqlite::Connection::open(folder.path().join("m.db")).unwrap().execute_batch(DDL).unwrap();
        Arc::new(Self::Sqlite(folder))
    }

    async fn postgres(killed: bool) -> Arc<Self> {
        let (database, server) = if killed {
            let server = PostgresServer::start(Durability::Full).await.unwrap();
            (server.database().await.unwrap(), Some(server))
        } else {
            (sync_test_servers::postgres().await.unwrap(), None)
        };
        database.client(DDL).await.unwrap();
        Arc::new(Self::Postgres(database, server))
    }

    async fn mariadb(killed: bool) -> Arc<Self> {
        let (database, server) = if killed {
            let server = MariaDbServer::start(Durability::Full).await.unwrap();
            (server.database().await.unwrap(), Some(server))
        } else {
            (sync_test_servers::mariadb().await.unwrap(), None)
        };
        database.client(&format!("{DDL} COLLATE utf8mb4_nopad_bin")).await.unwrap();
        Arc::new(Self::MariaDb(database, server))
    }

    async fn kill_and_restart(&self, down: Duration) {
        match self {
            Self::Postgres(_, Some(server)) => {
                server.kill().await.unwrap();
                tokio::time::sleep(down).await;
                server.restart().await.unwrap();
            }
            Self::MariaDb(_, Some(server)) => {
                server.kill().await.unwrap();
                tokio::time::sleep(down).await;
                server.restart().await.unwrap();
            }
            _ => panic!("nobody may kill it"),
        }
    }

    /// A plain connection of a host, which says whether it is known that the statement had its effect.
    async fn host(&self, sql: &str) -> Option<()> {
        match self {
            Self::Sqlite(folder) => {
                let (file, sql) = (folder.path().join("m.db"), sql.to_owned());
                tokio::task::spawn_blocking(move || {
                    let host = rusqlite::Connection::open(file).ok()?;
                    host.busy_timeout(Duration::from_secs(20)).ok()?;
                    host.execute_batch(&sql).ok()
                })
                .await
                .unwrap()
            }
            Self::Postgres(it, _) => {
                let mut host = sqlx::PgConnection::connect(&it.url()).await.ok()?;
                host.execute(sqlx::AssertSqlSafe(sql.to_owned())).await.ok().map(drop)
            }
            Self::MariaDb(it, _) => {
                let mut host = sqlx::MySqlConnection::connect(&it.url()).await.ok()?;
                host.execute(sqlx::AssertSqlSafe(sql.to_owned())).await.ok().map(drop)
            }
        }
    }
}

impl Office {
    fn direct(&self) -> (Hub, Access) {
        (self.hub.clone(), Access::everything())
    }

    async fn entries(&self) -> Vec<Entry> {
        self.replica.sequence().await.unwrap();
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let page = self.replica.look().await.unwrap().feed(after, 500).await.unwrap();
            let Some(last) = page.last() else { return all };
            after = last.seq;
            all.extend(page);
        }
    }

    async fn rows(&self) -> BTreeMap<usize, Vec<Value>> {
        let mut look = self.replica.look().await.unwrap();
        let rows = look.scan(tables().get("products").unwrap(), None, 10_000).await.unwrap();
        rows.into_iter().map(|(_, _, row)| (number(&row).unwrap(), row)).collect()
    }

    /// Over HTTP, through a line that may lose the half of an answer.
    async fn http(&self, cuts: Arc<AtomicU64>) -> HttpMaster {
        let routes = Routes::new(self.hub.clone(), keys().unwrap(), cursor_key().unwrap());
        let router = routes.per_minute(NonZeroU32::MAX).strangers_per_minute(NonZeroU32::MAX).router().unwrap();
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = server.local_addr().unwrap();
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(server, service).await });
        let line = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = line.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut many = 0;
            while let Ok((near, _)) = line.accept().await {
                many += 1;
                tokio::spawn(carry(near, to, Arc::clone(&cuts), many));
            }
        });
        HttpMaster::at(&format!("http://127.0.0.1:{port}"), &tables(), Login(1)).unwrap()
    }
}

async fn carry(near: TcpStream, to: SocketAddr, cuts: Arc<AtomicU64>, seed: u64) {
    let Ok(far) = TcpStream::connect(to).await else { return };
    let ((mut near_read, mut near_write), (mut far_read, mut far_write)) = (near.into_split(), far.into_split());
    let mut random = Random::new(seed * 7919);
    let there = tokio::spawn(async move { tokio::io::copy(&mut near_read, &mut far_write).await });
    let mut piece = vec![0; 1 << 20];
    while let Ok(length @ 1..) = far_read.read(&mut piece).await {
        if random.below(100) < cuts.load(Ordering::SeqCst) {
            let _ = near_write.write_all(&piece[..random.below(length as u64) as usize]).await;
            break;
        }
        if near_write.write_all(&piece[..length]).await.is_err() {
            break;
        }
    }
    there.abort();
}

/// A way on which everything takes its time, pushes come late, twice or without an answer.
#[derive(Debug, Clone)]
struct Slow<M> {
    way: M,
    seed: Arc<AtomicU64>,
    loses: Arc<AtomicU64>,
}

impl<M> Slow<M> {
    fn random(&self) -> Random {
        Random::new(self.seed.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    async fn pause(&self, most: u64) {
        tokio::time::sleep(Duration::from_micros(self.random().below(most))).await;
    }
}

#[async_trait]
impl<M: Master + Clone + 'static> Master for Slow<M> {
    async fn push(&self, push: &Push) -> Result<Pushed> {
        let (mut random, loses) = (self.random(), self.loses.load(Ordering::SeqCst));
        let (late, together, lost) = (random.below(100) < loses, random.below(100) < loses, random.below(100) < loses);
        let (way, push) = (self.clone(), push.clone());
        if late {
            let (way, push) = (way.clone(), push.clone());
            tokio::spawn(async move {
                way.pause(120_000).await;
                way.way.push(&push).await
            });
        }
        if together {
            let (way, push) = (way.clone(), push.clone());
            tokio::spawn(async move { way.way.push(&push).await });
        }
        // Whoever asked may be gone by then; and some are gone with it.
        let survives = random.chance(0.5);
        let taken = if survives {
            tokio::spawn(async move {
                way.pause(8_000).await;
                way.way.push(&push).await
            })
            .await
            .unwrap()
        } else {
            way.way.push(&push).await
        };
        self.pause(3_000).await;
        if lost { Err(Error::new(ErrorKind::Unavailable, "lost").ambiguous()) } else { taken }
    }

    async fn pull(&self, pull: &Pull) -> Result<Page> {
        let (way, pull) = (self.clone(), pull.clone());
        if self.random().below(100) < self.loses.load(Ordering::SeqCst) {
            let (way, pull) = (way.clone(), pull.clone());
            tokio::spawn(async move {
                way.pause(120_000).await;
                way.way.pull(&pull).await
            });
        }
        way.pause(4_000).await;
        way.way.pull(&pull).await
    }

    async fn look_up(&self, lookup: &Lookup) -> Result<Vec<Found>> {
        self.pause(3_000).await;
        self.way.look_up(lookup).await
    }
}

/// What the source has told, and what it tells now.
struct Ledger {
    source: MemorySource,
    random: Random,
    was: Vec<BTreeSet<i64>>,
    now: BTreeMap<usize, (String, i64)>,
    told: u64,
}

impl Ledger {
    fn new(seed: u64) -> Self {
        let source = MemorySource::of([products()]).page(20).feeding(Feeding::Log);
        Self { source, random: Random::new(seed), was: vec![BTreeSet::new(); ROWS], now: BTreeMap::new(), told: 0 }
    }

    fn change(&mut self) {
        for n in 0..ROWS {
            if !self.now.contains_key(&n) || self.random.chance(0.4) {
                let stock = self.random.below(1 << 50) as i64;
                self.told += 1;
                let name = format!("told {}", self.told);
                self.source.upsert("products", product(&id(n), &name, stock));
                self.was[n].insert(stock);
                self.now.insert(n, (name, stock));
            }
        }
    }

    fn delete(&mut self) {
        for n in TOUCHED..ROWS {
            if self.random.chance(0.2) {
                self.source.delete("products", &Key::new([id(n).as_str()]));
                self.now.remove(&n);
            }
        }
    }

    /// Whatever the sink has written is what was told, but for what tills and hosts have moved meanwhile: that is little, and what is
    /// told is far apart. And no write of it stands twice.
    fn assert_true(&self, entries: &[Entry], what: &str) {
        let mut numbers = BTreeSet::new();
        for entry in entries.iter().filter(|entry| entry.stamp.origin.starts_with("prices")) {
            let row = entry.after.as_ref().or(entry.before.as_ref()).unwrap();
            let n = number(row).unwrap();
            let is_new = numbers.insert((entry.stamp.origin.to_string(), entry.stamp.op));
            assert!(is_new, "{what}: {} {} stands twice", entry.stamp.origin, entry.stamp.op);
            let Some(after) = &entry.after else { continue };
            let is_near = self.was[n].range(stock(after) - FAR..=stock(after) + FAR).next().is_some();
            assert!(is_near, "{what}: {n} became {}, which nobody told: {entry:?} {:?}", stock(after), self.was[n]);
        }
    }

    async fn assert_there(&self, office: &Office, what: &str) {
        let there: BTreeMap<usize, (String, i64)> = office
            .rows()
            .await
            .into_iter()
            .map(|(n, row)| (n, (row[2].to_string().trim_matches('"').to_owned(), stock(&row))))
            .collect();
        assert_eq!(there, self.now, "{what}");
    }
}

/// A till that sells a few of what it has, and now and then syncs.
async fn till(number: usize, way: (Hub, Access), seed: u64, ends: Arc<AtomicBool>) -> BTreeMap<usize, i64> {
    let till = MemoryReplica::new(format!("till-{number}"), tables(), clock());
    let branch = Branch::new(till.clone(), way, clock());
    let (mut random, mut sold) = (Random::new(seed), BTreeMap::new());
    loop {
        let rests = ends.load(Ordering::SeqCst);
        for _ in 0..if rests { 0 } else { random.below(5) } {
            let (n, many) = (random.below(TOUCHED as u64) as usize, 1 + random.below(3) as i64);
            let Some((_, mut row)) = till.rows("products").into_iter().find(|(_, row)| self::number(row) == Some(n))
            else {
                continue;
            };
            row[3] = (stock(&row) - many).into();
            till.transaction(|host| host.put("products", row)).await.unwrap();
            *sold.entry(n).or_default() += many;
        }
        let synced = branch.sync().await;
        if rests && synced.is_ok() {
            // What an earlier sync left behind.
            for _ in 0..200 {
                if branch.sync().await.is_ok() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            return sold;
        }
        tokio::time::sleep(Duration::from_millis(random.below(60))).await;
    }
}

/// A host that moves stock and names with plain SQL.
async fn host(at: Arc<At>, seed: u64, ends: Arc<AtomicBool>) -> Option<BTreeMap<usize, i64>> {
    let (mut random, mut moved, mut sure) = (Random::new(seed), BTreeMap::new(), true);
    while !ends.load(Ordering::SeqCst) {
        let n = random.below(TOUCHED as u64) as usize;
        let many = 1000 * (1 + random.below(9) as i64);
        let sql = match random.below(3) {
            0 => format!("UPDATE products SET name = 'host {}' WHERE id = '{}'", random.below(1000), id(n)),
            _ => {
                *moved.entry(n).or_default() += many;
                format!("UPDATE products SET stock = stock + {many} WHERE id = '{}'", id(n))
            }
        };
        sure &= at.host(&sql).await.is_some();
        tokio::time::sleep(Duration::from_millis(random.below(40))).await;
    }
    sure.then_some(moved)
}

fn policy(attempts: u32) -> RetryPolicy {
    RetryPolicy::new().base(Duration::from_millis(20)).cap(Duration::from_millis(200)).attempts(attempts)
}

fn engine(ledger: &Ledger, sink: MasterSink, attempts: u32) -> Engine {
    Engine::builder(MemoryStore::new(clock()))
        .retry(policy(attempts))
        .pipeline(Pipeline::new("prices", ledger.source.clone(), sink))
        .build()
        .unwrap()
}

/// Whether the next run may do better.
fn is_of_the_way(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Conflict)
}

struct Plan {
    seed: u64,
    lives: u64,
    loses: u64,
    kills_server: bool,
    over_http: bool,
    others: bool,
    /// What everybody has heard is forgotten at once.
    cleans: bool,
    /// Two processes write under one name.
    twins: bool,
}

fn counts(report: &Report) -> u64 {
    let count = |outcome| report.ledger().outcomes.count(outcome);
    count(Outcome::Created) + count(Outcome::Updated) + count(Outcome::Deleted)
}

async fn attacked(at: Arc<At>, plan: Plan) {
    let Plan { seed, lives, loses, kills_server, over_http, others, cleans, twins } = plan;
    let what = format!("seed {seed}");
    let mut office = at.open().await;
    if cleans {
        let mut settings = HubSettings::default();
        settings.keep = Duration::ZERO;
        office.hub = office.hub.settings(settings);
    }
    let (mut ledger, mut random) = (Ledger::new(seed), Random::new(seed));
    let (seeds, chaos, ends) =
        (Arc::new(AtomicU64::new(seed * 1_000_000)), Arc::new(AtomicU64::new(loses)), Arc::new(AtomicBool::new(false)));
    ledger.change();
    // Everything is there once, before anybody sells it.
    let first = engine(&ledger, MasterSink::new("prices", office.direct(), &tables(), clock()), 8);
    first.run("prices").await.unwrap().completed().unwrap();
    let (tills, hosts) = if others {
        let tills: Vec<_> =
            (1..=2).map(|n| tokio::spawn(till(n, office.direct(), seed * 10 + n as u64, Arc::clone(&ends)))).collect();
        (tills, vec![tokio::spawn(host(Arc::clone(&at), seed * 10, Arc::clone(&ends)))])
    } else {
        (Vec::new(), Vec::new())
    };
    let killer = kills_server.then(|| {
        let (at, ends) = (Arc::clone(&at), Arc::clone(&ends));
        tokio::spawn(async move {
            let (mut random, mut kills) = (Random::new(seed + 77), 0);
            while !ends.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(300 + random.below(3500))).await;
                at.kill_and_restart(Duration::from_millis(random.below(300))).await;
                kills += 1;
            }
            kills
        })
    });
    let cleaner = cleans.then(|| {
        let (hub, ends) = (office.hub.clone(), Arc::clone(&ends));
        tokio::spawn(async move {
            let mut answers = 0;
            while !ends.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(15)).await;
                answers += hub.clean_up().await.map_or(0, |cleaned| cleaned.answers);
            }
            answers
        })
    });
    let cuts = Arc::new(AtomicU64::new(if over_http { loses / 3 } else { 0 }));
    let http = if over_http { Some(office.http(Arc::clone(&cuts)).await) } else { None };
    let sink = || {
        let slow = |way| Slow { way, seed: Arc::clone(&seeds), loses: Arc::clone(&chaos) };
        match &http {
            Some(http) => {
                let way = Slow { way: http.clone(), seed: Arc::clone(&seeds), loses: Arc::clone(&chaos) };
                MasterSink::new("prices", way, &tables(), clock()).group_rows(7)
            }
            None => MasterSink::new("prices", slow(office.direct()), &tables(), clock()).group_rows(7),
        }
    };
    let (mut killed, mut failed, mut completed) = (0, 0, 0);
    for life in 0..lives {
        let (engine, many) = (engine(&ledger, sink(), 12), 1 + random.below(3));
        ledger.change();
        let kills = random.chance(0.7) && life + 1 < lives;
        for round in 0..many {
            let running = engine.clone();
            let run = tokio::spawn(async move { running.run("prices").await });
            let twin = twins.then(|| {
                let twin = self::engine(&ledger, sink(), 12);
                tokio::spawn(async move { twin.run_with("prices", RunOptions::full()).await })
            });
            if kills && round + 1 == many {
                tokio::time::sleep(Duration::from_millis(random.below(if kills_server { 600 } else { 150 }))).await;
                run.abort();
                killed += 1;
                break;
            }
            let report = run.await.unwrap().unwrap();
            if let Some(twin) = twin {
                let _ = twin.await;
            }
            assert!(report.ledger().balances(), "{what}: {}", told(&report));
            match report.status {
                RunStatus::Completed => completed += 1,
                _ if report.scopes.iter().all(|it| it.error.as_ref().is_none_or(is_of_the_way)) => failed += 1,
                _ => panic!("{what}: {}", told(&report)),
            }
            if random.chance(0.5) {
                ledger.delete();
            }
            ledger.change();
        }
    }
    ends.store(true, Ordering::SeqCst);
    let kills: u32 = match killer {
        Some(killer) => killer.await.unwrap(),
        None => 0,
    };
    let mut sold: Vec<BTreeMap<usize, i64>> = Vec::new();
    for till in tills {
        sold.push(till.await.unwrap());
    }
    let mut moved = None;
    for host in hosts {
        moved = host.await.unwrap();
    }
    let cleaned: u64 = match cleaner {
        Some(cleaner) => cleaner.await.unwrap(),
        None => 0,
    };
    // What is late comes.
    tokio::time::sleep(Duration::from_millis(200)).await;
    chaos.store(0, Ordering::SeqCst);
    cuts.store(0, Ordering::SeqCst);
    let before = office.entries().await.len();
    let last = engine(&ledger, sink(), 8);
    // What was deleted before this life began is unknown to it.
    ledger.change();
    let report = last.run("prices").await.unwrap();
    assert_eq!(report.status, RunStatus::Completed, "{what}: {}", told(&report));
    ledger.delete();
    let deleted = last.run("prices").await.unwrap();
    assert_eq!(deleted.status, RunStatus::Completed, "{what}: {}", told(&deleted));
    let entries = office.entries().await;
    let new = (entries.len() - before) as u64;
    assert_eq!(counts(&report) + counts(&deleted), new, "{what}: {} {}", told(&report), told(&deleted));
    ledger.assert_there(&office, &what).await;
    ledger.assert_true(&entries, &what);
    let again = last.run_with("prices", RunOptions::full()).await.unwrap();
    assert_eq!(counts(&again), 0, "{what}: {}", told(&again));
    let mut by_till: Vec<BTreeMap<usize, i64>> = vec![BTreeMap::new(); sold.len()];
    let mut by_host: BTreeMap<usize, i64> = BTreeMap::new();
    for entry in &entries {
        let (Some(before), Some(after)) = (&entry.before, &entry.after) else { continue };
        let (n, delta) = (number(after).unwrap(), stock(after) - stock(before));
        if delta == 0 {
            continue;
        }
        if let Some(till) = entry.stamp.origin.strip_prefix("till-") {
            let till: usize = till.split('#').next().unwrap().parse().unwrap();
            *by_till[till - 1].entry(n).or_default() -= delta;
        } else if &*entry.stamp.origin == "master" {
            *by_host.entry(n).or_default() += delta;
        }
    }
    if cleans {
        println!(
            "{what}: {cleaned} answers forgotten, {killed} processes killed, {failed} runs failed, {completed} completed"
        );
        return;
    }
    assert_eq!(by_till, sold, "{what}: what tills have sold");
    if let Some(moved) = moved {
        assert_eq!(by_host, moved, "{what}: what the host has moved");
    }
    println!(
        "{what}: {killed} processes killed, {kills} servers, {failed} runs failed, {completed} completed, {} entries",
        entries.len()
    );
}

fn plan(seed: u64) -> Plan {
    Plan {
        seed,
        lives: 12,
        loses: 15,
        kills_server: false,
        over_http: false,
        others: true,
        cleans: false,
        twins: false,
    }
}

fn seeds() -> std::ops::RangeInclusive<u64> {
    let many = std::env::var("ATTACKS").ok().and_then(|many| many.parse().ok()).unwrap_or(1);
    let from = std::env::var("ATTACKS_FROM").ok().and_then(|from| from.parse().ok()).unwrap_or(1);
    from..=from + many - 1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_into_a_master_on_sqlite_loses_and_doubles_nothing() {
    for seed in seeds() {
        attacked(At::sqlite().await, plan(seed)).await;
        attacked(At::sqlite().await, Plan { over_http: true, ..plan(seed + 1000) }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_into_a_master_on_postgresql_loses_and_doubles_nothing() {
    for seed in seeds() {
        attacked(At::postgres(false).await, plan(seed)).await;
        attacked(At::postgres(false).await, Plan { over_http: true, ..plan(seed + 1000) }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_into_a_master_on_mariadb_loses_and_doubles_nothing() {
    for seed in seeds() {
        attacked(At::mariadb(false).await, plan(seed)).await;
        attacked(At::mariadb(false).await, Plan { over_http: true, ..plan(seed + 1000) }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_into_a_master_whose_postgresql_is_killed_loses_and_doubles_nothing() {
    for seed in seeds() {
        attacked(At::postgres(true).await, Plan { kills_server: true, lives: 8, ..plan(seed) }).await;
        let http = Plan { kills_server: true, lives: 8, over_http: true, ..plan(seed + 1000) };
        attacked(At::postgres(true).await, http).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_into_a_master_whose_mariadb_is_killed_loses_and_doubles_nothing() {
    for seed in seeds() {
        attacked(At::mariadb(true).await, Plan { kills_server: true, lives: 8, ..plan(seed) }).await;
        let http = Plan { kills_server: true, lives: 8, over_http: true, ..plan(seed + 1000) };
        attacked(At::mariadb(true).await, http).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_into_a_master_that_forgets_soon_loses_and_doubles_nothing() {
    for seed in seeds() {
        attacked(At::sqlite().await, Plan { cleans: true, ..plan(seed) }).await;
        attacked(At::postgres(false).await, Plan { cleans: true, over_http: true, ..plan(seed) }).await;
        attacked(At::mariadb(false).await, Plan { cleans: true, ..plan(seed) }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pipelines_under_one_name_into_a_master_lose_and_double_nothing() {
    for seed in seeds() {
        attacked(At::sqlite().await, Plan { twins: true, lives: 6, ..plan(seed) }).await;
        attacked(At::postgres(false).await, Plan { twins: true, lives: 6, ..plan(seed) }).await;
        attacked(At::mariadb(false).await, Plan { twins: true, lives: 6, over_http: true, ..plan(seed) }).await;
    }
}

/// What a target has, by plain SQL.
async fn shown(database: &Database) -> String {
    database.client("SELECT id, client_id, name, stock FROM products ORDER BY id").await.unwrap().trim().to_owned()
}

async fn shown_at(office: &Office) -> String {
    let text = |value: &Value| value.to_string().trim_matches('"').to_owned();
    let rows = office.rows().await;
    rows.values().map(|row| row.iter().map(text).collect::<Vec<_>>().join("\t")).collect::<Vec<_>>().join("\n")
}

async fn read_out(at: Arc<At>, seed: u64) {
    let what = format!("seed {seed}");
    let (postgres, mariadb) =
        (sync_test_servers::postgres().await.unwrap(), sync_test_servers::mariadb().await.unwrap());
    let office = at.open().await;
    let ends = Arc::new(AtomicBool::new(false));
    for n in 0..ROWS {
        let sql = format!("INSERT INTO products VALUES ('{}', '{CLIENT}', 'first', {})", id(n), 1_000_000);
        at.host(&sql).await.unwrap();
    }
    let writer = {
        let (at, ends) = (Arc::clone(&at), Arc::clone(&ends));
        tokio::spawn(async move {
            let mut random = Random::new(seed);
            while !ends.load(Ordering::SeqCst) {
                let n = TOUCHED + random.below((ROWS - TOUCHED) as u64) as usize;
                let sql = match random.below(4) {
                    0 => format!("DELETE FROM products WHERE id = '{}'", id(n)),
                    1 | 2 => format!(
                        "INSERT INTO products SELECT '{0}', '{CLIENT}', 'again {1}', 7 FROM (SELECT 1) AS one WHERE NOT EXISTS (SELECT 1 FROM products WHERE id = '{0}')",
                        id(n),
                        random.below(1000)
                    ),
                    _ => format!("UPDATE products SET stock = stock + 1 WHERE id IN ('{}', '{}')", id(n), id(n / 2)),
                };
                at.host(&sql).await;
                tokio::time::sleep(Duration::from_millis(10 + random.below(20))).await;
            }
        })
    };
    let tills: Vec<_> =
        (1..=2).map(|n| tokio::spawn(till(n, office.direct(), seed * 10 + n as u64, Arc::clone(&ends)))).collect();
    let cuts = Arc::new(AtomicU64::new(6));
    let http = office.http(Arc::clone(&cuts)).await;
    let to_postgres = Postgres::connect(&postgres.url()).await.unwrap();
    let to_mariadb = MySql::connect(&mariadb.url()).await.unwrap();
    let mut random = Random::new(seed);
    let slow = Slow { way: http, seed: Arc::new(AtomicU64::new(seed)), loses: Arc::new(AtomicU64::new(10)) };
    let build = |pages: usize| {
        let store = MemoryStore::new(clock());
        let from = |name: &str| MasterSource::new(name, slow.clone(), &tables()).page_rows(pages);
        let direct = |name: &str| MasterSource::new(name, office.direct(), &tables()).page_rows(pages);
        Engine::builder(store)
            .retry(policy(30))
            .unit_rows(1 + pages)
            .pipeline(Pipeline::new("postgres", from("to-postgres"), to_postgres.clone()))
            .pipeline(Pipeline::new("mariadb", direct("to-mariadb"), to_mariadb.clone()))
            .build()
            .unwrap()
    };
    let engine = build(7);
    for _ in 0..12 {
        for name in ["postgres", "mariadb"] {
            let options = if random.chance(0.3) { RunOptions::reconcile() } else { RunOptions::incremental() };
            if random.chance(0.15) {
                // It finds no deletes: what follows does.
                let report = engine.run_with(name, RunOptions::full()).await.unwrap();
                assert_eq!(report.status, RunStatus::Completed, "{what}, {name}: {}", told(&report));
                let report = engine.run_with(name, RunOptions::reconcile()).await.unwrap();
                assert_eq!(report.status, RunStatus::Completed, "{what}, {name}: {}", told(&report));
            }
            let report = engine.run_with(name, options).await.unwrap();
            assert!(report.ledger().balances(), "{what}: {}", told(&report));
            assert_eq!(report.status, RunStatus::Completed, "{what}, {name}: {}", told(&report));
            tokio::time::sleep(Duration::from_millis(random.below(60))).await;
        }
    }
    ends.store(true, Ordering::SeqCst);
    writer.await.unwrap();
    for till in tills {
        till.await.unwrap();
    }
    cuts.store(0, Ordering::SeqCst);
    for name in ["postgres", "mariadb"] {
        let report = engine.run(name).await.unwrap();
        assert_eq!(report.status, RunStatus::Completed, "{what}, {name}: {}", told(&report));
    }
    let there = shown_at(&office).await;
    assert_eq!(shown(&postgres).await, there, "{what}: postgres");
    assert_eq!(shown(&mariadb).await, there, "{what}: mariadb");
    for name in ["postgres", "mariadb"] {
        let report = engine.run_with(name, RunOptions::reconcile()).await.unwrap();
        assert_eq!(report.status, RunStatus::Completed, "{what}, {name}: {}", told(&report));
        assert_eq!(counts(&report), 0, "{what}, {name}: {}", told(&report));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_from_a_master_on_sqlite_arrives_whole_beside_writers() {
    for seed in seeds() {
        read_out(At::sqlite().await, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_from_a_master_on_postgresql_arrives_whole_beside_writers() {
    for seed in seeds() {
        read_out(At::postgres(false).await, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_from_a_master_on_mariadb_arrives_whole_beside_writers() {
    for seed in seeds() {
        read_out(At::mariadb(false).await, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_restored_master_on_sqlite_has_is_what_its_readers_have_once_its_process_is_begun_anew() {
    for seed in seeds() {
        let mut random = Random::new(seed);
        let (postgres, mariadb) =
            (sync_test_servers::postgres().await.unwrap(), sync_test_servers::mariadb().await.unwrap());
        let at = At::sqlite().await;
        let At::Sqlite(folder) = &*at else { panic!() };
        let (file, copy) = (folder.path().join("m.db"), folder.path().join("copy.db"));
        let mut ledger = Ledger::new(seed);
        let store = MemoryStore::new(clock());
        let (to_postgres, to_mariadb) =
            (Postgres::connect(&postgres.url()).await.unwrap(), MySql::connect(&mariadb.url()).await.unwrap());
        let build = |office: &Office, ledger: &Ledger| {
            let from = |name: &str| MasterSource::new(name, office.direct(), &tables()).page_rows(7);
            Engine::builder(store.clone())
                .retry(policy(30))
                .pipeline(Pipeline::new("postgres", from("to-postgres"), to_postgres.clone()))
                .pipeline(Pipeline::new("mariadb", from("to-mariadb"), to_mariadb.clone()))
                .pipeline(Pipeline::new(
                    "prices",
                    ledger.source.clone(),
                    MasterSink::new("prices", office.direct(), &tables(), clock()),
                ))
                .build()
                .unwrap()
        };
        let mut backed_up = false;
        for round in 0..12 {
            let what = format!("seed {seed}, round {round}");
            let office = at.open().await;
            let engine = build(&office, &ledger);
            for _ in 0..1 + random.below(3) {
                ledger.change();
                if random.chance(0.5) {
                    ledger.delete();
                }
                let report = engine.run("prices").await.unwrap();
                assert_eq!(report.status, RunStatus::Completed, "{what}: {}", told(&report));
                if random.chance(0.4) {
                    at.host(&format!(
                        "DELETE FROM products WHERE id = '{}'; UPDATE products SET stock = stock + 1",
                        id(random.below(ROWS as u64) as usize)
                    ))
                    .await
                    .unwrap();
                }
                for name in ["postgres", "mariadb"] {
                    if random.chance(0.7) {
                        let report = engine.run(name).await.unwrap();
                        assert_eq!(report.status, RunStatus::Completed, "{what}, {name}: {}", told(&report));
                    }
                }
                if random.chance(0.4) || !backed_up {
                    rusqlite::Connection::open(&file).unwrap().backup("main", &copy, None).unwrap();
                    backed_up = true;
                }
            }
            drop((engine, office));
            if random.chance(0.6) {
                tokio::time::sleep(Duration::from_millis(100)).await;
                for ending in ["-wal", "-shm"] {
                    let _ = std::fs::remove_file(folder.path().join(format!("m.db{ending}")));
                }
                std::fs::copy(&copy, &file).unwrap();
            }
            let office = at.open().await;
            let engine = build(&office, &ledger);
            if random.chance(0.5) {
                at.host("UPDATE products SET stock = stock + 3").await.unwrap();
            }
            // The source's rows come again.
            let report = engine.run_with("prices", RunOptions::full()).await.unwrap();
            assert_eq!(report.status, RunStatus::Completed, "{what}: {}", told(&report));
            for name in ["postgres", "mariadb"] {
                for options in [RunOptions::incremental(), RunOptions::reconcile()] {
                    let report = engine.run_with(name, options).await.unwrap();
                    assert_eq!(report.status, RunStatus::Completed, "{what}, {name}: {}", told(&report));
                }
            }
            let there = shown_at(&office).await;
            assert_eq!(shown(&postgres).await, there, "{what}: postgres");
            assert_eq!(shown(&mariadb).await, there, "{what}: mariadb");
            let rows = office.rows().await;
            for (n, (name, told)) in &ledger.now {
                let row = rows.get(n).unwrap_or_else(|| panic!("{what}: {n} is lost"));
                assert_eq!((&*row[2].to_string().trim_matches('"'), stock(row)), (&**name, *told), "{what}: {n}");
            }
        }
    }
}

fn program(name: &str) -> std::path::PathBuf {
    let mut folders: Vec<std::path::PathBuf> = vec!["/usr/bin".into()];
    for version in std::fs::read_dir("/usr/lib/postgresql").unwrap().flatten() {
        folders.push(version.path().join("bin"));
    }
    folders.into_iter().rev().map(|folder| folder.join(name)).find(|file| file.exists()).unwrap()
}

fn run(command: &mut std::process::Command) -> Vec<u8> {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

impl At {
    fn postgres_tool(&self, name: &str) -> std::process::Command {
        let Self::Postgres(it, _) = self else { panic!("no PostgreSQL") };
        let mut command = std::process::Command::new(program(name));
        command.env("PGPASSWORD", it.password());
        command.args(["-h", it.host(), "-p", &it.port().to_string(), "-U", it.user()]);
        command
    }

    /// As an administrator does it: a dump from PostgreSQL, the files of a MariaDB that is down.
    async fn back_up(&self, folder: &Path) {
        match self {
            Self::Postgres(it, _) => {
                std::fs::write(folder.join("dump"), run(self.postgres_tool("pg_dump").arg(it.name()))).unwrap();
            }
            Self::MariaDb(_, Some(server)) => {
                server.kill().await.unwrap();
                let _ = std::fs::remove_dir_all(folder.join("data"));
                run(std::process::Command::new("cp").arg("-a").args([server.dir().join("data"), folder.join("data")]));
                server.restart().await.unwrap();
            }
            _ => panic!("nobody may kill it"),
        }
    }

    /// What is there goes, and what was put aside comes.
    async fn restore(&self, folder: &Path) {
        match self {
            Self::Postgres(it, _) => {
                let drop = format!("DROP DATABASE {} WITH (FORCE)", it.name());
                let create = format!("CREATE DATABASE {}", it.name());
                run(self.postgres_tool("psql").args(["-d", "postgres", "-c", &drop, "-c", &create]));
                let fill = ["-v", "ON_ERROR_STOP=1", "-q", "-d", it.name(), "-f"];
                run(self.postgres_tool("psql").args(fill).arg(folder.join("dump")));
            }
            Self::MariaDb(_, Some(server)) => {
                server.kill().await.unwrap();
                std::fs::remove_dir_all(server.dir().join("data")).unwrap();
                run(std::process::Command::new("cp").arg("-a").args([folder.join("data"), server.dir().join("data")]));
                server.restart().await.unwrap();
            }
            _ => panic!("nobody may kill it"),
        }
    }
}

/// Some hubs and sinks live through it, others are begun anew.
async fn restored(at: Arc<At>, seed: u64) {
    let mut random = Random::new(seed);
    let (postgres, mariadb) =
        (sync_test_servers::postgres().await.unwrap(), sync_test_servers::mariadb().await.unwrap());
    let mut ledger = Ledger::new(seed);
    let store = MemoryStore::new(clock());
    let (to_postgres, to_mariadb) =
        (Postgres::connect(&postgres.url()).await.unwrap(), MySql::connect(&mariadb.url()).await.unwrap());
    let build = |office: &Office, ledger: &Ledger| {
        let from = |name: &str| MasterSource::new(name, office.direct(), &tables()).page_rows(7);
        let sink = MasterSink::new("prices", office.direct(), &tables(), clock());
        Engine::builder(store.clone())
            .retry(policy(10))
            .pipeline(Pipeline::new("postgres", from("to-postgres"), to_postgres.clone()))
            .pipeline(Pipeline::new("mariadb", from("to-mariadb"), to_mariadb.clone()))
            .pipeline(Pipeline::new("prices", ledger.source.clone(), sink))
            .build()
            .unwrap()
    };
    let mut office = at.open().await;
    let mut engine = build(&office, &ledger);
    let (folder, mut backed_up, mut said, mut restores) = (tempfile::tempdir().unwrap(), false, 0, 0);
    // Whether this life of the sink has written what the backup does not have.
    let mut own_since = false;
    for round in 0..8 {
        let what = format!("seed {seed}, round {round}");
        for _ in 0..1 + random.below(3) {
            ledger.change();
            if random.chance(0.5) {
                ledger.delete();
            }
            let report = engine.run("prices").await.unwrap();
            assert_eq!(report.status, RunStatus::Completed, "{what}: {}", told(&report));
            own_since = true;
            if random.chance(0.4) {
                let n = random.below(ROWS as u64) as usize;
                at.host(&format!("DELETE FROM products WHERE id = '{}'; UPDATE products SET stock = stock + 1", id(n)))
                    .await
                    .unwrap();
            }
            for name in ["postgres", "mariadb"] {
                if random.chance(0.7) {
                    let report = engine.run(name).await.unwrap();
                    assert_eq!(report.status, RunStatus::Completed, "{what}, {name}: {}", told(&report));
                }
            }
            if random.chance(0.4) || !backed_up {
                at.back_up(folder.path()).await;
                (backed_up, own_since) = (true, false);
            }
        }
        let (anew, goes_back) = (random.chance(0.5), random.chance(0.7));
        if goes_back {
            restores += 1;
            at.restore(folder.path()).await;
        }
        if anew {
            office = at.open().await;
            engine = build(&office, &ledger);
        }
        let (mut must_say, so_far) = (goes_back && !anew && own_since, said);
        if random.chance(0.5) {
            at.host("UPDATE products SET stock = stock + 3").await.unwrap();
        }
        if random.chance(0.5) {
            ledger.change();
            let report = engine.run("prices").await.unwrap();
            if report.status != RunStatus::Completed {
                assert!(goes_back && told(&report).contains("restored from a backup"), "{what}: {}", told(&report));
                said += 1;
            }
            assert!(!must_say || said > so_far, "{what}: nobody says what was lost");
            must_say = false;
        }
        // The source's rows come again.
        let mut report = engine.run_with("prices", RunOptions::full()).await.unwrap();
        if report.status != RunStatus::Completed {
            assert!(goes_back && told(&report).contains("restored from a backup"), "{what}: {}", told(&report));
            said += 1;
            report = engine.run_with("prices", RunOptions::full()).await.unwrap();
        }
        assert!(!must_say || said > so_far, "{what}: nobody says what was lost");
        own_since = true;
        assert_eq!(report.status, RunStatus::Completed, "{what}: {}", told(&report));
        for name in ["postgres", "mariadb"] {
            for options in [RunOptions::incremental(), RunOptions::reconcile()] {
                let report = engine.run_with(name, options).await.unwrap();
                assert_eq!(report.status, RunStatus::Completed, "{what}, {name}: {}", told(&report));
            }
        }
        let there = shown_at(&office).await;
        assert_eq!(shown(&postgres).await, there, "{what}: postgres");
        assert_eq!(shown(&mariadb).await, there, "{what}: mariadb");
        let rows = office.rows().await;
        for (n, (name, told)) in &ledger.now {
            let row = rows.get(n).unwrap_or_else(|| panic!("{what}: {n} is lost"));
            assert_eq!((&*row[2].to_string().trim_matches('"'), stock(row)), (&**name, *told), "{what}: {n}");
        }
    }
    println!("seed {seed}: {restores} restores, of which a sink told {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_restored_master_on_postgresql_has_is_what_its_readers_have() {
    for seed in seeds() {
        restored(At::postgres(false).await, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_restored_master_on_mariadb_has_is_what_its_readers_have() {
    for seed in seeds() {
        restored(At::mariadb(true).await, seed).await;
    }
}
