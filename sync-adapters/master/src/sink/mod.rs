//! A master as a sink: rows from any source, written as a branch's edits are.

mod sender;
mod target;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use sync_core::model::Outcome;
use sync_core::sink::{
    Altered, Decided, Intent, Sink, SinkCapabilities, StepReport, StoredRow, WriteReport, WriteUnit,
};
use sync_core::two_way::{Became, Found, Lookup, Master, Tables};
use sync_core::{Clock, Error, ErrorKind, Key, Result, StreamSpec};

use self::sender::{Sender, Unnumbered};
use self::target::Target;

/// Brings rows from any [`Source`](sync_core::Source) to a master, and through it to all branches.
///
/// Each row is looked up, and written only where it differs, over the row that was found: the report counts exactly. Where
/// somebody else writes it in between, the table's policy decides at the master, as between two branches: what it overrules counts as
/// stale, and what waits in the master's inbox as parked. A stream goes into the table of its name, which the master has already;
/// columns that the stream does not have stay as they are. Of a counter, too, the source says the value: what was added at the master since the
/// row was brought last is set back when its source row is written again, so leave out of the stream what branches count.
/// A row that is not the token's to write goes to the dead letters.
///
/// A unit is one group, applied whole or not at all. One of which a row must wait in the inbox goes in parts, so that no
/// other row waits with it; one that is larger than the master takes, in several groups. Where the way breaks between them, the engine brings it again, and what is there already counts as unchanged.
///
/// Where an answer is lost, nothing is added to a counter twice; where the process is killed, neither: the next one begins another life
/// at the master, which knows it by its name, like a branch, and refuses what the life before still has on its way. So give each
/// sink a name of its own: two that write under one name at once end each other's lives, and their units come through in turns.
///
/// A master that was restored from a backup has lost rows that the source's position is past. A sink that lives through it fails the
/// next run and says so; one whose process is begun after it cannot know. Run the pipeline once in full then.
///
/// Over HTTP it writes what the token may see; a hub in this process, with [`Access`](sync_core::two_way::Access), is a master too,
/// and may be written whole. It keeps nothing here.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use sync_core::engine::{Engine, Pipeline};
/// # use sync_core::memory::{MemorySource, MemoryStore};
/// # use sync_core::{Result, SystemClock, two_way::Tables};
/// # async fn example(tables: Tables, token: secrecy::SecretString, suppliers: MemorySource) -> Result<()> {
/// use sync_master::{HttpMaster, MasterSink};
/// let master = HttpMaster::at("https://master.example", &tables, token)?;
/// let shops = MasterSink::new("prices", master, &tables, Arc::new(SystemClock::new()));
/// let state = MemoryStore::new(Arc::new(SystemClock::new()));
/// let engine = Engine::builder(state).pipeline(Pipeline::new("prices", suppliers, shops)).build()?;
/// engine.run("prices").await?.completed()
/// # }
/// ```
#[derive(Debug)]
pub struct MasterSink {
    name: String,
    master: Arc<dyn Master>,
    tables: Tables,
    sender: Sender,
}

impl MasterSink {
    /// Writes these tables of the master.
    pub fn new(name: impl Into<String>, master: impl Master + 'static, tables: &Tables, clock: Arc<dyn Clock>) -> Self {
        let (name, master): (String, Arc<dyn Master>) = (name.into(), Arc::new(master));
        let sender = Sender::new(name.clone(), Arc::clone(&master), clock);
        Self { name, master, tables: tables.clone(), sender }
    }

    /// How many rows go into one group at most; 1000 if not said otherwise. Where the master takes fewer, it is found out.
    #[must_use]
    pub fn group_rows(mut self, rows: usize) -> Self {
        self.sender.at_most(rows);
        self
    }

    /// What the master has under these keys.
    async fn found(&self, target: &Target, keys: Vec<Key>) -> Result<Vec<Found>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let lookup = Lookup { peer: Some(self.name.clone()), table: target.table().name().to_owned(), keys };
        let found = self.master.look_up(&lookup).await.map_err(|error| match error.kind() {
            // One key alone is more than the master takes.
            ErrorKind::Limit => Error::data("the key is too long for the master").caused_by(error),
            _ => error,
        });
        let found = found.map_err(|error| error.with("sink", &self.name))?;
        if found.iter().flat_map(|found| &found.row).any(|row| row.len() != target.table().spec().schema().width()) {
            return Err(Error::config("the master's table has other columns than this host declares")
                .with("sink", &self.name)
                .with("table", target.table().name()));
        }
        Ok(found)
    }

    fn target(&self, stream: &StreamSpec) -> Result<Target> {
        Target::of(stream, &self.tables).map_err(|error| error.with("sink", &self.name).with("stream", stream.name()))
    }
}

/// What the unit has found and made of the rows so far, by table and key.
type Known = BTreeMap<(String, Key), Found>;

#[async_trait]
impl Sink for MasterSink {
    fn name(&self) -> &str {
        &self.name
    }

    async fn apply(&self, unit: &WriteUnit<'_>) -> Result<WriteReport> {
        // A rehearsal sends nothing, not even again.
        let mut sending = match unit.intent {
            Intent::Commit => Some(self.sender.begin().await.map_err(|error| error.with("sink", &self.name))?),
            Intent::Rehearse => None,
        };
        let (mut known, mut edits, mut all) = (Known::new(), Vec::new(), Vec::new());
        for (step, write) in unit.writes()?.into_iter().enumerate() {
            let target = self.target(&write.stream)?;
            let (name, keys) = (write.stream.name(), write.keys());
            let place = |key: &Key| (name.to_owned(), key.clone());
            let unknown: Vec<Key> = keys.iter().filter(|key| !known.contains_key(&place(key))).cloned().collect();
            let found = self.found(&target, unknown.clone()).await?;
            if let Some(sending) = &mut sending {
                sending.seen(&found);
            }
            known.extend(unknown.iter().map(place).zip(found));
            let stored = keys.iter().map(|key| known.get(&place(key)).and_then(|found| target.stored(found))).collect();
            let Decided { mut outcomes, edits: decided } = write.decide(step, stored)?;
            let written: Vec<usize> = (0..outcomes.len()).filter(|row| is_written(outcomes[*row])).collect();
            for (outcome, key) in outcomes.iter_mut().zip(&keys) {
                let waits = known.get(&place(key)).is_some_and(|found| found.waits);
                // What comes behind it waits, too; whether it still does, the master says.
                if waits && (*outcome == Outcome::Unchanged || is_written(*outcome) && sending.is_none()) {
                    *outcome = Outcome::Parked;
                }
            }
            for (row, edit) in written.into_iter().zip(decided) {
                let Some(found) = known.get_mut(&place(&edit.key)) else { continue };
                let after = edit.row.map(|new| target.row(&new, found.row.as_deref())).transpose();
                let after = after.map_err(|error| error.at_row(step, row).with("sink", &self.name))?;
                let before = std::mem::replace(&mut found.row, after.clone());
                let table = name.to_owned();
                edits.push(Unnumbered { step, row, table, key: edit.key, base: found.rev, before, after });
            }
            all.push(outcomes);
        }
        if let Some(sending) = &mut sending {
            let sent = sending.send(&edits).await.map_err(|error| error.with("sink", &self.name))?;
            for (step, row, became) in sent {
                let outcome = &mut all[step][row];
                *outcome = match became {
                    Became::Applied | Became::Prevailed => *outcome,
                    Became::Merged => Outcome::Updated,
                    Became::Overruled => Outcome::Stale,
                    Became::Waits => Outcome::Parked,
                };
            }
        }
        Ok(WriteReport { steps: all.into_iter().map(StepReport::Rows).collect() })
    }

    /// The tables are the master's to make: says what a stream has that its table does not.
    async fn prepare(&self, stream: &StreamSpec) -> Result<Altered> {
        self.target(stream).map(|_| Altered::default())
    }

    async fn stored(&self, stream: &StreamSpec, keys: &[Key]) -> Result<Vec<Option<StoredRow>>> {
        let target = self.target(stream)?;
        Ok(self.found(&target, keys.to_vec()).await?.iter().map(|found| target.stored(found)).collect())
    }

    fn capabilities(&self) -> SinkCapabilities {
        let mut capabilities = SinkCapabilities::idempotent();
        (capabilities.guards, capabilities.rehearsal) = (true, true);
        capabilities
    }

    /// Looks up no row: whether the master is there, and takes the token.
    async fn check(&self) -> Result<()> {
        let Some(table) = self.tables.iter().next() else { return Ok(()) };
        let lookup = Lookup { peer: None, table: table.name().to_owned(), keys: Vec::new() };
        self.master.look_up(&lookup).await.map(drop).map_err(|error| error.with("sink", &self.name))
    }
}

fn is_written(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Created | Outcome::Updated | Outcome::Deleted)
}
