//! Invoices and their lines: what was sold to whom, and whether it was paid.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde::Serialize;
use sync_core::model::{Field, Kind};

use super::customers::Customer;
use super::products::Product;
use super::{Cents, SEED, closing, opening, seconds};
use crate::random::Random;

#[derive(Debug, Serialize)]
pub(super) struct Invoice {
    id: usize,
    number: String,
    customer_id: usize,
    issued_at: DateTime<Utc>,
    due_on: NaiveDate,
    total: Cents,
    paid: bool,
    paid_at: Option<DateTime<Utc>>,
    note: Option<&'static str>,
    updated_at: DateTime<Utc>,
}

#[derive(Debug, Serialize)]
pub(super) struct Line {
    invoice_id: usize,
    line_no: usize,
    product_sku: String,
    quantity: i64,
    unit_price: Cents,
    discount: Option<Cents>,
    amount: Cents,
    updated_at: DateTime<Utc>,
}

const MONEY: Kind = Kind::Decimal { precision: 12, scale: 2 };

/// The columns of an invoice, but for the time of the last update.
pub(super) fn invoice_fields() -> Vec<Field> {
    vec![
        Field::new("id", Kind::Int).required(),
        Field::new("number", Kind::Text).required(),
        Field::new("customer_id", Kind::Int).required(),
        Field::new("issued_at", Kind::Timestamp).required(),
        Field::new("due_on", Kind::Date).required(),
        Field::new("total", MONEY).required(),
        Field::new("paid", Kind::Bool).required(),
        Field::new("paid_at", Kind::Timestamp),
        Field::new("note", Kind::Text),
    ]
}

/// The columns of a line, but for the time of the last update.
pub(super) fn line_fields() -> Vec<Field> {
    vec![
        Field::new("invoice_id", Kind::Int).required(),
        Field::new("line_no", Kind::Int).required(),
        Field::new("product_sku", Kind::Text).required(),
        Field::new("quantity", Kind::Int).required(),
        Field::new("unit_price", MONEY).required(),
        Field::new("discount", MONEY),
        Field::new("amount", MONEY).required(),
    ]
}

/// How many lines an invoice has: three or four as a rule.
const LINES: &[usize] = &[1, 1, 2, 2, 3, 3, 3, 4, 4, 5, 5, 6];
const QUANTITIES: &[i64] = &[1, 1, 1, 1, 2, 2, 2, 3, 4, 6, 12];
const NOTES: &[&str] =
    &["partial delivery", "second reminder sent", "collected in person", "address corrected – résumé attached"];

/// So many invoices, in the order in which they were issued, and all their lines.
pub(super) fn generate(count: usize, customers: &[Customer], products: &[Product]) -> (Vec<Invoice>, Vec<Line>) {
    let mut random = Random::labelled(SEED, "billing");
    let pace = (closing() - opening()).num_seconds() / i64::try_from(count).expect("thousands of invoices, not more");
    let mut issued_at = opening();
    let mut invoices = Vec::with_capacity(count);
    let mut lines = Vec::new();
    for id in 1..=count {
        let sold = sell(id, issued_at, products, &mut random);
        let total = sold.iter().map(|line| line.amount).sum();
        invoices.push(invoice(id, issued_at, total, random.pick(customers), &mut random));
        lines.extend(sold);
        issued_at += seconds(random.between(pace / 2, pace * 3 / 2 - pace / 100));
    }
    (invoices, lines)
}

fn invoice(id: usize, issued_at: DateTime<Utc>, total: Cents, customer: &Customer, random: &mut Random) -> Invoice {
    let settled = issued_at + seconds(random.between(3_600, 45 * 86_400));
    let paid_at = Some(settled).filter(|at| random.percent(94) && *at < closing());
    Invoice {
        id,
        number: format!("INV-{}-{id:05}", issued_at.format("%Y")),
        customer_id: customer.id,
        issued_at,
        due_on: (issued_at + TimeDelta::days(30)).date_naive(),
        total,
        paid: paid_at.is_some(),
        paid_at,
        note: random.percent(6).then(|| *random.pick(NOTES)),
        updated_at: paid_at.unwrap_or(issued_at),
    }
}

/// The lines of one invoice. Each is written a second after the one before, so that no two have the same update time.
fn sell(invoice_id: usize, issued_at: DateTime<Utc>, products: &[Product], random: &mut Random) -> Vec<Line> {
    let count = *random.pick(LINES);
    let line = |line_no: usize| {
        let product = random.pick(products);
        let quantity = *random.pick(QUANTITIES);
        let gross = product.price.0 * quantity;
        let discount = random.percent(10).then(|| Cents(gross * random.pick(&[5, 10, 15]) / 100));
        Line {
            invoice_id,
            line_no,
            product_sku: product.sku.clone(),
            quantity,
            unit_price: product.price,
            discount,
            amount: Cents(gross - discount.map_or(0, |discount| discount.0)),
            updated_at: issued_at + seconds(i64::try_from(line_no).expect("a handful of lines")),
        }
    };
    (1..=count).map(line).collect()
}
