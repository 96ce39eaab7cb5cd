//! Values between rows and SQLite, without loss: each kind has one declared type and one stored form.

use chrono::{Datelike as _, NaiveDate, NaiveDateTime};
use rusqlite::types::ValueRef as Stored;
use sync_core::model::{Decimal, Field, Kind, Timestamp, TimestampText};
use sync_core::{Error, Result, Value, ValueRef};

use crate::number::{DecimalText, plain_decimal, write_decimal};

/// The type a column of this kind is declared with. SQLite derives from the words in it how values are converted
/// (<https://www.sqlite.org/datatype3.html>, section 3.1), so that each must avoid `INT`, `CHAR` and their like unless meant.
pub(crate) fn declared_type(kind: Kind) -> String {
    match kind {
        Kind::Bool => "BOOLEAN".to_owned(),
        Kind::Int => "INTEGER".to_owned(),
        // Larger numbers than SQLite's integers are kept as text of 20 digits, in a column that converts nothing.
        Kind::UInt => "U64_BLOB".to_owned(),
        Kind::Float => "REAL".to_owned(),
        Kind::Decimal { precision, scale } => format!("DECIMAL_TEXT({precision},{scale})"),
        Kind::Text => "TEXT".to_owned(),
        Kind::Bytes => "BLOB".to_owned(),
        Kind::Timestamp => "TIMESTAMP_TEXT".to_owned(),
        Kind::Date => "DATE_TEXT".to_owned(),
        _ => "JSON_TEXT".to_owned(),
    }
}

/// Room for the text of a value that is stored as text without being text.
pub(crate) struct Scratch {
    timestamp: TimestampText,
    decimal: DecimalText,
    long: String,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self { timestamp: [0; 27], decimal: [0; 48], long: String::new() }
    }
}

/// The stored form of a value.
///
/// # Errors
/// `Data`, naming the column, when SQLite cannot hold the value exactly.
#[inline]
pub(crate) fn stored_form<'v>(value: ValueRef<'v>, field: &Field, scratch: &'v mut Scratch) -> Result<Stored<'v>> {
    Ok(match value {
        ValueRef::Null => Stored::Null,
        ValueRef::Bool(v) => Stored::Integer(i64::from(v)),
        ValueRef::Int(v) => Stored::Integer(v),
        ValueRef::UInt(v) => match i64::try_from(v) {
            Ok(small) => Stored::Integer(small),
            Err(_) => text(&mut scratch.long, format!("{v:020}")),
        },
        ValueRef::Float(v) if v.is_finite() => Stored::Real(if v == 0.0 { 0.0 } else { v }),
        ValueRef::Float(_) => return Err(unfit(field, "SQLite holds neither NaN nor infinity")),
        ValueRef::Decimal(v) => {
            let written = write_decimal(v, scale_of(field), &mut scratch.decimal);
            Stored::Text(written.ok_or_else(|| unfit(field, "it has more digits than the column"))?.as_bytes())
        }
        ValueRef::Text(v) if matches!(field.kind(), Kind::Decimal { .. }) => text(
            &mut scratch.long,
            plain_decimal(v, scale_of(field)).ok_or_else(|| unfit(field, "it is no decimal of the column's digits"))?,
        ),
        ValueRef::Text(v) | ValueRef::Json(v) => Stored::Text(v.as_bytes()),
        ValueRef::Bytes(v) => Stored::Blob(v),
        ValueRef::Timestamp(v) => {
            scratch.timestamp = v.ascii().ok_or_else(|| unfit(field, "its year lies outside 0000 to 9999"))?;
            Stored::Text(&scratch.timestamp)
        }
        // Beyond these years the order of the texts would not be that of the days.
        ValueRef::Date(v) if !(0..=9999).contains(&v.year()) => {
            return Err(unfit(field, "its year lies outside 0000 to 9999"));
        }
        ValueRef::Date(v) => text(&mut scratch.long, v.to_string()),
        other => return Err(unfit(field, &format!("a value of kind {} is not known here", other.kind_name()))),
    })
}

fn text(place: &mut String, written: String) -> Stored<'_> {
    *place = written;
    Stored::Text(place.as_bytes())
}

fn scale_of(field: &Field) -> u8 {
    if let Kind::Decimal { scale, .. } = field.kind() { scale } else { 0 }
}

#[cold]
fn unfit(field: &Field, why: &str) -> Error {
    Error::data(format!("column {:?} ({}) cannot hold the value: {why}", field.name(), field.kind()))
}

/// The value of a stored form.
///
/// # Errors
/// `Schema`, naming the column, when something else stands there than its kind allows: another program wrote it.
pub(crate) fn value_of(stored: Stored<'_>, field: &Field) -> Result<Value> {
    let foreign = || {
        sync_core::Error::new(
            sync_core::ErrorKind::Schema,
            format!("column {:?} holds {} where {} is declared", field.name(), stored.data_type(), field.kind()),
        )
    };
    let as_text = || stored.as_str().map_err(|_| foreign());
    Ok(match (field.kind(), stored) {
        (_, Stored::Null) => Value::Null,
        (Kind::Bool, Stored::Integer(v)) => Value::Bool(v != 0),
        (Kind::Int, Stored::Integer(v)) => Value::Int(v),
        (Kind::UInt, Stored::Integer(v)) => Value::UInt(u64::try_from(v).map_err(|_| foreign())?),
        (Kind::UInt, Stored::Text(_)) => Value::UInt(as_text()?.parse().map_err(|_| foreign())?),
        (Kind::Float, Stored::Real(v)) => Value::Float(v),
        #[expect(clippy::cast_precision_loss, reason = "SQLite itself stores whole floats as integers")]
        (Kind::Float, Stored::Integer(v)) => Value::Float(v as f64),
        (Kind::Decimal { .. }, Stored::Text(_)) => {
            let text = as_text()?;
            Decimal::from_str_exact(text).map_or_else(|_| Value::from(text), Value::Decimal)
        }
        (Kind::Decimal { .. }, Stored::Integer(v)) => Value::Decimal(v.into()),
        // A table of somebody else may hold money as a float. Its shortest text is what everybody sees there.
        (Kind::Decimal { .. }, Stored::Real(v)) => {
            Value::Decimal(Decimal::from_str_exact(&v.to_string()).map_err(|_| foreign())?)
        }
        (Kind::Text, Stored::Text(_)) => Value::from(as_text()?),
        (Kind::Bytes, Stored::Blob(v)) => Value::Bytes(v.into()),
        (Kind::Timestamp, Stored::Text(_)) => Value::Timestamp(instant(as_text()?).ok_or_else(foreign)?),
        (Kind::Date, Stored::Text(_)) => Value::Date(as_text()?.parse::<NaiveDate>().map_err(|_| foreign())?),
        (Kind::Json, Stored::Text(_)) => Value::Json(as_text()?.into()),
        _ => return Err(foreign()),
    })
}

/// An instant as SQLite's own date functions read it (<https://www.sqlite.org/lang_datefunc.html>, time values 2 to 7): with
/// `T` or a space in the middle, with or without seconds and their fraction; UTC where no offset is given. A day alone is its
/// midnight.
pub(crate) fn instant(text: &str) -> Option<Timestamp> {
    if let Ok(at) = chrono::DateTime::parse_from_rfc3339(text) {
        return Some(at.to_utc().into());
    }
    let text = text.trim_end_matches('Z');
    let forms = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"];
    let naive = forms.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    let day = || text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0);
    naive.or_else(day).map(|at| at.and_utc().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_read_in_every_form_of_a_date() {
        let same =
            ["2026-03-01T10:20:30Z", "2026-03-01 10:20:30", "2026-03-01T10:20:30.000", "2026-03-01 12:20:30+02:00"];
        for text in same {
            assert_eq!(instant(text), instant("2026-03-01T10:20:30.000000Z"), "{text}");
        }
        assert_eq!(instant("2026-03-01 10:20"), instant("2026-03-01T10:20:00Z"));
        assert!(instant("2026-03-01 10:20").is_some());
        assert_eq!(instant("2026-03-01"), instant("2026-03-01T00:00:00Z"));
        for text in ["", "yesterday", "10:20", "2026-13-01 10:20:30"] {
            assert_eq!(instant(text), None, "{text:?}");
        }
    }
}
