//! Proves a [`Replica`].
//!
//! ```
//! use sync_core::memory::MemoryReplica;
//! use sync_testkit::replica::{self, Subject};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let report = replica::conformance(async |_, tables, clock| {
//!     let shops = MemoryReplica::new("here", tables, clock).unique("shops", &["code"]).parent("tills", "shop", "shops");
//!     Ok::<_, sync_core::Error>(Subject::new(shops.clone(), shops))
//! });
//! report.await.assert();
//! # }
//! ```

mod feed;
mod host;
mod writes;

use std::fmt::{self, Debug, Display};
use std::sync::Arc;

use async_trait::async_trait;
use sync_core::memory::MemoryReplica;
use sync_core::two_way::{Entry, Held, Hlc, Replica, RowWrite, Table, Tables, Transaction};
use sync_core::{Clock, Key, Result, StreamSpec, Value};

use crate::ManualClock;
use crate::report::{Check, Finding, Report, Stop, broken, checks};

/// What a host does to one row.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Inserts or replaces it: the values in the order of the columns.
    Put(&'static str, Vec<Value>),
    /// Deletes it.
    Delete(&'static str, Key),
}

/// The host of a replica, which writes as hosts do: past the library.
#[async_trait]
pub trait Host: Debug + Send + Sync {
    /// One transaction: all of it, or an error and nothing.
    async fn run(&self, acts: &[Act]) -> Result<()>;
}

#[async_trait]
impl Host for MemoryReplica {
    async fn run(&self, acts: &[Act]) -> Result<()> {
        let work = |host: &mut sync_core::memory::Host<'_>| {
            acts.iter().try_for_each(|act| match act {
                Act::Put(table, row) => host.put(table, row.clone()),
                Act::Delete(table, key) => host.delete(table, key),
            })
        };
        self.transaction(work).await
    }
}

/// A replica and its host.
pub struct Subject {
    replica: Box<dyn Replica>,
    host: Box<dyn Host>,
    tables: Tables,
}

impl Subject {
    /// This replica with this host.
    pub fn new(replica: impl Replica + 'static, host: impl Host + 'static) -> Self {
        let tables = replica.tables().clone();
        Self { replica: Box::new(replica), host: Box::new(host), tables }
    }
}

impl Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("replica", &self.replica).finish_non_exhaustive()
    }
}

/// The tables of the suite: `shops`, no two of which have the same `code`, and `tills`, each of which hangs on a shop.
///
/// In SQL: `shops (id TEXT PRIMARY KEY, name TEXT, code BIGINT UNIQUE)` and
/// `tills (id TEXT PRIMARY KEY, shop TEXT REFERENCES shops (id), note TEXT)`.
///
/// # Panics
/// Never: they are declared rightly.
#[expect(clippy::expect_used, reason = "the declaration is a constant, and is tried by every test")]
pub fn tables() -> Tables {
    let shops = StreamSpec::new("shops").text("id").key(["id"]).text("name").int("code");
    let tills = StreamSpec::new("tills").text("id").key(["id"]).text("shop").text("note");
    Tables::new([Table::new(shops), Table::new(tills)]).expect("the tables of the suite are declared rightly")
}

/// Runs every check, each on a replica of its own that holds nothing yet.
///
/// `make` is given the name of the check, which is different each time and fit for a file's name, the [`tables`], and the
/// clock of the replica's own transactions.
pub async fn conformance<E: Display>(make: impl AsyncFn(&str, Tables, Arc<dyn Clock>) -> Result<Subject, E>) -> Report {
    let mut report = Report::new("replica");
    for check in CHECKS {
        let clock = Arc::new(ManualClock::new(1));
        let finding = match make(check.name, tables(), clock).await {
            Ok(subject) => (check.run)(&subject).await,
            Err(error) => broken(format!("the replica could not be made: {error}")),
        };
        report.add(check.name, check.says, finding);
    }
    report
}

/// The names of all checks of [`conformance`].
pub fn names() -> Vec<&'static str> {
    CHECKS.iter().map(|check| check.name).collect()
}

const CHECKS: &[Check<Subject>] = checks![Subject;
    host::every_change_stands_in_the_feed_once => "every change that the host commits to a declared table comes to stand in the feed once, with the row before and after it",
    host::what_changes_nothing_is_no_change => "every change that the host commits comes to stand in the feed",
    host::a_transaction_stands_together => "changes of one transaction stand together",
    host::a_failed_transaction_leaves_nothing => "a transaction is applied whole or not at all",
    host::changes_of_a_row_stand_in_order => "changes of one row stand in the order they were committed, with growing `rev`",
    host::nothing_appears_below_a_reader => "no change appears in the feed below a place that a reader may have passed",
    host::what_the_host_writes_is_its_own => "its name: the origin of what its host writes",
    writes::a_write_keeps_its_stamp => "what `write` writes is captured too, under the stamp it names",
    writes::a_row_that_is_there_already_is_not_written => "a row that is there already is not written; its `seen` is set all the same",
    writes::a_delete_of_an_unknown_row_is_noted => "a delete of a row of which nothing is known is noted, with its stamp",
    writes::writes_are_made_in_order => "writes rows under the stamps they name, in this order",
    writes::many_writes_are_as_each_alone => "writes rows under the stamps they name, in this order. Returns each row's `rev` afterwards",
    writes::a_refused_row_takes_all_with_it => "`Data` at the row that breaks a rule of the database",
    writes::a_dropped_transaction_is_rolled_back => "dropping one rolls it back",
    writes::what_comes_after_a_write_is_the_hosts => "its name: the origin of what its host writes",
    writes::a_deleted_row_is_held => "a row as it is held, deleted ones included",
    writes::a_unique_value_is_refused_at_its_row => "`Data` at the row that breaks a rule of the database: a unique key",
    writes::what_is_refused_leaves_nothing => "nothing of this call is left, and everything before it is",
    writes::a_missing_parent_is_refused_at_its_row => "`Data` at the row that breaks a rule of the database: a parent that is missing",
    writes::a_parent_that_is_needed_is_not_deleted => "`Data` at the row that breaks a rule of the database",
    writes::rows_in_the_way_come_behind_what_hangs_on_them => "each behind the rows that hang on it, so that they can be deleted in this order",
    feed::a_page_ends_behind_a_group => "whole groups only: as many as fit the limit, and at least one group",
    feed::an_outline_is_the_feed_without_its_rows => "what stands in the feed after this place, without the rows",
    feed::a_write_is_a_group_of_its_own => "the transaction: its entries stand together in the feed",
    feed::pending_names_what_was_written_here => "what was written here and did not come from the upstream, of these rows, with a number above this one",
    feed::pending_names_what_the_feed_does_not_hold_yet => "it names what the feed does not hold yet, too",
    feed::a_look_sees_one_moment => "begins a transaction that only reads, and sees one moment throughout",
    feed::a_scan_goes_by_key => "rows after this key, by key",
    feed::the_head_names_the_last_entry => "the nonce of the entry at this place",
    feed::what_is_trimmed_is_forgotten => "forgets entries up to this place, and what is kept about rows whose deletion is among them",
    feed::a_new_life_goes_on_counting => "begins a new life of the feed; `rev` goes on from this one",
    feed::books_hold_what_was_put => "what a book holds under ids that begin like this and come after that one, by id",
    feed::many_things_are_put_into_a_book => "puts many things into a book. What is put under an id twice stands as it was put last",
    feed::books_are_rolled_back => "a transaction is applied whole or not at all",
];

fn shop(id: &str, name: &str, code: impl Into<Value>) -> Vec<Value> {
    vec![id.into(), name.into(), code.into()]
}

fn till(id: &str, shop: &str, note: &str) -> Vec<Value> {
    vec![id.into(), shop.into(), note.into()]
}

fn key(id: &str) -> Key {
    Key::new([id])
}

/// A time that nobody's clock gives.
const THEN: Hlc = Hlc(77 << 16);

impl Subject {
    async fn put(&self, table: &'static str, row: Vec<Value>) -> Result<()> {
        self.host.run(&[Act::Put(table, row)]).await
    }

    async fn delete(&self, table: &'static str, id: &str) -> Result<()> {
        self.host.run(&[Act::Delete(table, key(id))]).await
    }

    fn table(&self, name: &str) -> Result<Arc<Table>, Stop> {
        self.tables.get(name).cloned().ok_or_else(|| Stop::Broken(format!("it does not name the table {name}")))
    }

    /// A write from elsewhere.
    fn incoming(&self, table: &str, id: &str, row: Option<Vec<Value>>) -> Result<RowWrite, Stop> {
        Ok(RowWrite {
            table: self.table(table)?,
            key: key(id),
            row,
            hlc: THEN,
            origin: "elsewhere".into(),
            op: 70,
            seen: 700,
            upstream: true,
        })
    }

    /// Writes in a transaction of their own. Returns the `rev` of each row.
    async fn commit(&self, writes: &[RowWrite]) -> Result<Vec<u64>> {
        let mut tx = self.replica.begin().await?;
        let revs = tx.write(writes).await?;
        tx.commit().await?;
        Ok(revs)
    }

    /// The feed behind this place, with everything that was committed.
    async fn after(&self, seq: u64) -> Result<Vec<Entry>> {
        self.replica.sequence().await?;
        self.replica.look().await?.feed(seq, usize::MAX).await
    }

    async fn held(&self, table: &str, id: &str) -> Result<Held, Stop> {
        let mut tx = self.replica.look().await?;
        held(&mut *tx, &*self.table(table)?, id).await
    }
}

async fn held(tx: &mut dyn Transaction, table: &Table, id: &str) -> Result<Held, Stop> {
    let mut rows = tx.rows(table, &[key(id)]).await?;
    rows.pop().ok_or_else(|| Stop::Broken("`rows` says nothing of a key that it was asked for".to_owned()))
}

/// Breaks the check unless the write is refused with this code, at this row.
fn refused<T>(what: &str, done: Result<T>, code: &str, row: usize) -> Finding {
    let Err(error) = done else { return broken(format!("{what} was written")) };
    crate::report::same(&format!("kind of the error of {what}"), error.kind(), sync_core::ErrorKind::Data)?;
    let said = error.context().find(|(name, _)| *name == "code").map(|(_, code)| code);
    crate::report::same(&format!("code of the error of {what}"), said, Some(code))?;
    crate::report::same(&format!("row of the error of {what}"), error.row().map(|at| at.row), Some(row))
}
