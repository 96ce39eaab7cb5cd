//! Values between rows and MySQL, without loss.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Utc};
use sqlx::Arguments as _;
use sqlx::Row as _;
use sqlx::mysql::{MySqlArguments, MySqlRow};
use sync_core::model::{Decimal, Field, Kind, StreamSpec, Timestamp};
use sync_core::{Error, ErrorKind, Result, Value, ValueRef};

use super::error::failed;
use crate::number::{plain_decimal, write_decimal};

/// The most bytes that InnoDB takes into one index (of pages of 16 KiB).
const INDEX_BYTES: usize = 3072;

/// The most columns of one index.
const INDEX_COLUMNS: usize = 16;

/// The types the stream's columns are declared with, in their order.
///
/// # Errors
/// `Config` when a column or the key is larger than MySQL can have it.
pub(crate) fn declared_types(stream: &StreamSpec, exact: &str) -> Result<Vec<String>> {
    let key = stream.key_indices();
    let fields = stream.schema().fields();
    let fixed: usize = key.iter().map(|&column| index_bytes(fields[column].kind()).unwrap_or_default()).sum();
    let open = key.iter().filter(|&&column| index_bytes(fields[column].kind()).is_none()).count();
    let room = INDEX_BYTES.saturating_sub(fixed).checked_div(open).unwrap_or_default();
    if key.len() > INDEX_COLUMNS || fixed > INDEX_BYTES || (open > 0 && room < 64) {
        return Err(Error::config(format!(
            "a key of {} columns ({}) is more than an index of MySQL holds, which is {INDEX_COLUMNS} columns and {INDEX_BYTES} bytes, 4 for each character: declare a shorter key",
            key.len(),
            stream.key_columns().join(", ")
        ))
        .with("stream", stream.name()));
    }
    let declared = |(column, field): (usize, &Field)| {
        let too_long = |most: &str| {
            Err(Error::config(format!("column {:?} is a {}, and MySQL has {most}", field.name(), field.kind()))
                .with("stream", stream.name()))
        };
        match field.kind() {
            Kind::Bytes if key.contains(&column) => Ok(format!("varbinary({room})")),
            Kind::Text | Kind::Json if key.contains(&column) => {
                Ok(format!("varchar({}) CHARACTER SET utf8mb4 COLLATE {exact}", room / 4))
            }
            Kind::Decimal { precision, .. } if precision > 65 => too_long("decimals of at most 65 digits"),
            Kind::Decimal { scale, .. } if scale > 30 => too_long("decimals of at most 30 digits after the point"),
            Kind::Text | Kind::Json => Ok(format!("longtext CHARACTER SET utf8mb4 COLLATE {exact}")),
            kind => Ok(plain_type(kind)),
        }
    };
    fields.iter().enumerate().map(declared).collect()
}

/// The type of a column that is not in the key, without its collation.
pub(crate) fn plain_type(kind: Kind) -> String {
    match kind {
        Kind::Bool => "tinyint(1)".to_owned(),
        Kind::Int => "bigint".to_owned(),
        Kind::UInt => "bigint unsigned".to_owned(),
        Kind::Float => "double".to_owned(),
        Kind::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
        Kind::Bytes => "longblob".to_owned(),
        Kind::Timestamp => "datetime(6)".to_owned(),
        Kind::Date => "date".to_owned(),
        // `JSON` would write it anew in MySQL; this keeps the text.
        _ => "longtext".to_owned(),
    }
}

/// How many bytes of an index a column takes; nothing fixed for texts and bytes.
fn index_bytes(kind: Kind) -> Option<usize> {
    match kind {
        Kind::Bool => Some(1),
        Kind::Date => Some(3),
        Kind::Int | Kind::UInt | Kind::Float | Kind::Timestamp => Some(8),
        // Nine digits take four bytes.
        Kind::Decimal { precision, .. } => Some(usize::from(precision).div_ceil(9) * 4 + 4),
        _ => None,
    }
}

/// How a value is written that is compared with a column: MySQL would compare a decimal with a text as floats.
pub(crate) fn compared(kind: Kind) -> String {
    match kind {
        Kind::Decimal { precision, scale } => format!("CAST(? AS DECIMAL({precision},{scale}))"),
        _ => "?".to_owned(),
    }
}

/// About as many bytes as the value takes on its way.
pub(crate) fn size_of(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Text(v) | ValueRef::Json(v) => v.len() + 12,
        ValueRef::Bytes(v) => v.len() + 12,
        ValueRef::Decimal(_) => 48,
        _ => 16,
    }
}

/// Binds a value.
///
/// # Errors
/// `Data`, naming the column, when MySQL cannot hold the value exactly.
pub(crate) fn bind(arguments: &mut MySqlArguments, value: ValueRef<'_>, field: &Field) -> Result<()> {
    let bound = match (field.kind(), value) {
        (_, ValueRef::Null) => arguments.add(None::<i64>),
        (Kind::Bool, ValueRef::Bool(v)) => arguments.add(v),
        (Kind::Int, ValueRef::Int(v)) => arguments.add(v),
        (Kind::UInt, ValueRef::UInt(v)) => arguments.add(v),
        (Kind::Float, ValueRef::Float(v)) if !v.is_finite() => {
            return Err(unfit(field, "MySQL holds neither NaN nor infinity"));
        }
        (Kind::Float, ValueRef::Float(v)) => arguments.add(if v == 0.0 { 0.0 } else { v }),
        (Kind::Decimal { .. }, ValueRef::Decimal(_) | ValueRef::Text(_)) => arguments.add(decimal_text(value, field)?),
        (Kind::Bytes, ValueRef::Bytes(v)) => arguments.add(v),
        (Kind::Timestamp, ValueRef::Timestamp(v)) => arguments.add(datetime(v, field)?),
        (Kind::Date, ValueRef::Date(v)) if (1..=9999).contains(&v.year()) => arguments.add(v),
        (Kind::Date, ValueRef::Date(_)) => return Err(unfit(field, "its year lies outside 0001 to 9999")),
        (Kind::Text, ValueRef::Text(v)) | (Kind::Json, ValueRef::Json(v)) => arguments.add(v),
        (_, other) => return Err(unfit(field, &format!("it is a {}", other.kind_name()))),
    };
    bound.map_err(|_| unfit(field, "it cannot be sent"))
}

fn datetime(value: Timestamp, field: &Field) -> Result<NaiveDateTime> {
    let at: Option<DateTime<Utc>> = value.to_datetime().filter(|at| (1..=9999).contains(&at.year()));
    at.map(|at| at.naive_utc()).ok_or_else(|| unfit(field, "its year lies outside 0001 to 9999"))
}

/// The text of a decimal with the column's digits.
pub(crate) fn decimal_text(value: ValueRef<'_>, field: &Field) -> Result<String> {
    let scale = if let Kind::Decimal { scale, .. } = field.kind() { scale } else { 0 };
    match value {
        ValueRef::Decimal(v) => {
            let mut text = [0; 48];
            let written = write_decimal(v, scale, &mut text).map(str::to_owned);
            written.ok_or_else(|| unfit(field, "it has more digits than the column"))
        }
        ValueRef::Text(v) => {
            plain_decimal(v, scale).ok_or_else(|| unfit(field, "it is no decimal of the column's digits"))
        }
        other => Err(unfit(field, &format!("it is a {}", other.kind_name()))),
    }
}

/// A value of a key in the one form in which equal keys are equal: a long decimal may be written in two ways.
pub(crate) fn of_key(value: ValueRef<'_>, field: &Field) -> Value {
    match (field.kind(), value) {
        (Kind::Decimal { .. }, ValueRef::Decimal(_) | ValueRef::Text(_)) => {
            decimal_text(value, field).map_or_else(|_| value.to_owned(), |text| Value::from(text.as_str()))
        }
        _ => value.to_owned(),
    }
}

fn unfit(field: &Field, why: &str) -> Error {
    Error::data(format!("column {:?} ({}) cannot hold the value: {why}", field.name(), field.kind()))
}

/// The value of a cell, for keeps.
pub(crate) fn read(row: &MySqlRow, at: usize, field: &Field) -> Result<Value> {
    cell(row, at, field).map(ValueRef::to_owned)
}

/// The value of a cell. Types are not compared: the server's names for them say less than the field does.
pub(crate) fn cell<'r>(row: &'r MySqlRow, at: usize, field: &Field) -> Result<ValueRef<'r>> {
    let unread = |cause| failed("a stored value is not as declared", cause).with("column", field.name());
    let text = || row.try_get_unchecked::<Option<&str>, _>(at).map_err(unread);
    Ok(match field.kind() {
        Kind::Bool => row.try_get::<Option<bool>, _>(at).map_err(unread)?.map_or(ValueRef::Null, ValueRef::Bool),
        Kind::Int => row.try_get::<Option<i64>, _>(at).map_err(unread)?.map_or(ValueRef::Null, ValueRef::Int),
        Kind::UInt => match row.try_get::<Option<u64>, _>(at) {
            Ok(value) => value.map_or(ValueRef::Null, ValueRef::UInt),
            // A column of decimals without digits after the point holds them as well.
            Err(_) => match text()? {
                None => ValueRef::Null,
                Some(text) => ValueRef::UInt(text.parse().map_err(|_| {
                    Error::new(ErrorKind::Schema, "a stored value is no uint").with("column", field.name())
                })?),
            },
        },
        Kind::Float => row.try_get::<Option<f64>, _>(at).map_err(unread)?.map_or(ValueRef::Null, ValueRef::Float),
        Kind::Bytes => {
            row.try_get_unchecked::<Option<&[u8]>, _>(at).map_err(unread)?.map_or(ValueRef::Null, ValueRef::Bytes)
        }
        Kind::Timestamp => row
            .try_get::<Option<NaiveDateTime>, _>(at)
            .map_err(unread)?
            .map_or(ValueRef::Null, |v| ValueRef::Timestamp(Timestamp::from(v.and_utc()))),
        Kind::Date => row.try_get::<Option<NaiveDate>, _>(at).map_err(unread)?.map_or(ValueRef::Null, ValueRef::Date),
        kind => match text()? {
            None => ValueRef::Null,
            Some(text) => match kind {
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

    fn types(stream: &StreamSpec) -> Result<Vec<String>> {
        declared_types(stream, "utf8mb4_nopad_bin")
    }

    #[test]
    fn the_texts_of_a_key_share_the_room_of_an_index() {
        let types = types(&StreamSpec::new("s").key(["id", "a", "b"]).text("a").bytes("b")).expect("types");
        assert_eq!(types[1], "varchar(383) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin");
        assert_eq!(types[2], "varbinary(1532)");
    }

    #[test]
    fn what_is_larger_than_an_index_or_a_decimal_is_refused() {
        let many = (0..17).map(|column| format!("k{column}")).collect::<Vec<_>>();
        let stream = many.iter().fold(StreamSpec::new("s").key(many.clone()), |stream, name| stream.int(name.as_str()));
        assert!(types(&stream).unwrap_err().to_string().contains("16 columns and 3072 bytes"));
        let fine = types(&StreamSpec::new("s").key(["id"]).decimal("d", 38, 30)).expect("types");
        assert_eq!(fine[1], "decimal(38,30)");
        let long = types(&StreamSpec::new("s").key(["id"]).decimal("d", 38, 31));
        assert!(long.unwrap_err().to_string().contains("30 digits after the point"));
    }
}
