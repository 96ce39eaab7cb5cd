//! The same lives over a real PostgreSQL server, each site in a schema of its own: hosts write plain SQL, and triggers notice it.
//!
//! A life takes seconds: `SIM_POSTGRES_SEEDS=200` runs more of them.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use chrono::TimeDelta;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use sync_core::two_way::{Book, Entry, Head, Held, Replica, RowWrite, Stamp, Table, Tables, Transaction};
use sync_core::{Clock, Key, Result, Value};
use sync_sql::PostgresReplica;
use sync_test_servers::Database;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

use super::shop::{Act, Site, tables};
use super::world::live_in;

/// Seeds in an ordinary run.
const SEEDS: u64 = 6;

/// What talks to the server: the world's own time stands still while nobody speaks.
static TALKS: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());

async fn talk<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    TALKS.spawn(work).await.unwrap()
}

/// A schema with a host that writes to it over a connection of its own.
#[derive(Debug, Clone)]
struct PostgresSite {
    replica: PostgresReplica,
    host: Arc<Mutex<PgConnection>>,
    clock: Arc<dyn Clock>,
    skew: Arc<std::sync::Mutex<TimeDelta>>,
    schema: String,
    backups: Arc<AtomicU64>,
}

/// How many sites there are, for their names.
static SITES: AtomicU64 = AtomicU64::new(0);

fn make(database: &Database, name: &str, clock: Arc<dyn Clock>, numbered: bool) -> PostgresSite {
    let schema = format!("site_{}", SITES.fetch_add(1, Ordering::Relaxed));
    let (admin, name, its_clock) = (database.url(), name.to_owned(), Arc::clone(&clock));
    let separator = if admin.contains('?') { '&' } else { '?' };
    let url = format!("{admin}{separator}options=-c%20search_path%3D{schema}");
    let unique = if numbered { "UNIQUE" } else { "" };
    let sql = format!(
        "CREATE SCHEMA {schema}; SET search_path = {schema};
         CREATE TABLE products (id text PRIMARY KEY, name text, price bigint, stock bigint);
         CREATE TABLE sales (id text PRIMARY KEY, product text REFERENCES products (id), quantity bigint, number bigint {unique});
         CREATE TABLE movements (id text PRIMARY KEY, sale text REFERENCES sales (id), quantity bigint);
         CREATE TABLE notes (id text PRIMARY KEY, note text);"
    );
    let made = async move {
        let mut host = PgConnection::connect(&admin).await.unwrap();
        host.execute(AssertSqlSafe(sql)).await.unwrap();
        let replica = PostgresReplica::open(&url, name, tables(), its_clock).await.unwrap();
        (replica, host)
    };
    // The world is made outside of any await: the opening gets a thread for itself.
    let (replica, host) = std::thread::spawn(|| TALKS.block_on(made)).join().unwrap();
    PostgresSite {
        replica,
        host: Arc::new(Mutex::new(host)),
        clock,
        skew: Arc::default(),
        schema,
        backups: Arc::default(),
    }
}

fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Int(number) => number.to_string(),
        other => format!("'{}'", other.to_string().replace('\'', "''")),
    }
}

fn sql(act: &Act) -> String {
    match act {
        Act::Put(table, row) => {
            let values: Vec<String> = row.iter().map(literal).collect();
            format!("INSERT INTO {table} VALUES ({})", values.join(", "))
        }
        Act::Take(id, quantity) => format!("UPDATE products SET stock = stock - {quantity} WHERE id = '{id}'"),
        Act::Set(id, column, value) => {
            let column = ["id", "name", "price", "stock"][*column];
            format!("UPDATE products SET {column} = {} WHERE id = '{id}'", literal(value))
        }
        Act::Delete(table, id) => format!("DELETE FROM {table} WHERE id = '{id}'"),
    }
}

impl PostgresSite {
    async fn execute(&self, sql: String) -> sqlx::Result<()> {
        let host = Arc::clone(&self.host);
        talk(async move {
            let mut host = host.lock().await;
            let done = host.execute(AssertSqlSafe(sql)).await.map(drop);
            if done.is_err() {
                host.execute("ROLLBACK").await?;
            }
            done
        })
        .await
    }

    /// The tables of this site, those of ours among them.
    async fn all(&self) -> Vec<String> {
        let (host, schema) = (Arc::clone(&self.host), self.schema.clone());
        let tables = talk(async move {
            let sql = "SELECT relname::text FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind = 'r'";
            sqlx::query_scalar(sql).bind(schema).fetch_all(&mut *host.lock().await).await
        });
        tables.await.unwrap()
    }
}

#[async_trait]
impl Site for PostgresSite {
    async fn run(&self, acts: &[Act]) -> Result<()> {
        // The clock of the world in place of the machine's.
        let now = (self.clock.now() + *self.skew.lock().unwrap()).timestamp_millis();
        let acts: Vec<String> = acts.iter().map(sql).collect();
        let sql = format!("BEGIN; SET LOCAL sync.now = '{now}'; {}; COMMIT", acts.join("; "));
        self.execute(sql).await.map_err(|cause| sync_core::Error::data("the database refuses it").caused_by(cause))
    }

    async fn rows(&self, table: &str) -> Vec<(Key, Vec<Value>)> {
        let table = Arc::clone(self.replica.tables().get(table).unwrap());
        let mut look = self.look().await.unwrap();
        let rows = look.scan(&table, None, usize::MAX).await.unwrap();
        rows.into_iter().map(|(key, _, row)| (key, row)).collect()
    }

    fn skew(&self, skew: TimeDelta) {
        *self.skew.lock().unwrap() = skew;
    }

    type Backup = String;

    async fn backup(&self) -> String {
        let kept = format!("{}_backup_{}", self.schema, self.backups.fetch_add(1, Ordering::Relaxed));
        let tables = self.all().await.into_iter();
        let copies: String = tables.map(|table| format!("CREATE TABLE {kept}.{table} AS TABLE {table};")).collect();
        let counted = format!("CREATE TABLE {kept}.counted AS SELECT last_value, is_called FROM _sync_rev");
        self.execute(format!("BEGIN; CREATE SCHEMA {kept}; {copies} {counted}; COMMIT")).await.unwrap();
        kept
    }

    async fn restore(&self, kept: &String) {
        let mut sql = String::from("BEGIN;");
        for table in self.all().await {
            sql.push_str(&format!(
                "ALTER TABLE {table} DISABLE TRIGGER ALL; DELETE FROM {table}; INSERT INTO {table} SELECT * FROM {kept}.{table};
                 ALTER TABLE {table} ENABLE TRIGGER ALL;"
            ));
        }
        sql.push_str(&format!("SELECT setval('_sync_rev', last_value, is_called) FROM {kept}.counted; COMMIT"));
        self.execute(sql).await.unwrap();
    }
}

#[async_trait]
impl Replica for PostgresSite {
    fn name(&self) -> &sync_core::model::Origin {
        self.replica.name()
    }

    fn tables(&self) -> &Tables {
        self.replica.tables()
    }

    async fn begin(&self) -> Result<Box<dyn Transaction>> {
        let replica = self.replica.clone();
        let tx = talk(async move { replica.begin().await }).await?;
        Ok(Box::new(Talking(Some(tx))))
    }

    async fn look(&self) -> Result<Box<dyn Transaction>> {
        let replica = self.replica.clone();
        let tx = talk(async move { replica.look().await }).await?;
        Ok(Box::new(Talking(Some(tx))))
    }

    async fn sequence(&self) -> Result<Head> {
        let replica = self.replica.clone();
        talk(async move { replica.sequence().await }).await
    }
}

/// A transaction that is rolled back where there is time for it.
struct Talking(Option<Box<dyn Transaction>>);

impl Talking {
    fn tx(&mut self) -> &mut dyn Transaction {
        &mut **self.0.as_mut().unwrap()
    }
}

impl fmt::Debug for Talking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Talking").field(&self.0).finish()
    }
}

impl Drop for Talking {
    fn drop(&mut self) {
        let _there = TALKS.enter();
        drop(self.0.take());
    }
}

#[async_trait]
impl Transaction for Talking {
    async fn rows(&mut self, table: &Table, keys: &[Key]) -> Result<Vec<Held>> {
        self.tx().rows(table, keys).await
    }

    async fn write(&mut self, writes: &[RowWrite]) -> Result<Vec<u64>> {
        self.tx().write(writes).await
    }

    async fn clashing(&mut self, write: &RowWrite) -> Result<Vec<(String, Key)>> {
        self.tx().clashing(write).await
    }

    async fn scan(
        &mut self,
        table: &Table,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<(Key, Stamp, Vec<Value>)>> {
        self.tx().scan(table, after, limit).await
    }

    async fn feed(&mut self, after: u64, limit: usize) -> Result<Vec<Entry>> {
        self.tx().feed(after, limit).await
    }

    async fn pending(&mut self, table: &Table, keys: &[Key], above: u64) -> Result<Vec<Entry>> {
        self.tx().pending(table, keys, above).await
    }

    async fn head(&mut self) -> Result<Head> {
        self.tx().head().await
    }

    async fn nonce(&mut self, seq: u64) -> Result<Option<u64>> {
        self.tx().nonce(seq).await
    }

    async fn begin_epoch(&mut self, epoch: u64, rev: u64) -> Result<()> {
        self.tx().begin_epoch(epoch, rev).await
    }

    async fn trim(&mut self, up_to: u64) -> Result<u64> {
        self.tx().trim(up_to).await
    }

    async fn get(&mut self, book: Book, id: &str) -> Result<Option<Vec<u8>>> {
        self.tx().get(book, id).await
    }

    async fn put(&mut self, book: Book, id: &str, body: Option<Vec<u8>>) -> Result<()> {
        self.tx().put(book, id, body).await
    }

    async fn list(&mut self, book: Book, prefix: &str, after: &str, limit: usize) -> Result<Vec<(String, Vec<u8>)>> {
        self.tx().list(book, prefix, after, limit).await
    }

    async fn commit(mut self: Box<Self>) -> Result<()> {
        match self.0.take() {
            Some(tx) => talk(tx.commit()).await,
            None => Ok(()),
        }
    }
}

#[test]
fn every_write_to_postgresql_is_accounted_for() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_POSTGRES_SEEDS").unwrap_or(SEEDS),
    };
    let database = TALKS.block_on(sync_test_servers::postgres()).unwrap();
    let (mut lives, mut faults) = (0, 0);
    for seed in seeds {
        let life = live_in(seed, None, |name, clock, numbered| make(&database, name, clock, numbered));
        if let Some((oracle, what)) = life.broken {
            panic!("seed {seed} breaks {oracle}: {what}\nreplay it with SIM_SEED={seed}\n{}", life.trace.join("\n"));
        }
        lives += 1;
        faults += life.faults;
    }
    println!("{lives} seeds on PostgreSQL lived through {faults} faults");
}
