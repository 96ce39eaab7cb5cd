//! The target table: created from the declaration, grown with it, and refused where it would lose something.

use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use sync_core::model::{Absent, Field, Kind, StreamSpec};
use sync_core::sink::Altered;
use sync_core::{Error, ErrorKind, Result, Retry};

use super::column::declared_type;
use super::error::failed;
use super::query::name;
use super::relation;
use crate::differs::differs;
use crate::ident::{list, quoted};
use crate::tables::Shape;

/// A column as the table has it.
struct Column {
    name: String,
    declared: String,
    computed: bool,
    required: bool,
    /// Whether its collation tells all different texts apart.
    exact: bool,
    /// Whether its table is one of the server's own, which stand before all others of their name.
    of_server: bool,
}

/// Whether there is a table. Each run waits for the answer before it does anything else: what the table is like is asked when it
/// is prepared, while the source is read.
pub(crate) async fn exists(connection: &mut PgConnection, stream: &StreamSpec) -> Result<bool> {
    sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(name(stream.name())?)
        .fetch_one(connection)
        .await
        .map_err(|cause| failed("the table cannot be looked for", cause).with("table", stream.name()))
}

/// What a table lacks.
enum Need {
    /// The whole table.
    Create,
    /// Changes of columns, each with the name of its column, and what they come to. There may be none.
    Alter { changes: Vec<(String, String)>, altered: Altered },
}

/// Creates the table, or adds and widens the columns that need it, and says whether there was anything to do.
///
/// # Errors
/// `Schema`, with the exact difference, when the table cannot hold the stream without loss.
pub(crate) async fn prepare(connection: &mut PgConnection, stream: &StreamSpec) -> Result<bool> {
    match standing(connection, stream).await? {
        Some(_) => Ok(false),
        None => change(connection, stream, drop).await.map(|()| true),
    }
}

/// For how long a change of a table waits for whoever reads or writes it. Those who come behind it wait as long.
pub(crate) const WAIT: &str = "SET LOCAL lock_timeout = '5s'";

/// The same of a table that was found to lack something. What is changed in one that was there is noted, for when it is committed.
pub(crate) async fn change(
    connection: &mut PgConnection,
    stream: &StreamSpec,
    note: impl FnOnce(Altered),
) -> Result<()> {
    alone(connection).await?;
    // Whoever was alone before may have changed it.
    let columns = columns(connection, stream).await?;
    match needs(connection, stream, &columns).await? {
        Need::Create => create(connection, stream).await,
        Need::Alter { changes, altered } => {
            run(connection, WAIT.to_owned(), "the table cannot be changed").await?;
            for (column, change) in changes {
                let alter = format!("ALTER TABLE {} {change}", name(stream.name())?);
                make(connection, alter.clone(), "the table cannot be changed")
                    .await
                    .map_err(|error| error.with("column", column).with("change", alter))?;
            }
            note(altered);
            Ok(())
        }
    }
}

/// The types of the stream's columns as its table has them, where nothing need be done about it.
///
/// # Errors
/// As those of [`prepare`].
pub(crate) async fn standing(connection: &mut PgConnection, stream: &StreamSpec) -> Result<Option<Shape>> {
    let columns = columns(connection, stream).await?;
    match needs(connection, stream, &columns).await? {
        Need::Alter { changes, .. } if changes.is_empty() => Ok(Some(shape_of(columns, stream))),
        _ => Ok(None),
    }
}

/// What would be changed in a table that is there.
///
/// # Errors
/// As those of [`prepare`].
pub(crate) async fn lacking(connection: &mut PgConnection, stream: &StreamSpec) -> Result<Altered> {
    let columns = columns(connection, stream).await?;
    match needs(connection, stream, &columns).await? {
        Need::Alter { altered, .. } => Ok(altered),
        Need::Create => Ok(Altered::default()),
    }
}

async fn needs(connection: &mut PgConnection, stream: &StreamSpec, columns: &[Column]) -> Result<Need> {
    if stream.name().starts_with("_sync_") {
        return Err(Error::config(
            "names that begin with \"_sync_\" are reserved for tables of the sink: rename the stream",
        )
        .with("stream", stream.name()));
    }
    if let Some(field) =
        stream.schema().fields().iter().find(|field| is_key(stream, field) && field.kind() == Kind::Json)
    {
        return Err(Error::config(format!(
            "key column {:?} is json, which PostgreSQL does not compare: declare it as text",
            field.name()
        ))
        .with("stream", stream.name()));
    }
    if columns.iter().any(|column| column.of_server) {
        return Err(Error::config("PostgreSQL has a table of this name for itself: rename the stream")
            .with("stream", stream.name()));
    }
    if columns.is_empty() && !exists(connection, stream).await? {
        return Ok(Need::Create);
    }
    check_key(stream, columns, &relation::keys(connection, stream).await?)?;
    let wanted = wanted(stream);
    let declared = |column: &Column| wanted.iter().any(|field| column.name == field.name());
    if let Some(column) = columns.iter().find(|column| column.required && !column.computed && !declared(column)) {
        return Err(differs(
            stream,
            format!(
                "the target table requires column {:?}, which the stream does not declare, so no row could be added: declare it in the stream, or give it a default in the table",
                column.name
            ),
        ));
    }
    let (mut changes, mut altered) = (Vec::new(), Altered::default());
    for field in &wanted {
        let (change, kind) = match columns.iter().find(|column| column.name == field.name()) {
            None => {
                let add = format!("ADD COLUMN {} {}", name(field.name())?, declared_type(field.kind()));
                (Some(add), &mut altered.added)
            }
            Some(column) => (widen(stream, field, column)?, &mut altered.widened),
        };
        if let Some(change) = change {
            kind.push(field.name().to_owned());
            changes.push((field.name().to_owned(), change));
        }
    }
    Ok(Need::Alter { changes, altered })
}

/// The types of the stream's columns as its table has them; none where there is no table.
pub(crate) async fn shape(connection: &mut PgConnection, stream: &StreamSpec) -> Result<Shape> {
    Ok(shape_of(columns(connection, stream).await?, stream))
}

fn shape_of(columns: Vec<Column>, stream: &StreamSpec) -> Shape {
    let declared = |column: &Column| stream.schema().index(&column.name).is_some();
    columns.into_iter().filter(declared).map(|column| (column.name, column.declared)).collect()
}

/// Changes of tables go one after the other: two that create one table at once would fail.
pub(crate) async fn alone(connection: &mut PgConnection) -> Result<()> {
    // Any number will do that nobody else uses: this one spells "sync".
    run(connection, "SELECT pg_advisory_xact_lock(1937337955)".to_owned(), "no lock for the change of a table").await
}

pub(crate) async fn run(connection: &mut PgConnection, sql: String, what: &'static str) -> Result<()> {
    sqlx::query(AssertSqlSafe(sql)).execute(connection).await.map(drop).map_err(|cause| failed(what, cause))
}

/// Makes a table or a column.
async fn make(connection: &mut PgConnection, sql: String, what: &'static str) -> Result<()> {
    sqlx::query(AssertSqlSafe(sql)).execute(connection).await.map(drop).map_err(|cause| {
        let state = cause.as_database_error().and_then(sqlx::error::DatabaseError::code);
        match state.as_deref() {
            // A table (which has a type of its name) or a column that somebody made while this waited for it.
            Some("23505" | "42P07" | "42701") => {
                let by = "somebody else made the same change at the same moment";
                Error::new(ErrorKind::Conflict, by).with_retry(Retry::Backoff).with("change", what)
            }
            Some("55P03") => failed(what, cause).with_remedy(HELD),
            _ => failed(what, cause),
        }
    })
}

const HELD: &str =
    "end the transaction that holds the table (`pg_stat_activity` has it, \"idle in transaction\"), or run again later";

fn is_key(stream: &StreamSpec, field: &Field) -> bool {
    stream.key_columns().iter().any(|key| key == field.name())
}

/// The stream's columns, and the one that marks missing rows.
fn wanted(stream: &StreamSpec) -> Vec<Field> {
    let mut fields = stream.schema().fields().to_vec();
    if let Absent::Mark(column) = stream.when_absent()
        && stream.schema().index(column).is_none()
    {
        fields.push(Field::new(column.as_str(), Kind::Timestamp));
    }
    fields
}

async fn create(connection: &mut PgConnection, stream: &StreamSpec) -> Result<()> {
    let column = |field: &Field| {
        let required = if field.is_nullable() { "" } else { " NOT NULL" };
        Ok(format!("{} {}{required}", name(field.name())?, declared_type(field.kind())))
    };
    let mut parts = wanted(stream).iter().map(column).collect::<Result<Vec<_>>>()?;
    if !stream.key_columns().is_empty() {
        parts.push(format!("PRIMARY KEY ({})", list(stream.key_columns().iter().map(String::as_str))?));
    }
    let create = format!("CREATE TABLE IF NOT EXISTS {} ({})", name(stream.name())?, parts.join(", "));
    make(connection, create, "the table cannot be created").await.map_err(|error| error.with("table", stream.name()))
}

async fn columns(connection: &mut PgConnection, stream: &StreamSpec) -> Result<Vec<Column>> {
    let unread = |cause| failed("the table cannot be looked at", cause).with("table", stream.name());
    let rows = sqlx::query(
        "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), a.attgenerated <> '' OR a.attidentity = 'a',
                a.attnotnull AND NOT a.atthasdef AND a.attidentity = '', coalesce(c.collisdeterministic, true),
                a.attrelid::bigint < 16384
         FROM pg_attribute a LEFT JOIN pg_collation c ON c.oid = a.attcollation
         WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
    )
    .bind(name(stream.name())?)
    .fetch_all(connection)
    .await
    .map_err(unread)?;
    let column = |row: &sqlx::postgres::PgRow| {
        Ok(Column {
            name: row.try_get(0)?,
            declared: row.try_get(1)?,
            computed: row.try_get(2)?,
            required: row.try_get(3)?,
            exact: row.try_get(4)?,
            of_server: row.try_get(5)?,
        })
    };
    rows.iter().map(column).collect::<std::result::Result<_, sqlx::Error>>().map_err(unread)
}

/// Refuses a table whose key is another one, or takes different keys for the same.
fn check_key(stream: &StreamSpec, columns: &[Column], keys: &[Vec<String>]) -> Result<()> {
    if stream.key_columns().is_empty() {
        return Ok(());
    }
    let mut wanted = stream.key_columns().to_vec();
    wanted.sort();
    if !keys.contains(&wanted) {
        let found: Vec<String> = keys.iter().map(|key| format!("({})", key.join(", "))).collect();
        let has = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
        return Err(differs(
            stream,
            format!(
                "the target table needs a unique key over exactly ({}), not deferrable; it has {has}",
                wanted.join(", ")
            ),
        ));
    }
    match columns.iter().find(|column| !column.exact && wanted.contains(&column.name)) {
        None => Ok(()),
        Some(column) => Err(differs(
            stream,
            format!(
                "key column {:?} of the target table has a collation that takes different keys for the same; give it a deterministic one, such as \"C\"",
                column.name
            ),
        )),
    }
}

/// What must change so that the column holds every value of the field; nothing, where it does.
fn widen(stream: &StreamSpec, field: &Field, column: &Column) -> Result<Option<String>> {
    if column.computed {
        return Err(differs(
            stream,
            format!(
                "column {:?} is computed by the target table: leave it out of the stream, or make it a plain one",
                column.name
            ),
        ));
    }
    let declared = column.declared.as_str();
    let wanted = declared_type(field.kind());
    let refused = || {
        Err(differs(
            stream,
            format!(
                "column {:?} of the target table is declared {declared:?}, which cannot hold every {}; make it {wanted:?} there, or declare in the stream what the table has",
                column.name,
                field.kind()
            ),
        ))
    };
    let to = |wanted: &str| Ok(Some(format!("ALTER COLUMN {} TYPE {wanted}", quoted(&column.name)?)));
    match field.kind() {
        _ if declared == wanted => Ok(None),
        Kind::Int if declared == "numeric" => refused(),
        Kind::Int if matches!(declared, "integer" | "smallint") => to(&wanted),
        Kind::Text if declared.starts_with("character varying") => {
            if declared == "character varying" {
                Ok(None)
            } else {
                to(&wanted)
            }
        }
        Kind::UInt | Kind::Decimal { .. } if declared == "numeric" => Ok(None),
        Kind::UInt | Kind::Decimal { .. } => {
            let (precision, scale) = match field.kind() {
                Kind::Decimal { precision, scale } => (precision, scale),
                _ => (20, 0),
            };
            match digits(declared) {
                Some((has, fraction)) if fraction >= scale && has - fraction >= precision - scale => Ok(None),
                Some((has, fraction)) if fraction <= scale && has - fraction <= precision - scale => to(&wanted),
                _ => refused(),
            }
        }
        _ => refused(),
    }
}

/// `numeric(12,2)`: all digits, and those after the point.
fn digits(declared: &str) -> Option<(u8, u8)> {
    let (precision, scale) = declared.strip_prefix("numeric(")?.strip_suffix(')')?.split_once(',')?;
    Some((precision.parse().ok()?, scale.parse().ok()?))
}
