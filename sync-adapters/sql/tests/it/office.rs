//! A replica on a server, and its host, which writes over connections of its own.

pub(crate) mod late;
pub(crate) mod races;
pub(crate) mod together;

use sync_core::two_way::{Entry, Replica, Tables};
use sync_test_servers::Database;

use crate::entries::shop;

pub(crate) struct Office<R> {
    pub(crate) replica: R,
    pub(crate) database: Database,
}

/// What is to be known of a kind of server.
pub(crate) trait OnServer: Replica + Clone + 'static {
    /// A connection of the host's own.
    type Host;
    /// Tables as a shop makes them: a unique number that ignores case, lines that go with their invoice, and a product that may
    /// be taken off them.
    const SHOP: &'static str;
    /// What hosts' sessions begin with, in turn: the isolations that hosts of this server write in.
    const SESSIONS: [&'static str; 2];
    async fn database() -> Database;
    async fn open(database: &Database, tables: Tables) -> sync_core::Result<Self>;
    /// How much an audit finds that was not noticed.
    async fn missed(&self) -> u64;
    async fn host(database: &Database) -> Self::Host;
    async fn execute(host: &mut Self::Host, sql: &str);
}

impl<R: OnServer> Office<R> {
    pub(crate) async fn with(schema: &str, tables: Tables) -> Self {
        let database = R::database().await;
        if !schema.is_empty() {
            database.client(schema).await.unwrap();
        }
        let replica = R::open(&database, tables).await.unwrap();
        Self { replica, database }
    }

    pub(crate) async fn shop() -> Self {
        Self::with(R::SHOP, shop()).await
    }

    /// Statements, each in a transaction of its own unless the text says otherwise.
    pub(crate) async fn run(&self, sql: &str) -> String {
        self.database.client(sql).await.unwrap().trim().to_owned()
    }

    /// What the host is told when it runs this.
    pub(crate) async fn refused(&self, sql: &str) -> String {
        self.database.client(sql).await.unwrap_err().to_string()
    }

    /// A connection of the host's own.
    pub(crate) async fn host(&self) -> R::Host {
        R::host(&self.database).await
    }

    /// What has come to stand in the feed behind this place.
    pub(crate) async fn after(&self, seq: u64) -> Vec<Entry> {
        self.replica.sequence().await.unwrap();
        self.replica.look().await.unwrap().feed(seq, usize::MAX).await.unwrap()
    }

    /// What this SQL leaves in the feed.
    pub(crate) async fn noticed(&self, sql: &str) -> Vec<Entry> {
        let seq = self.replica.sequence().await.unwrap().seq;
        self.run(sql).await;
        self.after(seq).await
    }
}
