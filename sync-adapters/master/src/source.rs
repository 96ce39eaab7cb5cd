//! A master as a source: its rows, and then what happens to them, into any sink.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::try_unfold;
use sync_core::model::{Batch, Changes, Feed, Mark, RowScope, Run};
use sync_core::source::{BatchStream, CursorKind, Listing, ReadRequest, Reading, Source, SourceCapabilities};
use sync_core::two_way::{Item, Master, Page, Peer, Position, Pull, Tables};
use sync_core::{Boundary, Cursor, Error, ErrorKind, Result, Rows, Value};

use crate::refusal::said;

/// What to do where the position is another reader's.
const ANOTHERS: &str = "give it a token of the client and branch that it has read for; where it is to read for another, run it in \
                        full (`RunOptions::full`), into a target of its own";

/// The version of the format of its cursors.
const FORMAT: u32 = 1;

/// Brings what a master has into any [`Sink`](sync_core::Sink): first all rows, then what has happened since, deletes included,
/// whole groups only.
///
/// The master knows the reader by its name, like a branch, and keeps for it what it has not read yet. One that has not asked for
/// longer than the master waits (90 days, if nothing else is set) reads everything again; what was deleted meanwhile a reconcile
/// finds. Over HTTP it reads what the token may see; a hub in this process, with [`Access`](sync_core::two_way::Access), is a master too, and
/// may be read whole.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use sync_core::engine::{Engine, Pipeline};
/// # use sync_core::memory::{MemorySink, MemoryStore};
/// # use sync_core::{Result, SystemClock, two_way::Tables};
/// # async fn example(tables: Tables, token: secrecy::SecretString, reports: MemorySink) -> Result<()> {
/// use sync_master::{HttpMaster, MasterSource};
/// let master = HttpMaster::at("https://master.example", &tables, token)?;
/// let shops = MasterSource::new("reports", master, &tables);
/// let state = MemoryStore::new(Arc::new(SystemClock::new()));
/// let engine = Engine::builder(state).pipeline(Pipeline::new("reports", shops, reports)).build()?;
/// engine.run("reports").await?.completed()
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct MasterSource {
    name: String,
    master: Arc<dyn Master>,
    tables: Tables,
    page_rows: usize,
}

impl MasterSource {
    /// Reads these tables of the master. No branch and no other reader of the same client has this name.
    pub fn new(name: impl Into<String>, master: impl Master + 'static, tables: &Tables) -> Self {
        Self { name: name.into(), master: Arc::new(master), tables: tables.clone(), page_rows: 1000 }
    }

    /// How many rows come in one page, about: a group is never cut, and the master has a limit of its own.
    #[must_use]
    pub fn page_rows(mut self, rows: usize) -> Self {
        self.page_rows = rows.max(1);
        self
    }

    async fn pull(&self, from: Option<Position>, limit: usize) -> Result<Page> {
        let peer = Peer { name: self.name.clone(), life: 0 };
        let pull = Pull { peer, from, answered: 0, waiting: Vec::new(), limit, alone: false };
        self.master.pull(&pull).await.map_err(|error| {
            let error = error.with("source", &self.name);
            if said(&error, "code") == Some("bad_cursor") { error.with_remedy(ANOTHERS) } else { error }
        })
    }

    /// The next batch, and where to go on; nothing at the end.
    async fn next(&self, feed: &Feed, reading: &Reading, at: At) -> Result<Option<(Batch, At)>> {
        let listing = *reading == Reading::Listing;
        let from = match at {
            At::Begin if listing => return Ok(Some((Batch::marker(Boundary::Begins(RowScope::All)), At::First))),
            At::Begin => {
                // Deletes are told from where the load begins: that place is saved before any row is.
                let start = self.pull(None, 0).await?.next;
                let batch = Batch { requests: 1, ..Batch::marker(Boundary::Resume(cursor(&start)?)) };
                return Ok(Some((batch, At::After(start))));
            }
            At::First => None,
            At::After(position) => Some(position),
            At::End => return Ok(None),
        };
        let Page { items, next, more, .. } = self.pull(from, self.page_rows).await?;
        let (boundary, then) = match listing && !next.is_loading() {
            true => (Boundary::Ends { scope: RowScope::All, complete: true, resume: None }, At::End),
            false => (Boundary::Resume(cursor(&next)?), if more { At::After(next) } else { At::End }),
        };
        let batch = Batch { runs: self.runs(feed, &items)?, requests: 1, ..Batch::marker(boundary) };
        Ok(Some((batch, then)))
    }

    /// The rows as changes, a run for each stretch of one table.
    fn runs(&self, feed: &Feed, items: &[Item]) -> Result<Vec<Run>> {
        let mut runs = Vec::new();
        for stretch in items.chunk_by(|one, other| one.table == other.table) {
            let table = &stretch[0].table;
            let (Some(stream), Some(table)) = (feed.stream(table), self.tables.get(table)) else { continue };
            let schema = table.spec().schema();
            let columns: Vec<Option<usize>> =
                stream.schema().fields().iter().map(|field| schema.index(field.name())).collect();
            let key = table.spec().key_indices();
            let (mut rows, mut marks) = (Rows::new(Arc::clone(stream.schema())), Vec::with_capacity(stretch.len()));
            for item in stretch {
                if item.row.as_ref().is_some_and(|row| row.len() != schema.width()) {
                    return Err(Error::config("the master's table has other columns than this host declares")
                        .with("source", &self.name)
                        .with("table", table.name()));
                }
                let value = |column: Option<usize>| match (&item.row, column) {
                    (_, None) => &Value::Null,
                    (Some(row), Some(column)) => &row[column],
                    (None, Some(column)) => key
                        .iter()
                        .position(|part| *part == column)
                        .map_or(&Value::Null, |part| &item.key.values()[part]),
                };
                rows.push(columns.iter().map(|column| value(*column).as_ref()))?;
                marks.push(if item.row.is_some() { Mark::default() } else { Mark::delete() });
            }
            runs.push(Run { stream: Arc::clone(stream), changes: Changes::marked(rows, marks) });
        }
        Ok(runs)
    }
}

/// Where a read stands.
enum At {
    /// Nothing was asked for.
    Begin,
    /// The first page of a listing comes next.
    First,
    After(Position),
    End,
}

fn cursor(position: &Position) -> Result<Cursor> {
    Cursor::new(FORMAT, position)
}

#[async_trait]
impl Source for MasterSource {
    fn name(&self) -> &str {
        &self.name
    }

    async fn feeds(&self) -> Result<Vec<Feed>> {
        Ok(vec![Feed::new("tables", self.tables.iter().map(|table| Arc::clone(table.spec())))])
    }

    fn read(&self, request: ReadRequest) -> BatchStream<'_> {
        let ReadRequest { feed, from, reading, .. } = request;
        let begin = match (&reading, from) {
            (Reading::Changes | Reading::Listing, None) => Ok(At::Begin),
            (Reading::Changes | Reading::Listing, Some(from)) => from.read(FORMAT).map(At::After),
            _ => Err(Error::new(ErrorKind::Config, "a master does not read ranges: reconcile the whole")
                .with("source", &self.name)),
        };
        let step = move |(at, feed, reading): (Result<At>, Feed, Reading)| async move {
            let next = self.next(&feed, &reading, at?).await?;
            Ok(next.map(|(batch, at)| (batch, (Ok(at), feed, reading))))
        };
        try_unfold((begin, feed, reading), step).boxed()
    }

    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities::replayable(CursorKind::Position).listing(Listing::Rows).deletes()
    }

    /// Asks where a reading would begin: whether the master is there, and takes the token.
    async fn check(&self) -> Result<()> {
        self.pull(None, 0).await.map(drop)
    }
}
