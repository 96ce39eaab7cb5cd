//! Generated data of a small shop that sells in euros: the same on every machine, and believable enough to look at.

mod billing;
mod customers;
mod places;
mod products;

use std::fmt;

use chrono::{DateTime, TimeDelta, TimeZone, Utc};
use serde::{Serialize, Serializer};
use serde_json::Value;
use sync_core::model::{Field, Kind};

use crate::table::{Cell, DataSet, Table, token};

/// Everything follows from this number.
const SEED: u64 = 20_260_630;

const CUSTOMERS: usize = 400;
const INVOICES: usize = 2_500;

/// Customers, products, invoices and their lines: a few thousand rows.
pub(crate) fn data() -> DataSet {
    let customers = customers::generate(CUSTOMERS);
    let products = products::generate();
    let (invoices, lines) = billing::generate(INVOICES, &customers, &products);
    let tables = vec![
        table("customers", customers::fields(), 1, &["city", "newsletter"], &customers),
        table("products", products::fields(), 1, &["name", "price"], &products),
        table("invoices", billing::invoice_fields(), 1, &["note"], &invoices),
        table("invoice_lines", billing::line_fields(), 2, &["quantity", "unit_price"], &lines),
    ];
    DataSet { name: "sample".into(), tables }
}

/// A table of these rows, with the update time that all sample rows have.
fn table<R: Serialize>(name: &str, mut fields: Vec<Field>, key_width: usize, editable: &[&str], rows: &[R]) -> Table {
    fields.push(Field::new("updated_at", Kind::Timestamp).required());
    let place = |name: &&str| fields.iter().position(|field| field.name() == *name);
    let editable: Vec<usize> = editable.iter().filter_map(place).collect();
    let rows = rows.iter().map(|row| cells(row, &fields)).collect();
    Table { name: name.into(), version: Some(fields.len() - 1), fields, key_width, editable, rows }
}

fn cells(row: &impl Serialize, fields: &[Field]) -> Vec<Cell> {
    let row = serde_json::to_value(row).expect("sample rows are plain structs");
    let cell = |field: &Field| token(row.get(field.name()).unwrap_or(&Value::Null).to_string());
    fields.iter().map(cell).collect()
}

/// An amount of money, exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Cents(i64);

impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_assert!(self.0 >= 0, "nothing here is owed to a customer");
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

impl Serialize for Cents {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl std::iter::Sum for Cents {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        Self(amounts.map(|amount| amount.0).sum())
    }
}

/// Midnight, UTC, of a date of the shop's history.
fn midnight(year: i32, month: u32, day: u32) -> DateTime<Utc> {
    Utc.with_ymd_and_hms(year, month, day, 0, 0, 0).single().expect("a date of the calendar")
}

/// The first sale, and the moment at which this picture of the shop was taken.
fn opening() -> DateTime<Utc> {
    midnight(2024, 1, 2)
}

fn closing() -> DateTime<Utc> {
    midnight(2026, 7, 1)
}

fn seconds(count: i64) -> TimeDelta {
    TimeDelta::seconds(count)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::table::Key;

    fn objects(data: &DataSet, name: &str) -> Vec<BTreeMap<String, Value>> {
        let table = data.tables.iter().find(|table| table.name == name).expect("a table of the sample");
        let value = |cell: &Cell| serde_json::from_str(cell.get()).expect("JSON");
        let object = |row: &Vec<Cell>| {
            table.fields.iter().zip(row).map(|(field, cell)| (field.name().to_owned(), value(cell))).collect()
        };
        table.rows.iter().map(object).collect()
    }

    fn cents(value: &Value) -> i64 {
        let text = value.as_str().expect("a decimal as text");
        let (whole, part) = text.split_once('.').expect("two places");
        assert_eq!(part.len(), 2, "{text}");
        format!("{whole}{part}").parse().expect("digits")
    }

    #[test]
    fn the_sample_is_the_same_every_time() {
        assert_eq!(format!("{:?}", data()), format!("{:?}", data()));
    }

    #[test]
    fn there_are_a_few_thousand_rows() {
        let data = data();
        let sizes: Vec<(&str, usize)> =
            data.tables.iter().map(|table| (table.name.as_str(), table.rows.len())).collect();
        assert_eq!(sizes[..3], [("customers", 400), ("products", 150), ("invoices", 2_500)]);
        assert!((7_500..8_500).contains(&sizes[3].1), "{sizes:?}");
    }

    #[test]
    fn every_table_is_what_it_says_it_is() {
        for table in data().tables {
            table.spec().check().expect("a sound declaration");
            let keys: BTreeSet<Key> =
                table.rows.iter().map(|row| Key::of(&row[..table.key_width]).expect("a key")).collect();
            assert_eq!(keys.len(), table.rows.len(), "{} has unique keys", table.name);
            for (place, field) in table.fields.iter().enumerate() {
                let nulls = table.rows.iter().filter(|row| row[place].get() == "null").count();
                assert_eq!(nulls > 0, field.is_nullable(), "{}.{}: {nulls} nulls", table.name, field.name());
                let distinct: BTreeSet<&str> = table.rows.iter().map(|row| row[place].get()).collect();
                assert!(distinct.len() > 1, "{}.{} says something", table.name, field.name());
            }
            assert!(!table.editable.is_empty() && table.editable.iter().all(|column| *column >= table.key_width));
        }
    }

    #[test]
    fn an_invoice_is_the_sum_of_its_lines() {
        let data = data();
        let mut sums: BTreeMap<i64, i64> = BTreeMap::new();
        for line in objects(&data, "invoice_lines") {
            let discount = if line["discount"].is_null() { 0 } else { cents(&line["discount"]) };
            let gross = line["quantity"].as_i64().expect("a quantity") * cents(&line["unit_price"]);
            assert_eq!(cents(&line["amount"]), gross - discount);
            *sums.entry(line["invoice_id"].as_i64().expect("an invoice")).or_default() += gross - discount;
        }
        for invoice in objects(&data, "invoices") {
            assert_eq!(Some(&cents(&invoice["total"])), sums.get(&invoice["id"].as_i64().expect("a number")));
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let data = data();
        let values = |table: &str, column: &str| -> BTreeSet<String> {
            objects(&data, table).iter().map(|row| row[column].to_string()).collect()
        };
        assert!(values("invoices", "customer_id").is_subset(&values("customers", "id")));
        assert!(values("invoice_lines", "product_sku").is_subset(&values("products", "sku")));
        assert_eq!(values("invoice_lines", "invoice_id"), values("invoices", "id"));
    }

    #[test]
    fn nothing_is_updated_before_it_began_or_after_the_picture_was_taken() {
        let data = data();
        let time = |value: &Value| value.as_str().expect("a time").parse::<DateTime<Utc>>().expect("RFC 3339");
        for (table, since) in [("customers", "created_at"), ("invoices", "issued_at")] {
            for row in objects(&data, table) {
                assert!(
                    time(&row["updated_at"]) >= time(&row[since]) && time(&row["updated_at"]) < closing(),
                    "{row:?}"
                );
            }
        }
        for invoice in objects(&data, "invoices") {
            assert_eq!(invoice["paid"] == true, !invoice["paid_at"].is_null());
        }
    }

    #[test]
    fn names_come_in_many_scripts_and_addresses_lead_nowhere() {
        let customers = objects(&data(), "customers");
        let text = |row: &BTreeMap<String, Value>, column: &str| row[column].as_str().expect("text").to_owned();
        let foreign = customers.iter().filter(|row| !text(row, "name").is_ascii()).count();
        assert!(foreign > 100, "{foreign}");
        let emails: BTreeSet<String> = customers.iter().map(|row| text(row, "email")).collect();
        assert_eq!(emails.len(), customers.len());
        // RFC 2606 keeps these domains free of real people.
        assert!(emails.iter().all(|email| email.is_ascii() && email.contains("@example.")), "{emails:?}");
    }

    #[test]
    fn money_has_two_places() {
        assert_eq!([0, 5, 50, 12_345].map(|cents| Cents(cents).to_string()), ["0.00", "0.05", "0.50", "123.45"]);
    }
}
