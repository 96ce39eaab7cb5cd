//! Pages that are asked for together, while tokens expire and runs are dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use sync_core::engine::{Engine, Pipeline, RunOptions};
use sync_core::memory::{MemorySink, MemoryStore};
use sync_core::model::Outcome;
use sync_core::retry::RetryPolicy;
use sync_core::state::RunStatus;
use sync_core::{StreamSpec, SystemClock};
use sync_rest::{AuthConfig, ClientAuthentication, SecretRef, get};

use crate::server::{Reply, Server};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_page_of_those_under_way_together_is_lost_when_their_token_expires_and_none_is_asked_for_after_the_run() {
    for seed in 1..=8_u64 {
        let mut random = sync_testkit::Random::new(seed);
        let (count, at_once) = (10 + random.below(60) as usize, 2 + random.below(5) as usize);
        let (lasts, stable, trouble) = (2 * at_once as u64 + random.below(8), random.chance(0.5), random.below(15));
        let (issued, uses) = (AtomicU64::new(0), AtomicU64::new(0));
        let given = |text: &str| SecretRef::given(secrecy::SecretString::from(text));
        let draws = std::sync::Mutex::new(random);
        let server = Server::start(move |request| {
            if request.path.starts_with("/token") {
                std::thread::sleep(Duration::from_millis(3));
                uses.store(0, Ordering::SeqCst);
                let n = issued.fetch_add(1, Ordering::SeqCst) + 1;
                return Reply::json(
                    &json!({"access_token": format!("t{n}"), "expires_in": 3600, "token_type": "bearer"}),
                );
            }
            let (pause, bad) = {
                let mut draws = draws.lock().unwrap();
                (draws.below(6), draws.below(100) < trouble)
            };
            std::thread::sleep(Duration::from_millis(pause));
            let fresh = request.header("authorization") == format!("Bearer t{}", issued.load(Ordering::SeqCst));
            let valid = fresh && uses.fetch_add(1, Ordering::SeqCst) < lasts;
            let page = request.number("page").unwrap();
            let data: Vec<_> = (1..=count).skip((page - 1) * 2).take(2).map(|id| json!({"id": id})).collect();
            match (valid, bad) {
                (false, _) => Reply::status(401),
                (_, true) => Reply::status(503),
                _ => Reply::json(&json!({"data": data, "total": count})),
            }
        })
        .await;
        let spec = StreamSpec::new("orders").key(["id"]);
        let endpoint =
            get("/orders").records("/data").page("page").size("limit", 2).total("/total").concurrency(at_once);
        let endpoint = if stable { endpoint.stable() } else { endpoint };
        let auth = AuthConfig::ClientCredentials {
            token_url: format!("{}/token", server.url()),
            client_id: given("id"),
            client_secret: given("secret"),
            scope: None,
            client_auth: ClientAuthentication::Body,
        };
        let source = server.rest(&spec, endpoint).auth(auth).build().unwrap();
        let sink = MemorySink::new();
        let engine = Engine::builder(MemoryStore::new(Arc::new(SystemClock::new())))
            .owner("one")
            .retry(RetryPolicy::new().base(Duration::from_millis(2)).cap(Duration::from_millis(10)))
            .pipeline(Pipeline::new("shop", source, sink.clone()).stream(spec.clone()))
            .build()
            .unwrap();
        let what =
            format!("seed {seed}: {count} rows, {at_once} at once, {lasts} uses, stable {stable}, trouble {trouble}");
        // Dropped in the middle: nothing is asked for any more.
        drop(tokio::time::timeout(Duration::from_millis(5 + seed), engine.run("shop")).await);
        tokio::time::sleep(Duration::from_millis(30)).await;
        let asked = server.count();
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(server.count(), asked, "{what}: asked after the end");
        let (mut good, mut failed) = (0, Vec::new());
        for run in 0..25 {
            let options = if run % 2 == 0 { RunOptions::incremental() } else { RunOptions::reconcile() };
            let report = tokio::time::timeout(Duration::from_secs(20), engine.run_with("shop", options))
                .await
                .expect(&what)
                .unwrap();
            assert!(report.ledger().balances(), "{what}: {report}");
            assert_eq!(report.ledger().count(Outcome::Deleted), 0, "{what}: {report}");
            if report.status == RunStatus::Completed {
                good += 1;
            } else {
                failed.push(report.to_string());
            }
            if good == 3 {
                break;
            }
        }
        assert_eq!(good, 3, "{what}: {failed:?}");
        assert_eq!(sink.rows("orders").len(), count, "{what}");
    }
}
