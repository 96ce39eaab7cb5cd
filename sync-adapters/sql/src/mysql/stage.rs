//! Staged rows: a plain append, out of sight.
//!
//! Making and dropping a table commits in MySQL, so a stage is two things. Its rows are in a table that is made before the
//! unit's transaction begins and dropped after it; its entry in `_sync_stage` comes and goes with the transaction, and
//! alone says whether there is such a stage. A table without an entry belongs to nobody. While a unit is about to enter
//! one, it holds a lock of the table's name, which the server frees when the connection ends: so after a crash others
//! see that they may drop it.

use sqlx::mysql::{MySqlArguments, MySqlConnection};
use sqlx::{Arguments as _, AssertSqlSafe, Row as _};
use sync_core::model::{Op, Outcome, StreamSpec};
use sync_core::sink::{Stage, Step};
use sync_core::state::StageName;
use sync_core::{Error, ErrorKind, Result};

use super::batch::{self, ROWS, pieces, run};
use super::checkpoint::NO_SUCH_TABLE;
use super::column::size_of;
use super::connection::Server;
use super::error::{failed, number};
use super::pool::Session;
use super::query::Plan;
use super::rehearsal::shadow;
use super::table;
use crate::classified::changed_meanwhile;
use crate::ident::{list, quoted};
use crate::refused::Refused;
use crate::staged::{column, columns, id, key, named, plain_column};

/// What the tables of stages are called; their entries are in a table of this name without the last underscore.
const PREFIX: &str = "_sync_stage_";

/// The index over the key columns, made when all rows are staged.
const BY_KEY: &str = "by_key";

/// A table of staged rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    name: String,
    /// Made for this unit: its entry is still to be written.
    is_new: bool,
}

impl Place {
    /// Quoted.
    pub(crate) fn table(&self) -> Result<String> {
        quoted(&self.name)
    }

    /// Whether there is such a table.
    pub(crate) async fn exists(&self, connection: &mut MySqlConnection) -> Result<bool> {
        table::exists(connection, &self.name).await
    }
}

/// The tables that a unit needs, made before its transaction: one for each step that stages or publishes.
#[derive(Debug, Default)]
pub(crate) struct Places {
    by_step: Vec<Option<Place>>,
    /// Tables that no entry speaks of any more once the unit is committed.
    left: Vec<String>,
}

impl Places {
    pub(crate) fn of(&self, step: usize) -> Option<&Place> {
        self.by_step.get(step)?.as_ref()
    }

    /// Notes that a stage's table is to be dropped after the commit.
    pub(crate) fn leave(&mut self, place: &Place) {
        self.left.push(place.name.clone());
    }
}

/// Makes and changes the tables that the steps need, and says whether any was made. `temporary` says that nobody else may
/// see what is made or changed: what is there already is copied first.
pub(crate) async fn make(
    session: &mut Session,
    server: Server,
    steps: &[Step],
    temporary: bool,
) -> Result<(Places, bool)> {
    let mut places = Places::default();
    let mut made = false;
    let mut known: Vec<(String, Option<Place>)> = Vec::new();
    for step in steps {
        let (stage, stream) = match step {
            Step::Stage(step) => (&step.stage, &step.stream),
            Step::Publish(step) => (&step.stage, &step.stream),
            Step::Discard { stage, stream } => (stage, stream),
            _ => {
                places.by_step.push(None);
                continue;
            }
        };
        let id = id(stage, stream);
        let place = match known.iter().position(|(known, _)| *known == id) {
            Some(at) => known.swap_remove(at).1,
            None => {
                let place = entry(session, &id, "").await?.map(|name| Place { name, is_new: false });
                if let Some(place) = place.as_ref().filter(|_| temporary && !matches!(step, Step::Discard { .. })) {
                    made = true;
                    let columns = column_names(session, &place.name).await?;
                    let columns = list(columns.iter().map(String::as_str))?;
                    shadow(session, server, &place.table()?, &columns, &[]).await?;
                }
                place
            }
        };
        let next = match (step, place.clone()) {
            (Step::Stage(_), None) => {
                if !made {
                    // Once, since the sweep would take the stages that this unit has made and not entered.
                    make_entries(session, temporary).await?;
                }
                made = true;
                let place = create(session, server, &id, stream, temporary).await?;
                places.by_step.push(Some(place.clone()));
                Some(Place { is_new: false, ..place })
            }
            (Step::Stage(_), Some(place)) => {
                grow(session, server, stream, &place).await?;
                places.by_step.push(Some(place.clone()));
                Some(place)
            }
            (_, place) => {
                if let (Step::Publish(_), Some(place)) = (step, &place) {
                    index(session, stream, place).await?;
                }
                places.by_step.push(place);
                None
            }
        };
        known.push((id, next));
    }
    Ok((places, made))
}

/// Takes away what is not needed after the unit was committed, or was not.
pub(crate) async fn clean_up(session: &mut Session, places: Places, committed: bool) -> Result<()> {
    let new = places.by_step.into_iter().flatten().filter(|place| place.is_new).map(|place| place.name);
    let new: Vec<String> = new.collect();
    let useless = new.iter().filter(|_| !committed).chain(&places.left);
    for name in useless {
        run(session, format!("DROP TABLE IF EXISTS {}", quoted(name)?), "the stage cannot be dropped").await?;
    }
    for name in &new {
        unlock(session, name).await?;
    }
    Ok(())
}

/// The table of a stage, by its entry.
async fn entry(connection: &mut MySqlConnection, id: &str, lock: &str) -> Result<Option<String>> {
    let sql = format!("SELECT place FROM _sync_stage WHERE id = ?{lock}");
    match sqlx::query_scalar(AssertSqlSafe(sql)).bind(id).fetch_optional(connection).await {
        Err(cause) if number(&cause) == Some(NO_SUCH_TABLE) => Ok(None),
        found => found.map_err(|cause| failed("the stage cannot be looked for", cause)),
    }
}

fn kind(temporary: bool) -> &'static str {
    if temporary { "TEMPORARY TABLE" } else { "TABLE" }
}

/// Makes the table of entries where there is none, and takes away what a crash has left.
async fn make_entries(session: &mut Session, temporary: bool) -> Result<()> {
    let entries = format!(
        "CREATE {} IF NOT EXISTS _sync_stage (
            id    char(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
            place varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL UNIQUE
        ) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4",
        kind(temporary)
    );
    // A temporary one would hide the real one, and with it what is staged.
    if !temporary || !entries_exist(session).await? {
        run(session, entries, "the stages cannot be entered anywhere").await?;
    }
    if temporary { Ok(()) } else { sweep(session).await }
}

async fn create(
    session: &mut Session,
    server: Server,
    id: &str,
    stream: &StreamSpec,
    temporary: bool,
) -> Result<Place> {
    let what = "the stage cannot be created";
    let unique: String = sqlx::query_scalar("SELECT lower(hex(uuid_short()))")
        .fetch_one(&mut **session)
        .await
        .map_err(|cause| failed(what, cause))?;
    let place = Place { name: format!("{PREFIX}{id}_{unique}"), is_new: true };
    if !temporary && !lock(session, &place.name).await? {
        return Err(Error::unavailable("the lock of a new stage is not free"));
    }
    let plan = Plan::of(stream, server)?;
    let fields = stream.schema().fields().iter().zip(&plan.types);
    let mut parts = vec![
        "seq bigint NOT NULL AUTO_INCREMENT PRIMARY KEY".to_owned(),
        "op tinyint NOT NULL".to_owned(),
        "fields longtext".to_owned(),
    ];
    for (field, declared) in fields {
        parts.push(format!("{} {declared}", column(field.name())?));
    }
    if temporary && !plan.key.is_empty() {
        parts.push(format!("INDEX {BY_KEY} ({})", key(stream)?));
    }
    let create = format!(
        "CREATE {} {} ({}) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {}",
        kind(temporary),
        place.table()?,
        parts.join(", "),
        server.exact
    );
    run(session, create, what).await?;
    Ok(place)
}

async fn entries_exist(connection: &mut MySqlConnection) -> Result<bool> {
    match sqlx::query("SELECT 1 FROM _sync_stage LIMIT 1").fetch_optional(connection).await {
        Ok(_) => Ok(true),
        Err(cause) if number(&cause) == Some(NO_SUCH_TABLE) => Ok(false),
        Err(cause) => Err(failed("the stages cannot be looked for", cause)),
    }
}

/// Adds the columns that the stream has gained since rows were staged.
async fn grow(session: &mut Session, server: Server, stream: &StreamSpec, place: &Place) -> Result<()> {
    let there: Vec<String> = column_names(session, &place.name).await?;
    let plan = Plan::of(stream, server)?;
    let fields = stream.schema().fields().iter().zip(&plan.types);
    let missing = fields.filter(|(field, _)| !there.contains(&plain_column(field.name())));
    let add = missing.map(|(field, declared)| Ok(format!("ADD COLUMN {} {declared}", column(field.name())?)));
    let add = add.collect::<Result<Vec<_>>>()?;
    if add.is_empty() {
        return Ok(());
    }
    run(session, format!("ALTER TABLE {} {}", place.table()?, add.join(", ")), "the stage cannot be changed").await
}

async fn column_names(connection: &mut MySqlConnection, table: &str) -> Result<Vec<String>> {
    let rows =
        sqlx::raw_sql(AssertSqlSafe(format!("SHOW COLUMNS FROM {}", quoted(table)?))).fetch_all(connection).await;
    let names = rows.and_then(|rows| rows.iter().map(|row| row.try_get_unchecked(0)).collect());
    names.map_err(|cause| failed("the stage cannot be looked at", cause))
}

/// Makes the index by which a stage is published. It sorts all keys at once, which is cheaper than with every row.
async fn index(session: &mut Session, stream: &StreamSpec, place: &Place) -> Result<()> {
    let what = "the stage cannot be indexed";
    let show = format!("SHOW INDEX FROM {} WHERE Key_name = '{BY_KEY}'", place.table()?);
    let there = sqlx::raw_sql(AssertSqlSafe(show)).fetch_all(&mut **session).await;
    if !there.map_err(|cause| failed(what, cause))?.is_empty() {
        return Ok(());
    }
    run(session, format!("ALTER TABLE {} ADD INDEX {BY_KEY} ({})", place.table()?, key(stream)?), what).await
}

/// Drops tables that no entry speaks of and nobody is about to enter: what a crash has left.
async fn sweep(session: &mut Session) -> Result<()> {
    let what = "left stages cannot be looked for";
    let tables: Vec<String> = sqlx::query(
        "SELECT TABLE_NAME FROM information_schema.TABLES
         WHERE TABLE_SCHEMA = DATABASE() AND LEFT(TABLE_NAME, 12) = ? AND TABLE_TYPE = 'BASE TABLE'",
    )
    .bind(PREFIX)
    .fetch_all(&mut **session)
    .await
    .and_then(|rows| rows.iter().map(|row| row.try_get_unchecked(0)).collect())
    .map_err(|cause| failed(what, cause))?;
    for table in tables {
        if !lock(session, &table).await? {
            continue;
        }
        // Asked only under the lock: whoever has made the table has entered it by now, or never will.
        let entered: Option<i64> = sqlx::query_scalar("SELECT 1 FROM _sync_stage WHERE place = ?")
            .bind(&table)
            .fetch_optional(&mut **session)
            .await
            .map_err(|cause| failed(what, cause))?;
        if entered.is_none() {
            run(session, format!("DROP TABLE IF EXISTS {}", quoted(&table)?), what).await?;
        }
        unlock(session, &table).await?;
    }
    Ok(())
}

/// Tries to hold the lock of a table's name, which is unique on its server.
async fn lock(connection: &mut MySqlConnection, name: &str) -> Result<bool> {
    let locked: Option<i64> = sqlx::query_scalar("SELECT GET_LOCK(?, 0)")
        .bind(name)
        .fetch_one(connection)
        .await
        .map_err(|cause| failed("no lock for a stage", cause))?;
    Ok(locked == Some(1))
}

async fn unlock(connection: &mut MySqlConnection, name: &str) -> Result<()> {
    sqlx::query("DO RELEASE_LOCK(?)")
        .bind(name)
        .execute(connection)
        .await
        .map(drop)
        .map_err(|cause| failed("the lock of a stage is lost", cause))
}

/// Appends rows to the stage.
pub(crate) async fn append(
    connection: &mut MySqlConnection,
    server: Server,
    step: usize,
    stage: &Stage,
    place: &Place,
    refused: &mut Refused,
) -> Result<Vec<Outcome>> {
    let stream = &stage.stream;
    let plan = Plan::of(stream, server)?;
    let mut rows = Vec::with_capacity(stage.changes.len());
    for (row, change) in stage.changes.iter().enumerate() {
        match plan.key.iter().find(|&&key| change.row().at(key).is_null()) {
            None => rows.push(row),
            Some(&key) => {
                let empty = format!("column {:?} must not be empty", plan.field(key).name());
                refused.add(Error::data(empty).with("stream", stream.name()).at_row(step, row));
            }
        }
    }
    enter(connection, &plan, &id(&stage.stage, stream), place).await?;
    let all = plan.all();
    let size = |row: usize| stage.changes.rows().row(row).values().map(size_of).sum::<usize>() + 64;
    let mut pieces = pieces(&rows, all.len() + 2, server, size);
    for &row in &pieces.too_large {
        refused.add(batch::too_large(server).with("stream", stream.name()).at_row(step, row));
    }
    let head = format!(
        "INSERT INTO {} (op, fields, {})",
        place.table()?,
        columns(stream.schema().fields().iter().map(sync_core::model::Field::name))?
    );
    while let Some(piece) = pieces.next() {
        match append_piece(connection, &plan, step, stage, piece, &head).await {
            Err(error) if error.kind() == ErrorKind::Data => {
                if let Some(row) = pieces.refused(piece) {
                    refused.add(error.at_row(step, row));
                }
            }
            done => done?,
        }
        if refused.is_full() {
            break;
        }
    }
    Ok(vec![Outcome::Staged; stage.changes.len()])
}

async fn append_piece(
    connection: &mut MySqlConnection,
    plan: &Plan<'_>,
    step: usize,
    stage: &Stage,
    rows: &[usize],
    head: &str,
) -> Result<()> {
    let (stream, all) = (&stage.stream, plan.all());
    let mut arguments = MySqlArguments::default();
    for &row in rows {
        let change = stage.changes.at(row);
        let fields = change.fields().map(|fields| named(stream, fields));
        arguments
            .add(i64::from(change.op() == Op::Delete))
            .and_then(|()| arguments.add(fields))
            .map_err(|_| Error::internal("the mark of a staged row cannot be sent"))?;
        plan.bind(&mut arguments, &stage.changes, row, &all, step)?;
    }
    let places = format!("({})", vec!["?"; all.len() + 2].join(","));
    batch::execute(connection, batch::values(head, &places, rows.len()), arguments, rows.len() == ROWS)
        .await
        .map(drop)
        .map_err(|cause| failed("the rows cannot be staged", cause).with("stream", stream.name()))
}

/// Writes the entry of a new stage, or sees that the one of an old stage is still there.
async fn enter(connection: &mut MySqlConnection, plan: &Plan<'_>, id: &str, place: &Place) -> Result<()> {
    if place.is_new {
        let entered = sqlx::query("INSERT INTO _sync_stage (id, place) VALUES (?, ?)")
            .bind(id)
            .bind(&place.name)
            .execute(connection)
            .await;
        return match entered {
            // Somebody else has begun the same stage.
            Err(cause) if number(&cause) == Some(1062) => Err(changed_meanwhile(plan.stream)),
            entered => entered.map(drop).map_err(|cause| failed("the stage cannot be entered", cause)),
        };
    }
    claim(connection, plan, id, place).await
}

/// Sees that a stage is still where it was, and keeps others from publishing it meanwhile.
pub(crate) async fn claim(connection: &mut MySqlConnection, plan: &Plan<'_>, id: &str, place: &Place) -> Result<()> {
    let there = entry(connection, id, " FOR UPDATE").await?;
    if there.as_deref() == Some(place.name.as_str()) { Ok(()) } else { Err(changed_meanwhile(plan.stream)) }
}

/// Takes the entry of a stage away: from the commit on there is no such stage.
pub(crate) async fn forget(
    connection: &mut MySqlConnection,
    stage: &StageName,
    stream: &StreamSpec,
    places: &mut Places,
    place: &Place,
) -> Result<()> {
    sqlx::query("DELETE FROM _sync_stage WHERE id = ?")
        .bind(id(stage, stream))
        .execute(connection)
        .await
        .map_err(|cause| failed("the stage cannot be forgotten", cause))?;
    places.leave(place);
    Ok(())
}
