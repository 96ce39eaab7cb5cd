//! MariaDB as a dialect: how it is connected to, and which statement does what.

use std::ops::Deref;

use sqlx::mysql::MySqlConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, MySqlConnection};
use sync_core::two_way::{Book, Entry, Head, Held, Outline, RowWrite};
use sync_core::{Error, Key, Result, Value};

use super::cascade::Edges;
use super::layout::Layout;
use super::{batch, books, clash, feed, log, rows, triggers};
use crate::mysql::connection::{Access, Server, set_up};
use crate::mysql::error::{failed, number, uncommitted};
use crate::prompt::send_at_once;
use crate::replica::{Connects, Declared, Dialect, Doing, Images, Row, Rule, Step};

/// Ends what [`Shared::mark_now`] has begun.
pub(super) const UNMARK: &str = "DELETE FROM _sync_in WHERE conn = CONNECTION_ID()";

/// What all clones and transactions know.
pub(super) struct Shared {
    pub(super) declared: Declared<Layout>,
    pub(super) server: Server,
    pub(super) options: MySqlConnectOptions,
}

impl Shared {
    /// Marks the open transaction as one in which writes come from elsewhere, at this time. The mark is a row that nobody else
    /// sees, and that is gone before the commit: what a session's variables say besides is of no use without it.
    pub(super) fn mark_now(&self) -> String {
        let now = self.clock.now().timestamp_millis();
        format!("REPLACE INTO _sync_in (conn, now) VALUES (CONNECTION_ID(), {now}); SET @sync_conn = CONNECTION_ID()")
    }

    /// By what is known whether what is installed is that of this library, this declaration and this replica.
    pub(super) fn mark(&self, layout: &Layout) -> String {
        let mut text = triggers::objects(layout, &self.name, &Edges::none());
        text.extend(log::statements(layout.exact));
        text.extend(layout.types.iter().cloned());
        blake3::hash(text.join("\0").as_bytes()).to_hex()[..32].to_owned()
    }
}

impl Deref for Shared {
    type Target = Declared<Layout>;

    fn deref(&self) -> &Declared<Layout> {
        &self.declared
    }
}

impl Connects for Shared {
    type Connection = MySqlConnection;

    const COMMIT: &'static str = "DELETE FROM _sync_in WHERE conn = CONNECTION_ID(); COMMIT; DO RELEASE_ALL_LOCKS()";

    const ROLLBACK: &'static str = "ROLLBACK; DO RELEASE_ALL_LOCKS()";

    async fn connect(&self) -> Result<MySqlConnection> {
        let connect = async {
            let mut connection = self.options.connect().await?;
            send_at_once(self.options.get_port());
            set_up(&mut connection, Access::Write).await?;
            Ok::<_, sqlx::Error>(connection)
        };
        connect.await.map_err(|cause| failed("there is no connection to the database", cause))
    }

    async fn run(connection: &mut MySqlConnection, sql: String) -> sqlx::Result<()> {
        connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.map(drop)
    }

    async fn close(connection: MySqlConnection) {
        // Whoever is gone has closed it already.
        let _ = connection.close().await;
    }

    fn is_gone(cause: &sqlx::Error) -> bool {
        matches!(cause, sqlx::Error::Io(_)) || matches!(number(cause), Some(1927 | 2006 | 2013 | 4031))
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

    const REPLICA: &'static str = "MySqlReplica";

    const MAKES_ALL: bool = true;

    /// See <https://mariadb.com/kb/en/mariadb-error-code-reference/>.
    fn rule(cause: &sqlx::Error, _is_delete: bool) -> Option<Rule> {
        match number(cause)? {
            1062 | 1169 | 1586 => Some(Rule::Unique),
            1216 | 1452 => Some(Rule::Parent),
            1217 | 1451 => Some(Rule::Child),
            _ => None,
        }
    }

    async fn lock(&self, to: &mut MySqlConnection, layout: &Layout, keys: &[Key]) -> Result<()> {
        rows::lock(to, layout, keys).await
    }

    async fn held(&self, to: &mut MySqlConnection, layout: &Layout, keys: &[Key]) -> Result<Vec<Held>> {
        rows::held(to, layout, keys).await
    }

    async fn keys(
        &self,
        to: &mut MySqlConnection,
        layout: &Layout,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Key>> {
        rows::keys(to, layout, after, limit).await
    }

    async fn note_seen(&self, to: &mut MySqlConnection, layout: &Layout, write: &RowWrite) -> Result<u64> {
        rows::note_seen(to, layout, write).await
    }

    async fn stage(&self, to: &mut MySqlConnection, layout: &Layout, write: &RowWrite) -> Result<()> {
        rows::stage(to, layout, write).await
    }

    async fn make(
        &self,
        to: &mut MySqlConnection,
        layout: &Layout,
        key: &Key,
        doing: Doing<'_>,
    ) -> Result<sqlx::Result<u64>> {
        rows::make(to, layout, key, doing).await
    }

    async fn unstage(&self, to: &mut MySqlConnection, layout: &Layout, key: &Key) -> Result<Option<u64>> {
        rows::unstage(to, layout, key).await
    }

    async fn make_all(
        &self,
        to: &mut MySqlConnection,
        layout: &Layout,
        steps: &[Step<'_>],
    ) -> Result<Option<Vec<u64>>> {
        batch::make_all(to, layout, steps).await
    }

    async fn is_own(&self, to: &mut MySqlConnection, layout: &Layout, key: &Key) -> Result<bool> {
        rows::is_own(to, layout, key).await
    }

    async fn holders(&self, to: &mut MySqlConnection, layout: &Layout, row: &[Value]) -> Result<Vec<Key>> {
        clash::holders(to, layout, row).await
    }

    async fn children(&self, to: &mut MySqlConnection, row: &Row) -> Result<Vec<Row>> {
        clash::children(to, self, row).await
    }

    async fn page(&self, to: &mut MySqlConnection, after: u64, limit: usize) -> Result<(u64, u64)> {
        feed::page(to, after, limit).await
    }

    async fn entries(&self, to: &mut MySqlConnection, after: u64, up_to: u64) -> Result<Vec<Entry>> {
        feed::entries(to, after, up_to).await
    }

    async fn outline(&self, to: &mut MySqlConnection, after: u64, limit: usize) -> Result<Vec<Outline>> {
        feed::outline(to, after, limit).await
    }

    async fn images(
        &self,
        to: &mut MySqlConnection,
        layout: &Layout,
        after: u64,
        up_to: u64,
    ) -> Result<Vec<(u64, Images)>> {
        feed::images(to, layout, after, up_to).await
    }

    async fn pending(&self, to: &mut MySqlConnection, layout: &Layout, keys: &[Key], above: u64) -> Result<Vec<Entry>> {
        feed::pending(to, layout, keys, above).await
    }

    async fn head(&self, to: &mut MySqlConnection) -> Result<Head> {
        feed::head(to).await
    }

    async fn nonce(&self, to: &mut MySqlConnection, seq: u64) -> Result<Option<u64>> {
        feed::nonce(to, seq).await
    }

    async fn begin_epoch(&self, to: &mut MySqlConnection, epoch: u64, rev: u64) -> Result<()> {
        feed::begin_epoch(to, epoch, rev).await
    }

    async fn trim(&self, to: &mut MySqlConnection, up_to: u64) -> Result<u64> {
        feed::trim(to, self, up_to).await
    }

    async fn get(&self, to: &mut MySqlConnection, book: Book, id: &str) -> Result<Option<Vec<u8>>> {
        books::get(to, book, id).await
    }

    async fn put(&self, to: &mut MySqlConnection, book: Book, id: &str, body: Option<Vec<u8>>) -> Result<()> {
        books::put(to, book, id, body).await
    }

    async fn put_all(&self, to: &mut MySqlConnection, book: Book, bodies: Vec<(String, Vec<u8>)>) -> Result<()> {
        books::put_all(to, book, bodies).await
    }

    async fn list(
        &self,
        to: &mut MySqlConnection,
        book: Book,
        range: (&str, &str),
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>> {
        books::list(to, book, range, limit).await
    }
}
