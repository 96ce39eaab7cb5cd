//! Generated records: 12 fields, about 350 bytes, the same in every run.

use chrono::{DateTime, SecondsFormat};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// In which order the keys come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Order {
    /// Ascending.
    Key,
    /// All over the place.
    Random,
}

impl Order {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Random => "random",
        }
    }
}

/// A record as it is served.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: i64,
    pub(crate) name: Box<str>,
    pub(crate) email: Box<str>,
    pub(crate) city: Box<str>,
    pub(crate) status: Box<str>,
    pub(crate) note: Box<str>,
    pub(crate) amount: Box<str>,
    pub(crate) quantity: i64,
    pub(crate) score: i64,
    pub(crate) active: bool,
    pub(crate) created_at: Box<str>,
    pub(crate) updated_at: Box<str>,
}

/// 2024-01-01T00:00:00Z, seconds.
const EPOCH: i64 = 1_704_067_200;
/// Changed records are younger than every other: two years later.
const CHANGED: i64 = EPOCH + 63_072_000;

/// The record at a place of the listing; `changed` is how often it was changed.
pub(crate) fn record(place: u64, order: Order, changed: u32) -> Record {
    let mixed = place.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let id = match order {
        Order::Key => place + 1,
        // An odd factor is a permutation of the numbers below 2^40.
        Order::Random => (place + 1).wrapping_mul(0x9E_3779_B97F) & ((1 << 40) - 1),
    };
    let cities = ["Rotterdam", "Ljubljana", "São Paulo", "Nairobi", "Osaka", "Valparaíso", "Tallinn"];
    let statuses = ["open", "paid", "shipped", "returned"];
    let pick = |from: &[&str], shift: u32| from[(mixed >> shift) as usize % from.len()].into();
    let seconds = if changed > 0 { CHANGED + i64::from(changed) } else { EPOCH + place as i64 };
    Record {
        id: id as i64,
        name: format!("Customer {mixed:016x} Ltd").into(),
        email: format!("contact{place}@customer-{:06x}.example", mixed & 0xFF_FFFF).into(),
        city: pick(&cities, 7),
        status: pick(&statuses, 13),
        note: format!("delivery {:05} of lot {:04}, call before noon; change {changed}", mixed % 99_991, mixed % 9973)
            .into(),
        amount: format!("{}.{:02}", mixed % 90_000, mixed % 100).into(),
        quantity: (mixed % 500) as i64,
        score: (mixed % 1_000_003) as i64,
        active: mixed & 4 == 0,
        created_at: instant(EPOCH + (place % 1_000_000) as i64),
        updated_at: instant(seconds),
    }
}

fn instant(seconds: i64) -> Box<str> {
    DateTime::from_timestamp(seconds, 0).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Secs, true).into()
}
