//! Many writes of one table in one go: their statements are sent together, each as it would be made alone, with the values written out.

use std::collections::HashMap;
use std::fmt::Write as _;

use chrono::Datelike as _;
use sqlx::mysql::MySqlArguments;
use sqlx::{AssertSqlSafe, Executor as _, MySqlConnection};
use sync_core::model::{Field, Kind};
use sync_core::{Error, ErrorKind, Key, Result, Value, ValueRef};

use super::feed::{key, number};
use super::layout::Layout;
use super::rows::KEYS;
use crate::mysql::column::{bind, compared, decimal_text, size_of};
use crate::mysql::error::failed;
use crate::replica::{Doing, Step, clock, count};

/// About so many bytes are sent at once: servers take a few millions, and what is written out is longer than what it says.
const BYTES: usize = 256 * 1024;

/// A row with more is written alone, and its values are sent as they are.
const LARGE: usize = 256 * 1024;

/// Locks the rows of these keys against other writers, in the order in which they come: one statement for each, sent together.
///
/// One statement for many may scan the table, and would wait for rows that nobody asked for.
pub(super) async fn lock(connection: &mut MySqlConnection, layout: &Layout, keys: &[&Key]) -> Result<()> {
    let mut sql = String::new();
    for (number, key) in keys.iter().enumerate() {
        let is_host = is(layout, key, |names| format!("t.{}", names.host))?;
        let _ = writeln!(sql, "SELECT 1 FROM {} t WHERE {is_host} FOR UPDATE;", layout.host);
        if sql.len() > BYTES || number + 1 == keys.len() {
            let locked = connection.execute(sqlx::raw_sql(AssertSqlSafe(std::mem::take(&mut sql)))).await;
            locked.map_err(|cause| failed("rows cannot be locked", cause).with("table", layout.name()))?;
        }
    }
    Ok(())
}

/// Makes writes, in this order. `None` where they are to be made one by one.
///
/// After each statement the server itself counts: it had one row, and its stamp was taken. What was not so is found out row by row.
pub(super) async fn make_all(
    connection: &mut MySqlConnection,
    layout: &Layout,
    steps: &[Step<'_>],
) -> Result<Option<Vec<u64>>> {
    // What a host was writing while a note waited for it is looked for one by one.
    if steps.iter().any(|step| matches!(step.doing, Some(Doing::Note)) || is_large(step)) {
        return Ok(None);
    }
    let mut sql = "SET @sync_made = 0;\n".to_owned();
    for (number, step) in steps.iter().enumerate() {
        statements(&mut sql, layout, step)?;
        if sql.len() > BYTES || number + 1 == steps.len() {
            match connection.execute(sqlx::raw_sql(AssertSqlSafe(std::mem::take(&mut sql)))).await {
                Ok(_) => {}
                Err(cause) => {
                    let error = failed("rows cannot be written", cause).with("table", layout.name());
                    // Whether a row is at fault, and not the server or those who hold its locks.
                    return match error.kind() {
                        ErrorKind::Data | ErrorKind::Schema | ErrorKind::Forbidden => Ok(None),
                        _ => Err(error),
                    };
                }
            }
        }
    }
    let made = sqlx::query("SELECT CAST(@sync_made AS SIGNED)").fetch_one(&mut *connection).await;
    let made = made.and_then(|row| number(&row, 0)).map_err(uncounted)?;
    let wanted = steps.iter().filter(|step| step.doing.is_some()).count();
    if usize::try_from(made).ok() != Some(wanted) {
        return Ok(None);
    }
    revs(connection, layout, steps).await
}

/// The statements of one write.
fn statements(sql: &mut String, layout: &Layout, step: &Step<'_>) -> Result<()> {
    let write = step.write;
    let written = |value: &Value, column: usize| written(value.as_ref(), &layout.fields()[column]);
    let Some(doing) = step.doing else {
        let is_ours = is(layout, &write.key, |names| format!("b.{}", names.kept))?;
        let (seen, hlc) = (count(write.seen)?, clock(write)?);
        let _ = writeln!(
            sql,
            "UPDATE {} b SET b.seen = IF({seen} > 0, {seen}, b.seen), b.hlc = GREATEST(b.hlc, {hlc}) WHERE {is_ours};",
            layout.row
        );
        return Ok(());
    };
    let names = layout.row_name_of(|place| written(&write.key.values()[place], layout.key[place]))?;
    let _ = writeln!(
        sql,
        "SET @sync_hlc = {}, @sync_origin = {}, @sync_op = {}, @sync_seen = {}, @sync_upstream = {}, @sync_row = {names};",
        clock(write)?,
        text(&write.origin),
        count(write.op)?,
        count(write.seen)?,
        u8::from(write.upstream),
    );
    let host = &layout.host;
    let _ = match doing {
        Doing::Insert(row) => {
            whole(layout, row)?;
            let values = row.iter().enumerate().map(|(column, value)| written(value, column));
            let values = values.collect::<Result<Vec<_>>>()?.join(", ");
            writeln!(sql, "INSERT INTO {host} ({}) VALUES ({values});", layout.all("", |names| &names.host))
        }
        Doing::Update(row) => {
            whole(layout, row)?;
            let columns = layout.columns.iter().zip(row).enumerate().filter(|(_, (names, _))| !names.is_key);
            let sets =
                columns.map(|(column, (names, value))| Ok(format!("t.{} = {}", names.host, written(value, column)?)));
            let sets = sets.collect::<Result<Vec<_>>>()?.join(", ");
            let is_host = is(layout, &write.key, |names| format!("t.{}", names.host))?;
            writeln!(sql, "UPDATE {host} t SET {sets} WHERE {is_host};")
        }
        Doing::Note => return Err(Error::internal("a note is made alone")),
        Doing::Delete => {
            let is_host = is(layout, &write.key, |names| names.host.clone())?;
            writeln!(sql, "DELETE FROM {host} WHERE {is_host};")
        }
    };
    sql.push_str("SET @sync_made = @sync_made + (ROW_COUNT() = 1 AND @sync_row IS NULL);");
    Ok(())
}

fn whole(layout: &Layout, row: &[Value]) -> Result<()> {
    if row.len() == layout.columns.len() {
        return Ok(());
    }
    Err(Error::data("the row has not one value for each column").with("table", layout.name()))
}

/// The counts of these rows; `None` where one is not known, or was written although it was only to be noted.
async fn revs(connection: &mut MySqlConnection, layout: &Layout, steps: &[Step<'_>]) -> Result<Option<Vec<u64>>> {
    let mut found: HashMap<Key, u64> = HashMap::with_capacity(steps.len());
    for steps in steps.chunks(KEYS) {
        let sql = format!(
            "SELECT b.rev, {} FROM {} b WHERE {}",
            layout.keys("b."),
            layout.row,
            layout.is_ours("b.", steps.len())
        );
        let mut arguments = MySqlArguments::default();
        steps.iter().try_for_each(|step| layout.bind_key(&mut arguments, &step.write.key))?;
        let select = sqlx::query_with(AssertSqlSafe(sql), arguments).persistent(steps.len() == KEYS);
        for row in select.fetch_all(&mut *connection).await.map_err(uncounted)? {
            let rev = number(&row, 0).map_err(uncounted)?.cast_unsigned();
            found.insert(layout.canonical(&key(&row, 1, layout)?), rev);
        }
    }
    let rev = |step: &Step<'_>| {
        let rev = found.get(&layout.canonical(&step.write.key)).copied();
        rev.filter(|rev| step.doing.is_some() || *rev == step.rev)
    };
    Ok(steps.iter().map(rev).collect())
}

fn is_large(step: &Step<'_>) -> bool {
    let size = |values: &[Value]| values.iter().map(|value| size_of(value.as_ref())).sum::<usize>();
    size(step.write.key.values()) + step.write.row.as_deref().map_or(0, size) > LARGE
}

/// The columns are those of this key.
fn is(layout: &Layout, key: &Key, piece: impl Fn(&crate::replica::Names) -> String) -> Result<String> {
    if key.values().len() != layout.key.len() {
        return Err(Error::data("the key has not one value for each key column").with("table", layout.name()));
    }
    let mut all = Vec::with_capacity(layout.key.len());
    for ((names, value), &column) in layout.key_names().zip(key.values()).zip(&layout.key) {
        let field = &layout.fields()[column];
        let written = written(value.as_ref(), field).map_err(|error| error.with("table", layout.name()))?;
        all.push(format!("{} = {}", piece(names), compared(field.kind()).replacen('?', &written, 1)));
    }
    Ok(all.join(" AND "))
}

/// A value, written out. Of text and bytes only hexadecimal digits are, so that no setting of the server reads anything else.
///
/// # Errors
/// `Data`, naming the column, when MySQL cannot hold the value exactly.
fn written(value: ValueRef<'_>, field: &Field) -> Result<String> {
    // What cannot be bound cannot be written either, for the same reason.
    bind(&mut MySqlArguments::default(), value, field)?;
    Ok(match (field.kind(), value) {
        (_, ValueRef::Bool(v)) => u8::from(v).to_string(),
        (_, ValueRef::Int(v)) => v.to_string(),
        (_, ValueRef::UInt(v)) => v.to_string(),
        // With an exponent, so that it is no decimal.
        (_, ValueRef::Float(v)) => format!("{:e}", if v == 0.0 { 0.0 } else { v }),
        (Kind::Decimal { .. }, value @ (ValueRef::Decimal(_) | ValueRef::Text(_))) => {
            format!("'{}'", decimal_text(value, field)?)
        }
        (_, ValueRef::Bytes(v)) => format!("x'{}'", hex(v)),
        (_, ValueRef::Timestamp(v)) => match v.to_datetime() {
            Some(at) => format!("TIMESTAMP'{}'", at.naive_utc().format("%Y-%m-%d %H:%M:%S%.6f")),
            None => return Err(Error::data("the instant lies outside of all calendars").with("column", field.name())),
        },
        (_, ValueRef::Date(v)) => format!("DATE'{:04}-{:02}-{:02}'", v.year(), v.month(), v.day()),
        (_, ValueRef::Text(v) | ValueRef::Json(v)) => text(v),
        _ => "NULL".to_owned(),
    })
}

fn text(text: &str) -> String {
    format!("_utf8mb4 x'{}'", hex(text.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn uncounted(cause: sqlx::Error) -> Error {
    failed("the stamp of a row cannot be written", cause)
}
