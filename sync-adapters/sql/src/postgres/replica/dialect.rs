//! PostgreSQL as a dialect: how it is connected to, and which statement does what.

use std::ops::Deref;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};
use sync_core::two_way::{Book, Entry, Head, Held, Outline, RowWrite};
use sync_core::{Error, Key, Result, Value};

use super::layout::Layout;
use super::{batch, books, clash, feed, rows};
use crate::postgres::error::{failed, uncommitted};
use crate::prompt::send_at_once;
use crate::replica::{Connects, Declared, Dialect, Doing, Images, Row, Rule, Step};

/// What every connection is told first. Whatever the database's defaults are: a statement sees what was committed before it
/// began, and what is committed survives. Whoever waits for a host's lock ends some time, and at once where its caller is gone:
/// it may hold the right to write, which all others wait for. (Where a server cannot look after its clients it says so.)
pub(super) const SETTINGS: &str = "
SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED READ WRITE;
SET client_min_messages TO warning;
SET standard_conforming_strings = on;
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
SELECT set_config('lock_timeout', '30s', false) WHERE current_setting('lock_timeout') = '0';
DO $$ BEGIN
  PERFORM set_config('client_connection_check_interval', '1s', false);
EXCEPTION WHEN OTHERS THEN NULL; END $$";

/// What all clones and transactions know.
pub(super) struct Shared {
    pub(super) declared: Declared<Layout>,
    /// Where our tables are. Quoted.
    pub(super) schema: String,
    pub(super) options: PgConnectOptions,
}

impl Deref for Shared {
    type Target = Declared<Layout>;

    fn deref(&self) -> &Declared<Layout> {
        &self.declared
    }
}

impl Connects for Shared {
    type Connection = PgConnection;

    // In a transaction that has failed, COMMIT alone would roll back and say nothing.
    const COMMIT: &'static str = "SELECT 1; COMMIT";

    const ROLLBACK: &'static str = "ROLLBACK";

    async fn connect(&self) -> Result<PgConnection> {
        let connect = async {
            let mut connection = self.options.connect().await?;
            send_at_once(self.options.get_port());
            connection.execute(SETTINGS).await?;
            Ok::<_, sqlx::Error>(connection)
        };
        connect.await.map_err(|cause| failed("there is no connection to the database", cause))
    }

    async fn run(connection: &mut PgConnection, sql: String) -> sqlx::Result<()> {
        connection.execute(AssertSqlSafe(sql)).await.map(drop)
    }

    async fn close(connection: PgConnection) {
        // Whoever is gone has closed it already.
        let _ = connection.close().await;
    }

    fn is_gone(cause: &sqlx::Error) -> bool {
        match cause {
            sqlx::Error::Io(_) => true,
            sqlx::Error::Database(gone) => gone.code().is_some_and(|code| code.starts_with("57P")),
            _ => false,
        }
    }

    fn failed(what: &'static str, cause: sqlx::Error) -> Error {
        failed(what, cause)
    }

    fn uncommitted(cause: sqlx::Error) -> Error {
        uncommitted(cause)
    }
}

impl Dialect for Shared {
    type Layout = Layout;

    const REPLICA: &'static str = "PostgresReplica";

    const MAKES_ALL: bool = true;

    /// See <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
    fn rule(cause: &sqlx::Error, is_delete: bool) -> Option<Rule> {
        match cause.as_database_error()?.code()?.as_ref() {
            "23505" => Some(Rule::Unique),
            "23001" => Some(Rule::Child),
            "23503" => Some(if is_delete { Rule::Child } else { Rule::Parent }),
            _ => None,
        }
    }

    async fn lock(&self, to: &mut PgConnection, layout: &Layout, keys: &[Key]) -> Result<()> {
        rows::lock(to, layout, keys).await
    }

    async fn held(&self, to: &mut PgConnection, layout: &Layout, keys: &[Key]) -> Result<Vec<Held>> {
        rows::held(to, &self.schema, layout, keys).await
    }

    async fn keys(
        &self,
        to: &mut PgConnection,
        layout: &Layout,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Key>> {
        rows::keys(to, layout, after, limit).await
    }

    async fn note_seen(&self, to: &mut PgConnection, layout: &Layout, write: &RowWrite) -> Result<u64> {
        rows::note_seen(to, layout, write).await
    }

    async fn stage(&self, to: &mut PgConnection, layout: &Layout, write: &RowWrite) -> Result<()> {
        rows::stage(to, layout, write).await
    }

    async fn make(
        &self,
        to: &mut PgConnection,
        layout: &Layout,
        key: &Key,
        doing: Doing<'_>,
    ) -> Result<sqlx::Result<u64>> {
        rows::make(to, layout, key, doing).await
    }

    async fn unstage(&self, to: &mut PgConnection, layout: &Layout, key: &Key) -> Result<Option<u64>> {
        rows::unstage(to, layout, key).await
    }

    async fn make_all(&self, to: &mut PgConnection, layout: &Layout, steps: &[Step<'_>]) -> Result<Option<Vec<u64>>> {
        batch::make_all(to, layout, steps).await
    }

    async fn is_own(&self, to: &mut PgConnection, layout: &Layout, key: &Key) -> Result<bool> {
        rows::is_own(to, &self.schema, layout, key).await
    }

    async fn holders(&self, to: &mut PgConnection, layout: &Layout, row: &[Value]) -> Result<Vec<Key>> {
        clash::holders(to, layout, row).await
    }

    async fn children(&self, to: &mut PgConnection, row: &Row) -> Result<Vec<Row>> {
        clash::children(to, self, row).await
    }

    async fn page(&self, to: &mut PgConnection, after: u64, limit: usize) -> Result<(u64, u64)> {
        feed::page(to, &self.schema, after, limit).await
    }

    async fn entries(&self, to: &mut PgConnection, after: u64, up_to: u64) -> Result<Vec<Entry>> {
        feed::entries(to, &self.schema, after, up_to).await
    }

    async fn outline(&self, to: &mut PgConnection, after: u64, limit: usize) -> Result<Vec<Outline>> {
        feed::outline(to, &self.schema, after, limit).await
    }

    async fn images(
        &self,
        to: &mut PgConnection,
        layout: &Layout,
        after: u64,
        up_to: u64,
    ) -> Result<Vec<(u64, Images)>> {
        feed::images(to, &self.schema, layout, after, up_to).await
    }

    async fn pending(&self, to: &mut PgConnection, layout: &Layout, keys: &[Key], above: u64) -> Result<Vec<Entry>> {
        feed::pending(to, &self.schema, layout, keys, above).await
    }

    async fn head(&self, to: &mut PgConnection) -> Result<Head> {
        feed::head(to, &self.schema).await
    }

    async fn nonce(&self, to: &mut PgConnection, seq: u64) -> Result<Option<u64>> {
        feed::nonce(to, &self.schema, seq).await
    }

    async fn begin_epoch(&self, to: &mut PgConnection, epoch: u64, rev: u64) -> Result<()> {
        feed::begin_epoch(to, &self.schema, epoch, rev).await
    }

    async fn trim(&self, to: &mut PgConnection, up_to: u64) -> Result<u64> {
        feed::trim(to, self, up_to).await
    }

    async fn get(&self, to: &mut PgConnection, book: Book, id: &str) -> Result<Option<Vec<u8>>> {
        books::get(to, &self.schema, book, id).await
    }

    async fn put(&self, to: &mut PgConnection, book: Book, id: &str, body: Option<Vec<u8>>) -> Result<()> {
        books::put(to, &self.schema, book, id, body).await
    }

    async fn put_all(&self, to: &mut PgConnection, book: Book, bodies: Vec<(String, Vec<u8>)>) -> Result<()> {
        books::put_all(to, &self.schema, book, bodies).await
    }

    async fn list(
        &self,
        to: &mut PgConnection,
        book: Book,
        range: (&str, &str),
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>> {
        books::list(to, &self.schema, book, range, limit).await
    }
}
