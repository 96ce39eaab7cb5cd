//! Masters that are restored from backups.

use super::*;

/// Some hubs and sinks live through it, others are begun anew; over a file that is replaced, all are.
pub(super) async fn restored(at: Arc<At>, seed: u64) {
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
    for round in 0..5 {
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
        let (anew, goes_back) = (random.chance(0.5) || matches!(*at, At::Sqlite(_)), random.chance(0.7));
        restores += u32::from(goes_back);
        if anew {
            drop((engine, office));
            if goes_back {
                at.restore(folder.path()).await;
            }
            office = at.open().await;
            engine = build(&office, &ledger);
        } else if goes_back {
            at.restore(folder.path()).await;
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
        ledger.assert_held(&office, &what).await;
    }
    println!("seed {seed}: {restores} restores, of which a sink told {said}");
}
