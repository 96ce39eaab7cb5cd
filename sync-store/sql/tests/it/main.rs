//! The SQL store, on every database it was built for; SQLite is one of them.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

/// Makes a test of each function, for each database: `sqlite::name`, `postgres::name`, `mariadb::name`.
macro_rules! on_every_database {
    ($($test:ident,)*) => {
        on_every_database!(sqlite, "sqlite": $($test,)*);
        on_every_database!(postgres, "postgres": $($test,)*);
        on_every_database!(mariadb, "mysql": $($test,)*);
    };
    ($database:ident, $feature:literal: $($test:ident,)*) => {
        #[cfg(feature = $feature)]
        mod $database {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(crate::place::Place::$database().await).await;
                }
            )*
        }
    };
}

mod addresses;
mod contention;
mod keys;
mod lost_replies;
mod migrations;
mod place;
mod restarts;
mod specification;
mod sqlite_file;

use std::time::Duration;

use sync_core::Ledger;
use sync_core::model::{Cursor, Key, Lane, Op, Partition, Scope};
use sync_core::state::{
    Advance, Checkpoint, DeadLetter, Entry, FencingToken, LetterBody, LetterId, LetterKind, RunId, RunRecord, RunStatus,
};

const HOUR: Duration = Duration::from_secs(3600);

fn scope(feed: &str) -> Scope {
    Scope { pipeline: "shop".into(), feed: feed.into(), partition: Partition::default(), lane: Lane::Live }
}

fn letter(key: i64) -> DeadLetter {
    let (scope, key) = (scope("orders"), Key::new([key]));
    let body = LetterBody::Row { op: Op::Upsert, values: vec![("id".into(), key.values()[0].clone())] };
    let id = LetterId::of(&scope, "orders", Some(&key), &body);
    let at = chrono::DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap();
    DeadLetter {
        id,
        scope,
        stream: "orders".into(),
        key: Some(key),
        kind: LetterKind::Rejected,
        reason: "too long".into(),
        body,
        at,
    }
}

fn run(number: i64, scope: &Scope) -> RunRecord {
    let started = chrono::DateTime::from_timestamp_micros(number).unwrap();
    RunRecord {
        run: RunId::new(started, 0),
        scope: scope.clone(),
        status: RunStatus::Completed,
        started,
        finished: Some(started),
        ledger: Ledger { fetched: 3, ..Ledger::default() },
        error: None,
    }
}

fn advance(token: FencingToken, expected: u64) -> Advance {
    let cursor = Some(Cursor::new(1, &(expected, "page")).unwrap());
    Advance { token, expected, next: Checkpoint { seq: expected + 1, cursor, ..Checkpoint::default() } }
}

fn step(scope: &Scope, token: FencingToken, expected: u64) -> Entry {
    Entry::Checkpoint { scope: scope.clone(), advance: advance(token, expected) }
}
