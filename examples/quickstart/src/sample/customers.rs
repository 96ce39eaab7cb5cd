//! The people and firms the shop sells to.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sync_core::model::{Field, Kind};

use super::places::{Order, PLACES, Place};
use super::{Cents, SEED, closing, midnight, opening, seconds};
use crate::random::Random;

#[derive(Debug, Serialize)]
pub(super) struct Customer {
    pub(super) id: usize,
    name: String,
    email: String,
    company: Option<String>,
    city: &'static str,
    country: &'static str,
    newsletter: bool,
    credit_limit: Option<Cents>,
    note: Option<&'static str>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// The columns, but for the time of the last update.
pub(super) fn fields() -> Vec<Field> {
    vec![
        Field::new("id", Kind::Int).required(),
        Field::new("name", Kind::Text).required(),
        Field::new("email", Kind::Text).required(),
        Field::new("company", Kind::Text),
        Field::new("city", Kind::Text).required(),
        Field::new("country", Kind::Text).required(),
        Field::new("newsletter", Kind::Bool).required(),
        Field::new("credit_limit", Kind::Decimal { precision: 10, scale: 2 }),
        Field::new("note", Kind::Text),
        Field::new("created_at", Kind::Timestamp).required(),
    ]
}

const NOTES: &[&str] = &[
    "prefers to be called after noon",
    "deliveries to the back door, please",
    "sends the crates back empty",
    "wants invoices on paper",
    "asked twice about gift wrapping",
    "closed on Mondays",
];

/// So many customers, all of whom signed up in the year before the shop opened.
pub(super) fn generate(count: usize) -> Vec<Customer> {
    let mut random = Random::labelled(SEED, "customers");
    let mut taken = HashMap::new();
    (1..=count).map(|id| customer(id, &mut random, &mut taken)).collect()
}

fn customer(id: usize, random: &mut Random, taken: &mut HashMap<String, usize>) -> Customer {
    let place = random.pick(PLACES);
    let (given, given_ascii) = *random.pick(place.given);
    let (family, family_ascii) = *random.pick(place.family);
    let firm = random.percent(25);
    let signed_up = midnight(2023, 1, 1);
    let created_at = signed_up + seconds(random.between(0, (opening() - signed_up).num_seconds() - 1));
    // Two in three have been touched since.
    let touched = random.between(0, (closing() - created_at).num_seconds() - 1);
    let updated_at = if random.percent(66) { created_at + seconds(touched) } else { created_at };
    Customer {
        id,
        name: full_name(place.order, given, family),
        email: email(given_ascii, family_ascii, random.pick::<&str>(&["com", "net", "org"]), taken),
        company: firm.then(|| company(place, family)),
        city: random.pick::<&str>(place.cities),
        country: place.country,
        newsletter: random.percent(40),
        credit_limit: firm.then(|| Cents(random.between(2, 50) * 25_000)),
        note: random.percent(12).then(|| *random.pick(NOTES)),
        created_at,
        updated_at,
    }
}

fn full_name(order: Order, given: &str, family: &str) -> String {
    match order {
        Order::GivenFirst => format!("{given} {family}"),
        Order::FamilyFirst => format!("{family} {given}"),
        Order::Joined => format!("{family}{given}"),
    }
}

fn company(place: &Place, family: &str) -> String {
    match place.order {
        Order::Joined => format!("{}{family}", place.company),
        Order::GivenFirst | Order::FamilyFirst => format!("{family} {}", place.company),
    }
}

/// An address that nobody else has; the second of a name gets a number.
fn email(given: &str, family: &str, ending: &str, taken: &mut HashMap<String, usize>) -> String {
    let name = format!("{given}.{family}");
    let times = taken.entry(name.clone()).and_modify(|times| *times += 1).or_insert(1);
    let number = if *times == 1 { String::new() } else { times.to_string() };
    format!("{name}{number}@example.{ending}")
}
