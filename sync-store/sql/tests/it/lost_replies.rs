//! Connections that break while a change is made final.
#![cfg(all(feature = "postgres", feature = "mysql"))]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use sync_core::state::{FencingToken, StateStore};
use sync_core::{ErrorKind, Retry};
use sync_store_sql::SqlStore;
use sync_test_servers::Database;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::{HOUR, scope, step};

/// What becomes of the next COMMIT.
const PASSES: u8 = 0;
const ANSWER_IS_LOST: u8 = 1;
const NEVER_ARRIVES: u8 = 2;

/// Stands between a store and its server.
struct Wire {
    fate: Arc<AtomicU8>,
    url: String,
}

impl Wire {
    async fn to(database: &Database) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = database.url().replace(&format!(":{}/", database.port()), &format!(":{port}/"));
        let (fate, server) = (Arc::new(AtomicU8::new(PASSES)), (database.host().to_owned(), database.port()));
        let fates = Arc::clone(&fate);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(server.clone()).await.unwrap();
                tokio::spawn(carry(client, server, Arc::clone(&fates)));
            }
        });
        Self { fate, url }
    }
}

async fn carry(client: TcpStream, server: TcpStream, fate: Arc<AtomicU8>) {
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let muted = Arc::new(AtomicBool::new(false));
    let answers = tokio::spawn({
        let muted = Arc::clone(&muted);
        async move {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                if !muted.load(Ordering::SeqCst) && to_client.write_all(&buffer[..read]).await.is_err() {
                    break;
                }
            }
        }
    });
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
        // PostgreSQL's texts end with a zero byte. `READ COMMITTED` is none.
        let commits = [&b"COMMIT"[..], b"COMMIT\0"].iter().any(|word| buffer[..read].ends_with(word));
        let fate = if commits { fate.swap(PASSES, Ordering::SeqCst) } else { PASSES };
        muted.store(fate == ANSWER_IS_LOST, Ordering::SeqCst);
        if fate == NEVER_ARRIVES || to_server.write_all(&buffer[..read]).await.is_err() {
            break;
        }
        if fate == ANSWER_IS_LOST {
            // The server finishes what it was told.
            tokio::time::sleep(Duration::from_millis(300)).await;
            break;
        }
    }
    answers.abort();
}

async fn databases() -> [Database; 2] {
    [sync_test_servers::postgres().await.unwrap(), sync_test_servers::mariadb().await.unwrap()]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_to_a_commit_is_ambiguous_and_the_checkpoint_tells() {
    for database in databases().await {
        let wire = Wire::to(&database).await;
        let store = SqlStore::connect(&wire.url).await.unwrap();
        let lease = store.acquire("job", "me", HOUR, FencingToken(0)).await.unwrap();
        let scope = scope("orders");
        for (fate, stands) in [(NEVER_ARRIVES, 0), (ANSWER_IS_LOST, 1)] {
            wire.fate.store(fate, Ordering::SeqCst);
            let error = store.record(&lease, &[step(&scope, lease.token, 0)]).await.unwrap_err();
            assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Backoff), "{error}");
            assert!(error.is_ambiguous(), "{error}");
            assert_eq!(store.checkpoint(&scope).await.unwrap().map_or(0, |checkpoint| checkpoint.seq), stands);
        }
        let repeated = store.record(&lease, &[step(&scope, lease.token, 0)]).await.unwrap_err();
        assert_eq!(repeated.kind(), ErrorKind::Fenced, "a step is not taken twice");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_whose_grant_was_lost_is_taken_over_by_the_one_who_asked() {
    for database in databases().await {
        let wire = Wire::to(&database).await;
        let store = SqlStore::connect(&wire.url).await.unwrap();
        wire.fate.store(ANSWER_IS_LOST, Ordering::SeqCst);
        let error = store.acquire("job", "me", HOUR, FencingToken(0)).await.unwrap_err();
        assert_eq!((error.kind(), error.is_ambiguous()), (ErrorKind::Unavailable, true), "{error}");
        let other = store.acquire("job", "other", HOUR, FencingToken(0)).await.unwrap_err();
        assert_eq!(other.kind(), ErrorKind::Fenced, "the lost answer was a grant");
        assert_eq!(store.acquire("job", "me", HOUR, FencingToken(0)).await.unwrap().token, FencingToken(2));
    }
}
