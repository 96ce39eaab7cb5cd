//! Servers that die and come back.
#![cfg(all(feature = "postgres", feature = "mysql"))]

use std::time::Duration;

use sync_core::state::{Entry, FencingToken, StateStore};
use sync_core::{ErrorKind, Retry};
use sync_store_sql::SqlStore;
use sync_test_servers::{Durability, MariaDbServer, PostgresServer, PrivateServer};

use crate::{HOUR, letter, scope, step};

#[tokio::test]
async fn a_store_outlives_a_killed_postgresql_server() {
    outlives(PostgresServer::start(Durability::ProcessOnly).await.unwrap()).await;
}

#[tokio::test]
async fn a_store_outlives_a_killed_mariadb_server() {
    outlives(MariaDbServer::start(Durability::ProcessOnly).await.unwrap()).await;
}

async fn outlives<K: Send + Sync + 'static>(server: PrivateServer<K>) {
    let database = server.database().await.unwrap();
    let store = SqlStore::connect(&database.url()).await.unwrap();
    let lease = store.acquire("job", "me", HOUR, FencingToken(0)).await.unwrap();
    let scope = scope("orders");
    store.record(&lease, &[step(&scope, lease.token, 0)]).await.unwrap();
    server.kill().await.unwrap();
    for error in [store.renew(&lease).await.unwrap_err(), store.checkpoint(&scope).await.unwrap_err()] {
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Backoff), "{error}");
        assert!(error.to_string().contains(database.name()), "{error}");
    }
    // Who asks while the server is away and does not give up gets an answer once it is back.
    let patient = tokio::spawn({
        let (store, lease) = (store.clone(), lease.clone());
        async move { store.record(&lease, &[Entry::DeadLetter(letter(1))]).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.restart().await.unwrap();
    patient.await.unwrap().unwrap();
    store.renew(&lease).await.unwrap();
    store.record(&lease, &[step(&scope, lease.token, 1)]).await.unwrap();
    assert_eq!(store.checkpoint(&scope).await.unwrap().map(|checkpoint| checkpoint.seq), Some(2));
    assert!(store.acquire("job", "me", HOUR, FencingToken(0)).await.unwrap().token > lease.token);
}
