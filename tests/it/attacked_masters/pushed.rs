//! A pipeline into a master whose processes and servers die.

use super::*;

pub(super) fn policy(attempts: u32) -> RetryPolicy {
    RetryPolicy::new().base(Duration::from_millis(20)).cap(Duration::from_millis(200)).attempts(attempts)
}

pub(super) fn engine(ledger: &Ledger, sink: MasterSink, attempts: u32) -> Engine {
    Engine::builder(MemoryStore::new(clock()))
        .retry(policy(attempts))
        .pipeline(Pipeline::new("prices", ledger.source.clone(), sink))
        .build()
        .unwrap()
}

/// Whether the next run may do better.
pub(super) fn is_of_the_way(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Conflict)
}

pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) lives: u64,
    pub(super) loses: u64,
    pub(super) kills_server: bool,
    pub(super) over_http: bool,
    pub(super) others: bool,
    /// What everybody has heard is forgotten at once.
    pub(super) cleans: bool,
    /// Two processes write under one name.
    pub(super) twins: bool,
}

pub(super) fn counts(report: &Report) -> u64 {
    let count = |outcome| report.ledger().outcomes.count(outcome);
    count(Outcome::Created) + count(Outcome::Updated) + count(Outcome::Deleted)
}

pub(super) async fn attacked(at: Arc<At>, plan: Plan) {
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

pub(super) fn plan(seed: u64) -> Plan {
    Plan { seed, lives: 5, loses: 15, kills_server: false, over_http: false, others: true, cleans: false, twins: false }
}

pub(super) fn seeds() -> std::ops::RangeInclusive<u64> {
    let many = std::env::var("ATTACKS").ok().and_then(|many| many.parse().ok()).unwrap_or(1);
    let from = std::env::var("ATTACKS_FROM").ok().and_then(|from| from.parse().ok()).unwrap_or(1);
    from..=from + many - 1
}
