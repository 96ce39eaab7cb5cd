//! Values between rows and PostgreSQL, without loss: a whole column of a page travels as one array.

use chrono::{DateTime, Datelike as _, NaiveDate, TimeDelta, Utc};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Column as _, Row as _, TypeInfo as _};
use sync_core::model::{Decimal, Field, Kind, Timestamp};
use sync_core::{Error, Result, Value, ValueRef};

use super::error::failed;
use crate::number::{plain_decimal, write_decimal};

/// The type a column of this kind is declared with.
pub(crate) fn declared_type(kind: Kind) -> String {
    match kind {
        Kind::Bool => "boolean".to_owned(),
        Kind::Int => "bigint".to_owned(),
        Kind::UInt => "numeric(20,0)".to_owned(),
        Kind::Float => "double precision".to_owned(),
        Kind::Decimal { precision, scale } => format!("numeric({precision},{scale})"),
        Kind::Text => "text".to_owned(),
        Kind::Bytes => "bytea".to_owned(),
        Kind::Timestamp => "timestamp with time zone".to_owned(),
        Kind::Date => "date".to_owned(),
        // `jsonb` would write it anew; this keeps the text.
        _ => "json".to_owned(),
    }
}

/// The type in which values of this kind are sent, and what turns them into the column's.
pub(crate) fn sent_as(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Bool => ("boolean", ""),
        Kind::Int => ("bigint", ""),
        Kind::UInt | Kind::Decimal { .. } => ("text", "::numeric"),
        Kind::Float => ("double precision", ""),
        Kind::Text => ("text", ""),
        Kind::Bytes => ("bytea", ""),
        Kind::Timestamp => ("timestamp with time zone", ""),
        Kind::Date => ("date", ""),
        _ => ("text", "::json"),
    }
}

/// How a column of this kind is asked for, so that [`read`] understands the answer.
pub(crate) fn asked_as(kind: Kind) -> &'static str {
    match kind {
        Kind::UInt | Kind::Decimal { .. } => "::text",
        // A dry run looks at columns that are still too narrow.
        Kind::Int => "::bigint",
        Kind::Float => "::float8",
        Kind::Bool | Kind::Text | Kind::Bytes | Kind::Timestamp | Kind::Date => "",
        _ => "::text",
    }
}

/// The values of one column, in the order of their rows.
#[derive(Debug, Clone)]
pub(crate) enum Column {
    Bool(Vec<Option<bool>>),
    Int(Vec<Option<i64>>),
    Float(Vec<Option<f64>>),
    Text(Vec<Option<String>>),
    Bytes(Vec<Option<Vec<u8>>>),
    Timestamp(Vec<Option<DateTime<Utc>>>),
    Date(Vec<Option<NaiveDate>>),
}

impl Column {
    pub(crate) fn new(kind: Kind, rows: usize) -> Self {
        match kind {
            Kind::Bool => Self::Bool(Vec::with_capacity(rows)),
            Kind::Int => Self::Int(Vec::with_capacity(rows)),
            Kind::Float => Self::Float(Vec::with_capacity(rows)),
            Kind::Bytes => Self::Bytes(Vec::with_capacity(rows)),
            Kind::Timestamp => Self::Timestamp(Vec::with_capacity(rows)),
            Kind::Date => Self::Date(Vec::with_capacity(rows)),
            _ => Self::Text(Vec::with_capacity(rows)),
        }
    }

    /// One more value.
    ///
    /// # Errors
    /// `Data`, naming the column, when PostgreSQL cannot hold the value exactly.
    pub(crate) fn push(&mut self, value: ValueRef<'_>, field: &Field) -> Result<()> {
        match (self, value) {
            (Self::Bool(column), ValueRef::Null) => column.push(None),
            (Self::Bool(column), ValueRef::Bool(v)) => column.push(Some(v)),
            (Self::Int(column), ValueRef::Null) => column.push(None),
            (Self::Int(column), ValueRef::Int(v)) => column.push(Some(v)),
            (Self::Float(column), ValueRef::Null) => column.push(None),
            (Self::Float(column), ValueRef::Float(v)) => column.push(Some(if v == 0.0 { 0.0 } else { v })),
            (Self::Bytes(column), ValueRef::Null) => column.push(None),
            (Self::Bytes(column), ValueRef::Bytes(v)) => column.push(Some(v.to_vec())),
            (Self::Timestamp(column), ValueRef::Null) => column.push(None),
            (Self::Timestamp(column), ValueRef::Timestamp(v)) => column.push(Some(
                v.to_datetime().ok_or_else(|| unfit(field, "its year lies outside what PostgreSQL holds"))?,
            )),
            (Self::Date(column), ValueRef::Null) => column.push(None),
            (Self::Date(column), ValueRef::Date(v)) => column.push(Some(v)),
            (Self::Text(column), ValueRef::Null) => column.push(None),
            (Self::Text(column), value) => column.push(Some(text_of(value, field)?)),
            (_, other) => return Err(unfit(field, &format!("it is a {}", other.kind_name()))),
        }
        Ok(())
    }

    pub(crate) fn bind<'q>(
        self,
        query: Query<'q, sqlx::Postgres, PgArguments>,
    ) -> Query<'q, sqlx::Postgres, PgArguments> {
        match self {
            Self::Bool(column) => query.bind(column),
            Self::Int(column) => query.bind(column),
            Self::Float(column) => query.bind(column),
            Self::Text(column) => query.bind(column),
            Self::Bytes(column) => query.bind(column),
            Self::Timestamp(column) => query.bind(column),
            Self::Date(column) => query.bind(column),
        }
    }
}

/// A value as text that PostgreSQL reads back exactly.
pub(crate) fn text_of(value: ValueRef<'_>, field: &Field) -> Result<String> {
    let scale = if let Kind::Decimal { scale, .. } = field.kind() { scale } else { 0 };
    Ok(match value {
        ValueRef::Decimal(v) => {
            let mut text = [0; 48];
            write_decimal(v, scale, &mut text)
                .ok_or_else(|| unfit(field, "it has more digits than the column"))?
                .to_owned()
        }
        ValueRef::Text(v) if matches!(field.kind(), Kind::Decimal { .. }) => {
            plain_decimal(v, scale).ok_or_else(|| unfit(field, "it is no decimal of the column's digits"))?
        }
        ValueRef::Text(v) | ValueRef::Json(v) if v.contains('\0') => {
            let _ = v;
            return Err(unfit(field, "PostgreSQL holds no NUL character in text"));
        }
        ValueRef::Text(v) | ValueRef::Json(v) => v.to_owned(),
        ValueRef::Bool(v) => v.to_string(),
        ValueRef::Int(v) => v.to_string(),
        ValueRef::UInt(v) => v.to_string(),
        ValueRef::Float(v) => v.to_string(),
        ValueRef::Timestamp(v) => {
            let at = v.to_datetime().ok_or_else(|| unfit(field, "its year lies outside what PostgreSQL holds"))?;
            written(at.date_naive(), &format!(" {}+00", at.time()))
        }
        ValueRef::Date(v) => written(v, ""),
        ValueRef::Bytes(v) => v.iter().fold("\\x".to_owned(), |text, byte| text + &format!("{byte:02x}")),
        other => return Err(unfit(field, &format!("a value of kind {} is not known here", other.kind_name()))),
    })
}

/// A day as PostgreSQL writes it, which knows no year 0, with a time behind it.
fn written(day: NaiveDate, time: &str) -> String {
    let (year, era) = if day.year() > 0 { (day.year(), "") } else { (1 - day.year(), " BC") };
    format!("{year:04}-{:02}-{:02}{time}{era}", day.month(), day.day())
}

pub(crate) fn unfit(field: &Field, why: &str) -> Error {
    Error::data(format!("column {:?} ({}) cannot hold the value: {why}", field.name(), field.kind()))
}

/// A cell of this type as the whole number that it is on the wire.
fn whole<'r, N>(row: &'r PgRow, at: usize, of: &str) -> sqlx::Result<Option<N>>
where
    N: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    if row.column(at).type_info().name() != of {
        // Says which type it is instead.
        return row.try_get(at);
    }
    row.try_get_unchecked(at)
}

/// Microseconds since 2000; `infinity` and `-infinity` are the last and the first number.
fn instant(micros: i64) -> Option<Timestamp> {
    let since_1970 = micros.checked_add(EPOCH_DAYS * 86_400_000_000)?;
    Some(Timestamp::from_micros(since_1970)).filter(|at| micros != i64::MIN && at.to_datetime().is_some())
}

/// Days since 2000.
fn day(days: i32) -> Option<NaiveDate> {
    NaiveDate::default().checked_add_signed(TimeDelta::try_days(i64::from(days) + EPOCH_DAYS)?)
}

/// From 1970 to 2000.
pub(crate) const EPOCH_DAYS: i64 = 10_957;

fn endless(field: &Field) -> Error {
    let what = format!(
        "column {:?} holds a {} without end, such as infinity, which no stream has: set it to a real one, or to NULL",
        field.name(),
        field.kind()
    );
    Error::new(sync_core::ErrorKind::Schema, what)
}

/// The value of a cell, for keeps.
pub(crate) fn read(row: &PgRow, at: usize, field: &Field) -> Result<Value> {
    cell(row, at, field).map(ValueRef::to_owned)
}

/// The value of a cell that was asked for as [`asked_as`] says.
pub(crate) fn cell<'r>(row: &'r PgRow, at: usize, field: &Field) -> Result<ValueRef<'r>> {
    let unread = |cause| failed("a stored value is not as declared", cause).with("column", field.name());
    let foreign = || {
        Error::new(sync_core::ErrorKind::Schema, format!("a stored value is no {}", field.kind()))
            .with("column", field.name())
    };
    Ok(match field.kind() {
        Kind::Bool => row.try_get::<Option<bool>, _>(at).map_err(unread)?.map_or(ValueRef::Null, ValueRef::Bool),
        Kind::Int => row.try_get::<Option<i64>, _>(at).map_err(unread)?.map_or(ValueRef::Null, ValueRef::Int),
        Kind::Float => row.try_get::<Option<f64>, _>(at).map_err(unread)?.map_or(ValueRef::Null, ValueRef::Float),
        Kind::Bytes => row.try_get::<Option<&[u8]>, _>(at).map_err(unread)?.map_or(ValueRef::Null, ValueRef::Bytes),
        // The driver would panic at `infinity`.
        Kind::Timestamp => match whole::<i64>(row, at, "TIMESTAMPTZ").map_err(unread)? {
            None => ValueRef::Null,
            Some(micros) => ValueRef::Timestamp(instant(micros).ok_or_else(|| endless(field))?),
        },
        Kind::Date => match whole::<i32>(row, at, "DATE").map_err(unread)? {
            None => ValueRef::Null,
            Some(days) => ValueRef::Date(day(days).ok_or_else(|| endless(field))?),
        },
        kind => match row.try_get::<Option<&str>, _>(at).map_err(unread)? {
            None => ValueRef::Null,
            Some(text) => match kind {
                Kind::UInt => ValueRef::UInt(text.parse().map_err(|_| foreign())?),
                Kind::Decimal { .. } => Decimal::from_str_exact(text).map_or(ValueRef::Text(text), ValueRef::Decimal),
                Kind::Text => ValueRef::Text(text),
                _ => ValueRef::Json(text),
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_without_end_are_none_and_no_reason_to_panic() {
        assert_eq!(instant(0).map(|at| at.to_string()).as_deref(), Some("2000-01-01T00:00:00.000000Z"));
        assert_eq!(day(-1), NaiveDate::from_ymd_opt(1999, 12, 31));
        assert_eq!((instant(i64::MAX), instant(i64::MIN), instant(i64::MAX - 1)), (None, None, None));
        assert_eq!((day(i32::MAX), day(i32::MIN)), (None, None));
    }

    #[test]
    fn days_before_christ_and_far_ahead_are_written_in_the_server_s_form() {
        let day = |year| NaiveDate::from_ymd_opt(year, 2, 3).expect("a day");
        let texts = [day(2026), day(1), day(0), day(-43), day(12026)].map(|day| written(day, ""));
        assert_eq!(texts, ["2026-02-03", "0001-02-03", "0001-02-03 BC", "0044-02-03 BC", "12026-02-03"]);
    }
}
