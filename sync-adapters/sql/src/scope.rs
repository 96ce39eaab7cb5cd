//! Which rows a scope covers, as comparisons that must all hold.

use chrono::NaiveDate;
use sync_core::model::{Field, Kind, RowScope, StreamSpec};
use sync_core::{Error, Result, Value};

/// A column of the stream, compared with a value: `=`, `>=` or `<`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Comparison<'s> {
    pub(crate) field: &'s Field,
    pub(crate) operator: &'static str,
    pub(crate) value: &'s Value,
}

/// The first and the last day that a database knows.
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(crate) type Days = (NaiveDate, NaiveDate);

#[cfg(any(feature = "mysql", feature = "postgres"))]
impl Comparison<'_> {
    /// What the comparison of a column, given as it stands in SQL, comes to where its bound lies before or after every day of
    /// the database: all rows that have a value at all, or none.
    pub(crate) fn beyond(&self, (first, last): Days, column: &str) -> Option<String> {
        let day = match self.value {
            Value::Timestamp(at) => match at.to_datetime() {
                Some(at) => at.date_naive(),
                None if at.micros() < 0 => NaiveDate::MIN,
                None => NaiveDate::MAX,
            },
            Value::Date(day) => *day,
            _ => return None,
        };
        let holds = match self.field.kind() {
            Kind::Timestamp | Kind::Date if day < first => self.operator == ">=",
            Kind::Timestamp | Kind::Date if day > last => self.operator == "<",
            _ => return None,
        };
        Some(if holds { format!("{column} IS NOT NULL") } else { "FALSE".to_owned() })
    }
}

impl Comparison<'_> {
    /// The error of a bound that cannot be compared with its column. It is the host's, and no row's.
    pub(crate) fn refused(&self, stream: &StreamSpec, cause: Error) -> Error {
        let (column, operator, bound) = (self.field.name(), self.operator, self.value);
        Error::config(format!("the scope asks for {column:?} {operator} {bound}, with which it cannot be compared"))
            .with("stream", stream.name())
            .caused_by(cause)
    }
}

/// The comparisons that a scope consists of.
///
/// # Errors
/// `Config` when it is over a column that the stream does not have, or of a kind that is not known here.
pub(crate) fn comparisons<'s>(stream: &'s StreamSpec, rows: &'s RowScope) -> Result<Vec<Comparison<'s>>> {
    let mut found = Vec::new();
    collect(stream, rows, &mut found)?;
    Ok(found)
}

fn collect<'s>(stream: &'s StreamSpec, rows: &'s RowScope, found: &mut Vec<Comparison<'s>>) -> Result<()> {
    let mut add = |column: &str, operator, value| {
        let Some(field) = stream.schema().field(column) else {
            let what = format!("the scope is over column {column:?}, which the stream does not have");
            return Err(Error::config(what).with("stream", stream.name()));
        };
        found.push(Comparison { field, operator, value });
        Ok(())
    };
    match rows {
        RowScope::All => Ok(()),
        RowScope::Range { column, from, until } => {
            for (bound, operator) in [(from, ">="), (until, "<")] {
                if let Some(bound) = bound {
                    add(column, operator, bound)?;
                }
            }
            Ok(())
        }
        RowScope::Equals { column, value } => add(column, "=", value),
        RowScope::Both(one, other) => {
            collect(stream, one, found)?;
            collect(stream, other, found)
        }
        other => Err(Error::config(format!("a database does not know the scope {other:?}"))),
    }
}

#[cfg(all(test, any(feature = "mysql", feature = "postgres")))]
mod tests {
    use sync_core::model::Timestamp;

    use super::*;

    #[test]
    fn a_bound_beyond_the_days_of_a_database_holds_for_all_rows_or_for_none() {
        let days = (NaiveDate::from_yo_opt(1, 1).expect("a day"), NaiveDate::from_yo_opt(9999, 365).expect("a day"));
        let (field, day) = (Field::new("at", Kind::Timestamp), 86_400_000_000);
        // The first day of year 1, and the last of year 9999.
        let (first, last) = (-719_162 * day, 2_932_896 * day);
        for (micros, operator, comes_to) in [
            (i64::MIN, ">=", Some("t IS NOT NULL")),
            (first - 1, ">=", Some("t IS NOT NULL")),
            (first - 1, "<", Some("FALSE")),
            (first - 1, "=", Some("FALSE")),
            (first, ">=", None),
            (last + day - 1, "<", None),
            (last + day, "<", Some("t IS NOT NULL")),
            (last + day, ">=", Some("FALSE")),
            (i64::MAX, "<", Some("t IS NOT NULL")),
        ] {
            let value = Value::Timestamp(Timestamp::from_micros(micros));
            let compared = Comparison { field: &field, operator, value: &value };
            assert_eq!(compared.beyond(days, "t").as_deref(), comes_to, "{operator} {micros}");
        }
    }
}
