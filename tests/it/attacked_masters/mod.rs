//! Pipelines into masters on real databases, whose processes and servers die, and whose pushes come late, twice or not at all,
//! while tills and hosts write the same rows: the source's ledger says what may stand there.
//!
//! `ATTACKS` says how many seeds, `ATTACKS_FROM` from which on, `ATTACKS_FLAW=no-idempotency` plants a flaw that must be found.

mod ledger;
mod office;
mod pushed;
mod read;
mod restored;
mod way;
mod writers;

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

use ledger::*;
use office::*;
use pushed::*;
use read::*;
use restored::*;
use way::*;
use writers::*;

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

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_into_a_master_on_sqlite_loses_and_doubles_nothing() {
    for seed in seeds() {
        attacked(At::sqlite(), plan(seed)).await;
        attacked(At::sqlite(), Plan { over_http: true, ..plan(seed + 1000) }).await;
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
        attacked(At::postgres(true).await, Plan { kills_server: true, lives: 3, ..plan(seed) }).await;
        let http = Plan { kills_server: true, lives: 3, over_http: true, ..plan(seed + 1000) };
        attacked(At::postgres(true).await, http).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_into_a_master_whose_mariadb_is_killed_loses_and_doubles_nothing() {
    for seed in seeds() {
        attacked(At::mariadb(true).await, Plan { kills_server: true, lives: 3, ..plan(seed) }).await;
        let http = Plan { kills_server: true, lives: 3, over_http: true, ..plan(seed + 1000) };
        attacked(At::mariadb(true).await, http).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_into_a_master_that_forgets_soon_loses_and_doubles_nothing() {
    for seed in seeds() {
        attacked(At::sqlite(), Plan { cleans: true, ..plan(seed) }).await;
        attacked(At::postgres(false).await, Plan { cleans: true, over_http: true, ..plan(seed) }).await;
        attacked(At::mariadb(false).await, Plan { cleans: true, ..plan(seed) }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pipelines_under_one_name_into_a_master_lose_and_double_nothing() {
    for seed in seeds() {
        attacked(At::sqlite(), Plan { twins: true, lives: 3, ..plan(seed) }).await;
        attacked(At::postgres(false).await, Plan { twins: true, lives: 3, ..plan(seed) }).await;
        attacked(At::mariadb(false).await, Plan { twins: true, lives: 3, over_http: true, ..plan(seed) }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_from_a_master_on_sqlite_arrives_whole_beside_writers() {
    for seed in seeds() {
        read_out(At::sqlite(), seed).await;
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
        restored(At::sqlite(), seed).await;
    }
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
