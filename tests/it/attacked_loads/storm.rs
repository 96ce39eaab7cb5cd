//! Loads of a branch whose process is killed at any moment, while hosts write on both sides: nothing is seen of a load before it is
//! whole, every write that was acknowledged is accounted for, and in the end all are equal.
//!
//! `STORMS` says how many seeds, `STORMS_FROM` from which on.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sync_core::two_way::{Decision, Hub, Master, Page, Pull, Push, Pushed};
use sync_core::{Error, ErrorKind, Result};
use sync_testkit::Random;

use super::site::Kind;
use super::*;

const BASE: usize = 3000;
const TOUCHED: u64 = 60;

/// A line that breaks, before or behind the master.
#[derive(Debug)]
struct Line {
    way: (Hub, Access),
    seed: AtomicU64,
    loses: u64,
}

impl Line {
    fn breaks(&self) -> bool {
        Random::new(self.seed.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15)).below(100)
            < self.loses
    }
}

fn cut() -> Error {
    Error::new(ErrorKind::Unavailable, "the line is cut").ambiguous()
}

#[async_trait]
impl Master for Line {
    async fn push(&self, push: &Push) -> Result<Pushed> {
        if self.breaks() {
            return Err(cut());
        }
        let pushed = self.way.push(push).await?;
        if self.breaks() { Err(cut()) } else { Ok(pushed) }
    }

    async fn pull(&self, pull: &Pull) -> Result<Page> {
        if self.breaks() {
            return Err(cut());
        }
        let page = self.way.pull(pull).await?;
        if self.breaks() { Err(cut()) } else { Ok(page) }
    }
}

fn kind(name: &str) -> Kind {
    match name {
        "Sqlite" => Kind::Sqlite,
        "Postgres" => Kind::Postgres,
        _ => Kind::MariaDb,
    }
}

/// The branch's process, where this is one.
#[tokio::test(flavor = "multi_thread")]
async fn child_of_a_storm() {
    let Ok(told) = std::env::var("STORM_CHILD") else { return };
    let told: Vec<&str> = told.split(' ').collect();
    let [branch, url, master, master_url, seed, over, loses] = told[..] else { panic!() };
    let seed: u64 = seed.parse().unwrap();
    let master = Site::at(kind(master), "master", master_url);
    let till = Site::at(kind(branch), "till", url);
    let line =
        Line { way: (master.hub().await, Access::everything()), seed: seed.into(), loses: loses.parse().unwrap() };
    let branch = till.branch(line).await.pull_rows(1 + (seed % 7) as usize * 50).push_edits(7);
    if over == "over" {
        branch.start_over().await.unwrap();
    }
    println!("READY");
    loop {
        match branch.sync().await {
            Ok(synced) if synced.loaded => println!("LOADED {synced:?}"),
            Ok(_) => {}
            Err(error) if error.message() == "the line is cut" => {}
            Err(error) => println!("FAILED {error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn start(till: &Site, master: &Site, seed: u64, over: bool, loses: u64, log: &std::path::Path) -> Child {
    let over = if over { "over" } else { "on" };
    let told = format!("{:?} {} {:?} {} {seed} {over} {loses}", till.kind, till.url, master.kind, master.url);
    let out = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "attacked_loads::storm::child_of_a_storm", "--nocapture"])
        .env("STORM_CHILD", told)
        .stdout(out.try_clone().unwrap())
        .stderr(Stdio::from(out))
        .spawn()
        .unwrap()
}

/// What a host has written for sure.
#[derive(Default)]
struct Ledger {
    /// What was added to base rows.
    added: BTreeMap<u64, i64>,
    /// Rows that are this host's alone, as it left them.
    own: BTreeMap<String, Option<i64>>,
    writes: u64,
    refused: u64,
}

async fn host(site: Site, side: &'static str, seed: u64, ends: Arc<AtomicBool>, pairs: bool) -> Ledger {
    let mut random = Random::new(seed);
    let mut ledger = Ledger::default();
    let badge = |random: &mut Random| format!("{side}-{}", random.below(12));
    while !ends.load(Ordering::SeqCst) {
        let (n, many) = (random.below(TOUCHED), 1 + random.below(9) as i64);
        let n = n * 49;
        let own = format!("{side}{:02}", random.below(20));
        let value = random.below(1_000_000) as i64;
        let insert = |id: &str, value: i64, chief: &str, badge: &str| {
            format!("INSERT INTO people VALUES ('{id}', {chief}, {badge}, '{side}', {value})")
        };
        let (sql, did): (String, u8) = match random.below(10) {
            0..=2 => (format!("UPDATE people SET n = n + {many} WHERE id = 'base{n:05}'"), 0),
            3 => (format!("DELETE FROM people WHERE id = '{own}'"), 1),
            // Deleted and made again, or made, in one transaction; some hang on others.
            4 | 5 => {
                let chief = match random.below(3) {
                    0 => format!("'base{:05}'", random.below(BASE as u64)),
                    1 => "(SELECT MIN(id) FROM (SELECT id FROM people WHERE id LIKE 'base%' AND n > 3) q)".to_owned(),
                    _ => "NULL".to_owned(),
                };
                let insert = insert(&own, value, &chief, "NULL");
                (format!("DELETE FROM people WHERE id = '{own}'; {insert}"), 2)
            }
            6 => {
                // A badge moves from row to row.
                let (one, badge) = (format!("{side}{:02}", random.below(20)), badge(&mut random));
                (
                    format!(
                        "UPDATE people SET badge = NULL WHERE badge = '{badge}'; UPDATE people SET badge = '{badge}', name = 'b{value}' WHERE id = '{one}'"
                    ),
                    3,
                )
            }
            7 => {
                // Two swap what they hold.
                let (one, two) = (badge(&mut random), badge(&mut random));
                if one == two {
                    continue;
                }
                (
                    format!(
                        "UPDATE people SET badge = 'tmp-{side}' WHERE badge = '{one}'; UPDATE people SET badge = '{one}' WHERE badge = '{two}'; UPDATE people SET badge = '{two}' WHERE badge = 'tmp-{side}'"
                    ),
                    3,
                )
            }
            8 => {
                let thing = format!("thing-{side}{:02}", random.below(20));
                let owner = format!("base{:05}", random.below(BASE as u64));
                (
                    format!(
                        "DELETE FROM things WHERE id = '{thing}'; INSERT INTO things VALUES ('{thing}', '{owner}', 't{thing}', {value})"
                    ),
                    3,
                )
            }
            _ if pairs => (format!("UPDATE people SET n = {value} WHERE id IN ('base00001', 'base02999')"), 3),
            _ => (format!("UPDATE people SET name = '{side}{value}' WHERE id = 'base{n:05}'"), 3),
        };
        match site.tried(&sql).await {
            Ok(()) => {
                ledger.writes += 1;
                match did {
                    0 => *ledger.added.entry(n).or_default() += many,
                    1 => drop(ledger.own.insert(own, None)),
                    2 => drop(ledger.own.insert(own, Some(value))),
                    _ => {}
                }
            }
            Err(_) => ledger.refused += 1,
        }
        tokio::time::sleep(Duration::from_millis(random.below(12))).await;
    }
    ledger
}

#[derive(Debug, Clone, Copy)]
struct Plan {
    branch: Kind,
    master: Kind,
    seed: u64,
    kills: u64,
    /// A new life of the master now and then.
    epochs: bool,
    /// The branch's file is put back now and then: SQLite alone.
    restores: bool,
}

fn field(row: &str, place: usize) -> &str {
    row.split('|').nth(place).unwrap()
}

async fn storm(plan: Plan) {
    let what = format!("{plan:?}");
    let master = Site::new(plan.master, "master").await;
    let rows: Vec<String> = (0..BASE).map(|n| format!("('base{n:05}', NULL, NULL, 'base', 0)")).collect();
    for rows in rows.chunks(500) {
        master.run(&format!("INSERT INTO people VALUES {}", rows.join(", "))).await;
    }
    let rows: Vec<String> = (0..1000).map(|n| format!("('t{n:05}', 'base{:05}', 'tag{n}', 0)", n * 2)).collect();
    master.run(&format!("INSERT INTO things VALUES {}", rows.join(", "))).await;
    let hub = master.hub().await;
    let till = Site::new(plan.branch, "till").await;
    let mut random = Random::new(plan.seed);
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let (ends, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    // The first load, killed a few times, is looked at by readers; the till's host begins behind it, since what it adds to is not
    // there before.
    let reader = {
        let (site, done, what) = (Site::at(till.kind, "till", &till.url), Arc::clone(&done), what.clone());
        tokio::spawn(async move {
            let (mut looks, mut empty) = (0, 0);
            while !done.load(Ordering::SeqCst) {
                let rows = site.rows().await;
                let base: Vec<_> = rows.iter().filter(|row| row.starts_with("people|base")).collect();
                assert!(base.is_empty() || base.len() == BASE, "{what}: {} of a load are seen", base.len());
                if !base.is_empty() {
                    let tags = rows.iter().filter(|row| row.starts_with("things|t0")).count();
                    assert_eq!(tags, 1000, "{what}: things of a load");
                    assert_eq!(field(base[1], 5), field(base[2999], 5), "{what}: half of a transaction");
                } else {
                    empty += 1;
                }
                looks += 1;
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            (looks, empty)
        })
    };
    let at_master = tokio::spawn(host(
        Site::at(master.kind, "master", &master.url),
        "m",
        plan.seed * 2 + 1,
        Arc::clone(&ends),
        true,
    ));
    let mut at_till = None;
    let (mut kills, mut copies, mut restored, mut epochs) = (0, 0, 0, 0);
    let mut copy: Option<std::path::PathBuf> = None;
    let mut staged_at_kill = 0;
    while kills < plan.kills {
        let mut child = start(&till, &master, plan.seed * 100 + kills, random.chance(0.35), random.below(6), &log);
        let life = if random.chance(0.5) { 200 + random.below(2500) } else { 3000 + random.below(6000) };
        tokio::time::sleep(Duration::from_millis(life)).await;
        if random.chance(0.15) {
            let inbox = hub.inbox(&Access::everything()).await.unwrap();
            for waits in inbox.iter().take(2) {
                let decision = if random.chance(0.5) { Decision::KeepExisting } else { Decision::TakeIncoming };
                let _ = hub.decide(&waits.id, decision, &Access::everything()).await;
            }
        }
        if plan.epochs && random.chance(0.1) {
            master.new_epoch(random.below(1 << 40)).await;
            epochs += 1;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        let kept = till.kept().await;
        staged_at_kill += u64::from(kept > 0);
        if plan.restores && kept > 0 && random.chance(0.4) {
            let to = folder.path().join(format!("copy{copies}.db"));
            rusqlite::Connection::open(&till.url).unwrap().backup("main", &to, None).unwrap();
            copy = Some(to);
            copies += 1;
        } else if plan.restores
            && random.chance(0.15)
            && let Some(from) = &copy
        {
            let mut to = rusqlite::Connection::open(&till.url).unwrap();
            to.busy_timeout(Duration::from_secs(20)).unwrap();
            to.restore("main", from, None::<fn(rusqlite::backup::Progress)>).unwrap();
            restored += 1;
        }
        if at_till.is_none() && till.rows().await.len() >= BASE {
            let site = Site::at(till.kind, "till", &till.url);
            at_till = Some(tokio::spawn(host(site, "b", plan.seed * 2, Arc::clone(&ends), false)));
        }
    }
    ends.store(true, Ordering::SeqCst);
    let at_master = at_master.await.unwrap();
    let at_till = match at_till {
        Some(host) => host.await.unwrap(),
        None => Ledger::default(),
    };
    let branch = till.branch((hub.clone(), Access::everything())).await.pull_rows(100);
    let told = || {
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        let failed: BTreeSet<&str> =
            log.lines().filter(|line| line.contains("FAILED") || line.contains("panicked")).collect();
        let loads = log.lines().filter(|line| line.starts_with("LOADED")).count();
        format!("{loads} loads; {:?}", failed.into_iter().take(6).collect::<Vec<_>>())
    };
    for _ in 0..30 {
        branch.sync().await.unwrap_or_else(|error| panic!("{what}: {error:?}; {}", told()));
        let inbox = hub.inbox(&Access::everything()).await.unwrap();
        if inbox.is_empty() {
            break;
        }
        for waits in inbox {
            let _ = hub.decide(&waits.id, Decision::KeepExisting, &Access::everything()).await;
        }
    }
    for _ in 0..3 {
        branch.sync().await.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    let (looks, empty) = reader.await.unwrap();
    let at_rest = branch.sync().await.unwrap();
    println!(
        "{what}: {kills} kills, {staged_at_kill} with a load staged, {epochs} epochs, {copies} copies, {restored} restored, {looks} looks, {empty} before; host {} and {} writes, {} and {} refused; {}",
        at_master.writes,
        at_till.writes,
        at_master.refused,
        at_till.refused,
        told()
    );
    assert_same(&master, &till, &what).await;
    assert_eq!(till.kept().await, 0, "{what}");
    assert_eq!(at_rest, Default::default(), "{what}");
    let rows = master.rows().await;
    let by_id: BTreeMap<&str, &str> =
        rows.iter().filter(|row| row.starts_with("people|")).map(|row| (field(row, 1), &**row)).collect();
    for (id, value) in &at_master.own {
        let there = by_id.get(&**id).map(|row| field(row, 5).parse::<i64>().unwrap());
        assert_eq!(there, *value, "{what}: {id}, the master's own");
    }
    if restored > 0 {
        return;
    }
    for (id, value) in &at_till.own {
        let there = by_id.get(&**id).map(|row| field(row, 5).parse::<i64>().unwrap());
        assert_eq!(there, *value, "{what}: {id}, the till's own; {}", told());
    }
    for n in (0..TOUCHED).map(|n| n * 49) {
        let sum: i64 = [&at_master, &at_till].iter().filter_map(|ledger| ledger.added.get(&n)).sum();
        let there: i64 = field(by_id[&*format!("base{n:05}")], 5).parse().unwrap();
        assert_eq!(there, sum, "{what}: base{n:05} was added to; {}", told());
    }
}

async fn storms(branch: Kind, master: Kind, epochs: bool, restores: bool) {
    let number = |name: &str, or: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(or);
    let (from, many, kills) = (number("STORMS_FROM", 1), number("STORMS", 1), number("STORM_KILLS", 4));
    for seed in from..from + many {
        storm(Plan { branch, master, seed, kills, epochs, restores }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_on_sqlite_that_is_killed_loses_and_doubles_nothing() {
    storms(Kind::Sqlite, Kind::Sqlite, false, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_on_sqlite_from_postgresql_that_is_killed_loses_and_doubles_nothing() {
    storms(Kind::Sqlite, Kind::Postgres, false, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_on_postgresql_that_is_killed_loses_and_doubles_nothing() {
    storms(Kind::Postgres, Kind::MariaDb, false, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_on_mariadb_that_is_killed_loses_and_doubles_nothing() {
    storms(Kind::MariaDb, Kind::Postgres, false, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_from_a_master_with_new_epochs_loses_and_doubles_nothing() {
    storms(Kind::Sqlite, Kind::MariaDb, true, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_into_a_file_that_is_put_back_loses_nothing_of_the_masters() {
    storms(Kind::Sqlite, Kind::Sqlite, false, true).await;
}
