//! Lives over real database servers: hosts write plain SQL, and triggers notice it. What talks to a server has time of its own.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use chrono::TimeDelta;
use sync_core::two_way::{Book, Entry, Head, Held, Outline, Replica, RowWrite, Stamp, Table, Tables, Transaction};
use sync_core::{Clock, Key, Result, Value};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

use super::shop::{Act, Site};
use super::world::live_in;

/// What talks to the servers: the world's own time stands still while nobody speaks.
pub(super) static TALKS: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());

pub(super) async fn talk<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    TALKS.spawn(work).await.unwrap()
}

/// A kind of server.
#[async_trait]
pub(super) trait Server: fmt::Debug + Send + Sync + 'static {
    type Replica: Replica + Clone + 'static;
    /// A connection of a host's own.
    type Host: fmt::Debug + Send + 'static;

    /// Runs statements; what fails is taken back.
    async fn execute(host: &mut Self::Host, sql: String) -> sqlx::Result<()>;

    /// One transaction of the host, by this clock in place of the machine's.
    fn transaction(now: i64, acts: &str) -> String;

    /// Copies all tables of a place into another one.
    async fn copy(host: &mut Self::Host, place: &str, kept: &str);

    /// Puts back what was copied.
    async fn put_back(host: &mut Self::Host, place: &str, kept: &str);
}

/// A place on a server with a host that writes to it over a connection of its own.
#[derive(Debug)]
pub(super) struct ServerSite<S: Server> {
    replica: S::Replica,
    host: Arc<Mutex<S::Host>>,
    clock: Arc<dyn Clock>,
    skew: Arc<std::sync::Mutex<TimeDelta>>,
    place: String,
    backups: Arc<AtomicU64>,
}

impl<S: Server> Clone for ServerSite<S> {
    fn clone(&self) -> Self {
        Self {
            replica: self.replica.clone(),
            host: Arc::clone(&self.host),
            clock: Arc::clone(&self.clock),
            skew: Arc::clone(&self.skew),
            place: self.place.clone(),
            backups: Arc::clone(&self.backups),
        }
    }
}

/// How many places there are, for their names.
static PLACES: AtomicU64 = AtomicU64::new(0);

/// A name that no other place has.
pub(super) fn place() -> String {
    format!("site_{}", PLACES.fetch_add(1, Ordering::Relaxed))
}

impl<S: Server> ServerSite<S> {
    /// The world is made outside of any await: the opening gets a thread for itself.
    pub(super) fn new(
        place: String,
        clock: Arc<dyn Clock>,
        made: impl Future<Output = (S::Replica, S::Host)> + Send + 'static,
    ) -> Self {
        let (replica, host) = std::thread::spawn(|| TALKS.block_on(made)).join().unwrap();
        let host = Arc::new(Mutex::new(host));
        Self { replica, host, clock, skew: Arc::default(), place, backups: Arc::default() }
    }
}

/// Lives through these seeds, or through the one that `SIM_SEED` names.
pub(super) fn assert_all_live<S: Server>(
    server: &str,
    seeds: (&str, u64),
    make: impl Fn(&str, Arc<dyn Clock>, bool) -> ServerSite<S>,
) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number(seeds.0).unwrap_or(seeds.1),
    };
    let (mut lives, mut faults) = (0, 0);
    for seed in seeds {
        let life = live_in(seed, None, &make);
        if let Some((oracle, what)) = life.broken {
            panic!("seed {seed} breaks {oracle}: {what}\nreplay it with SIM_SEED={seed}\n{}", life.trace.join("\n"));
        }
        lives += 1;
        faults += life.faults;
    }
    println!("{lives} seeds on {server} lived through {faults} faults");
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

#[async_trait]
impl<S: Server> Site for ServerSite<S> {
    async fn run(&self, acts: &[Act]) -> Result<()> {
        let now = (self.clock.now() + *self.skew.lock().unwrap()).timestamp_millis();
        let acts: Vec<String> = acts.iter().map(sql).collect();
        let (sql, host) = (S::transaction(now, &acts.join("; ")), Arc::clone(&self.host));
        let done = talk(async move { S::execute(&mut *host.lock().await, sql).await }).await;
        done.map_err(|cause| sync_core::Error::data("the database refuses it").caused_by(cause))
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
        let kept = format!("{}_backup_{}", self.place, self.backups.fetch_add(1, Ordering::Relaxed));
        let (host, place, to) = (Arc::clone(&self.host), self.place.clone(), kept.clone());
        talk(async move { S::copy(&mut *host.lock().await, &place, &to).await }).await;
        kept
    }

    async fn restore(&self, kept: &String) {
        let (host, place, kept) = (Arc::clone(&self.host), self.place.clone(), kept.clone());
        talk(async move { S::put_back(&mut *host.lock().await, &place, &kept).await }).await;
    }
}

#[async_trait]
impl<S: Server> Replica for ServerSite<S> {
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

    async fn outline(&mut self, after: u64, limit: usize) -> Result<Vec<Outline>> {
        self.tx().outline(after, limit).await
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
