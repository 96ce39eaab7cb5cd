//! Bounds that lie before or after every day of a database.

use chrono::NaiveDate;
use sync_core::Value;
use sync_core::model::Kind;

use crate::scope::Comparison;

/// The first and the last day that a database knows.
pub(crate) type Days = (NaiveDate, NaiveDate);

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

#[cfg(test)]
mod tests {
    use sync_core::model::{Field, Timestamp};

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
