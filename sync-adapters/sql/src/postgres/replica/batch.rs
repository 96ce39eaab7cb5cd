//! Many writes of one table in one statement: a function beside the triggers makes each as it would be made alone.

use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use sync_core::{Error, ErrorKind, Result, Value, ValueRef};

use super::layout::{Layout, all, bind_all};
use super::triggers::Host;
use crate::postgres::column::{Column, sent_as};
use crate::postgres::error::{by_state, failed};
use crate::replica::{Doing, Step, clock, count, literal};

/// How many parameters the function has besides the columns.
pub(super) const STAMP: usize = 7;

/// The code with which it says that a row is not as it was when it was looked at.
const OTHERWISE: &str = "YS001";

/// The function. It finds the host's types as the caller does, so that triggers of the host do.
pub(super) fn function(layout: &Layout, host: &Host) -> Option<String> {
    let make = layout.make.as_ref()?;
    let width = layout.columns.len();
    let kinds: Vec<&str> = layout.fields().iter().map(|field| sent_as(field.kind()).0).collect();
    let types: Vec<String> =
        kinds.iter().chain(&STAMPS.map(|(_, kind)| kind)).map(|kind| format!("{kind}[]")).collect();
    let parameters: Vec<String> = (1..=types.len()).map(|place| format!("${place}")).collect();
    let names: Vec<String> =
        (0..width).map(|place| format!("c{place}")).chain(STAMPS.map(|(name, _)| name.to_owned())).collect();
    let value = |column: usize| format!("w.c{column}{}", sent_as(layout.fields()[column].kind()).1);
    let values: Vec<String> = (0..width).map(value).collect();
    let same = |ours: bool| -> String {
        let keys = layout.key_names().zip(&layout.key);
        let one = |(names, &column): (&crate::replica::Names, &usize)| {
            if ours {
                format!("b.{} = {}", names.kept, value(column))
            } else {
                format!("t.{} = {}", names.host, value(column))
            }
        };
        keys.map(one).collect::<Vec<_>>().join(" AND ")
    };
    let sets: Vec<String> = layout
        .columns
        .iter()
        .zip(&values)
        .filter(|(names, _)| !names.is_key)
        .map(|(names, value)| format!("{} = {value}", names.host))
        .collect();
    let update = match sets.is_empty() {
        true => "NULL".to_owned(),
        false => format!("UPDATE {} t SET {} WHERE {}", host.name, sets.join(", "), same(false)),
    };
    let keys: Vec<String> = layout.key.iter().map(|&column| value(column)).collect();
    let body = format!(
        "#variable_conflict use_variable
DECLARE
  w record; many bigint; made bigint; revs bigint[] := '{{}}';
BEGIN
  FOR w IN SELECT * FROM UNNEST({parameters}) WITH ORDINALITY AS u({names}, ord) ORDER BY u.ord LOOP
    IF w.doing = 'seen' THEN
      UPDATE {row} b SET seen = CASE WHEN w.seen > 0 THEN w.seen ELSE b.seen END, hlc = greatest(b.hlc, w.hlc)
        WHERE {same_ours} AND b.rev = w.rev RETURNING b.rev INTO made;
      many := CASE WHEN FOUND THEN 1 ELSE 0 END;
    ELSE
      PERFORM set_config('sync.hlc', w.hlc::text, true), set_config('sync.origin', w.origin, true),
        set_config('sync.op', w.op::text, true), set_config('sync.seen', w.seen::text, true),
        set_config('sync.upstream', w.upstream::text, true), set_config('sync.row', {row_name}, true);
      IF w.doing = 'insert' THEN
        INSERT INTO {host} ({columns}) VALUES ({values});
      ELSIF w.doing = 'update' THEN
        {update};
      ELSIF w.doing = 'delete' THEN
        DELETE FROM {host} t WHERE {same_host};
      ELSE
        PERFORM {put}({keys});
      END IF;
      GET DIAGNOSTICS many = ROW_COUNT;
      SELECT b.rev INTO made FROM {row} b WHERE {same_ours};
      -- Whose stamp was not taken was not noticed, or was so already.
      IF NOT FOUND OR current_setting('sync.row') <> '' THEN
        many := 0;
      END IF;
    END IF;
    IF many <> 1 THEN
      RAISE EXCEPTION USING MESSAGE = 'the rows are not as they were', ERRCODE = '{OTHERWISE}';
    END IF;
    revs := array_append(revs, made);
  END LOOP;
  RETURN revs;
END",
        parameters = parameters.join(", "),
        names = names.join(", "),
        row = layout.row,
        same_ours = same(true),
        same_host = same(false),
        row_name = layout.row_name(|place| value(layout.key[place])),
        host = host.name,
        columns = all(layout, |names| &names.host),
        values = values.join(", "),
        put = layout.put,
        keys = keys.join(", "),
    );
    Some(format!(
        "CREATE FUNCTION {make}({}) RETURNS bigint[] LANGUAGE plpgsql AS {}",
        types.join(", "),
        literal(&body)
    ))
}

/// What is sent of each write besides its row.
const STAMPS: [(&str, &str); STAMP] = [
    ("doing", "text"),
    ("hlc", "bigint"),
    ("origin", "text"),
    ("op", "bigint"),
    ("seen", "bigint"),
    ("upstream", "boolean"),
    ("rev", "bigint"),
];

/// Makes writes, in this order. `None` where they are to be made one by one.
pub(super) async fn make_all(
    connection: &mut PgConnection,
    layout: &Layout,
    steps: &[Step<'_>],
) -> Result<Option<Vec<u64>>> {
    let Some(make) = &layout.make else { return Ok(None) };
    let parameters: Vec<String> = (1..=layout.columns.len() + STAMP).map(|place| format!("${place}")).collect();
    let sql = format!("SELECT {make}({})", parameters.join(", "));
    let call = bind_all(sqlx::query(AssertSqlSafe(sql)), columns(layout, steps)?);
    let stamp = |one: fn(&Step<'_>) -> Result<i64>| steps.iter().map(one).collect::<Result<Vec<i64>>>();
    let call = call
        .bind(steps.iter().map(|step| named(step.doing)).collect::<Vec<_>>())
        .bind(stamp(|step| clock(step.write))?)
        .bind(steps.iter().map(|step| step.write.origin.to_string()).collect::<Vec<_>>())
        .bind(stamp(|step| count(step.write.op))?)
        .bind(stamp(|step| count(step.write.seen))?)
        .bind(steps.iter().map(|step| step.write.upstream).collect::<Vec<_>>())
        .bind(stamp(|step| count(step.rev))?);
    let made: sqlx::Result<Vec<i64>> = call.fetch_one(connection).await.and_then(|row| row.try_get(0));
    match made {
        Ok(revs) => Ok(Some(revs.into_iter().map(i64::cast_unsigned).collect())),
        Err(cause) if is_refused(&cause) => Ok(None),
        Err(cause) => Err(failed("rows cannot be written", cause).with("table", layout.name())),
    }
}

/// Whether a row is at fault, and not the server or those who hold its locks.
fn is_refused(cause: &sqlx::Error) -> bool {
    let state = cause.as_database_error().and_then(sqlx::error::DatabaseError::code);
    let of_rows = |state: &str| matches!(by_state(state).0, ErrorKind::Data | ErrorKind::Schema | ErrorKind::Forbidden);
    state.is_some_and(|state| state == OTHERWISE || of_rows(&state))
}

fn named(doing: Option<Doing<'_>>) -> &'static str {
    match doing {
        None => "seen",
        Some(Doing::Insert(_)) => "insert",
        Some(Doing::Update(_)) => "update",
        Some(Doing::Delete) => "delete",
        Some(Doing::Note) => "note",
    }
}

/// The rows, one array for each column. Of a row that is not written, only the key is sent.
fn columns(layout: &Layout, steps: &[Step<'_>]) -> Result<Vec<Column>> {
    let mut arrays: Vec<Column> = layout.fields().iter().map(|field| Column::new(field.kind(), steps.len())).collect();
    for step in steps {
        let row = match step.doing {
            Some(Doing::Insert(row) | Doing::Update(row)) => Some(row),
            _ => None,
        };
        if step.write.key.values().len() != layout.key.len() || row.is_some_and(|row| row.len() != arrays.len()) {
            return Err(Error::data("the row has not one value for each column").with("table", layout.name()));
        }
        for (column, (array, field)) in arrays.iter_mut().zip(layout.fields()).enumerate() {
            let of_key = layout.key.iter().position(|key| *key == column).map(|place| &step.write.key.values()[place]);
            let value = row.map(|row| &row[column]).or(of_key).map_or(ValueRef::Null, Value::as_ref);
            array.push(value, field).map_err(|error| error.with("table", layout.name()))?;
        }
    }
    Ok(arrays)
}
