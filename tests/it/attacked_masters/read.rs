//! What is read from a master beside all who write.

use super::*;

/// What a target has, by plain SQL.
pub(super) async fn shown(database: &Database) -> String {
    database.client("SELECT id, client_id, name, stock FROM products ORDER BY id").await.unwrap().trim().to_owned()
}

pub(super) async fn shown_at(office: &Office) -> String {
    let text = |value: &Value| value.to_string().trim_matches('"').to_owned();
    let rows = office.rows().await;
    rows.values().map(|row| row.iter().map(text).collect::<Vec<_>>().join("\t")).collect::<Vec<_>>().join("\n")
}

pub(super) async fn read_out(at: Arc<At>, seed: u64) {
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
    for _ in 0..6 {
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
