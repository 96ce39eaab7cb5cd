//! What the shop sells.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sync_core::model::{Field, Kind};

use super::{Cents, SEED, closing, opening, seconds};
use crate::random::Random;

#[derive(Debug, Serialize)]
pub(super) struct Product {
    pub(super) sku: String,
    name: String,
    category: &'static str,
    pub(super) price: Cents,
    weight_grams: Option<i64>,
    active: bool,
    tags: Vec<&'static str>,
    updated_at: DateTime<Utc>,
}

/// The columns, but for the time of the last update.
pub(super) fn fields() -> Vec<Field> {
    vec![
        Field::new("sku", Kind::Text).required(),
        Field::new("name", Kind::Text).required(),
        Field::new("category", Kind::Text).required(),
        Field::new("price", Kind::Decimal { precision: 10, scale: 2 }).required(),
        Field::new("weight_grams", Kind::Int),
        Field::new("active", Kind::Bool).required(),
        Field::new("tags", Kind::Json).required(),
    ]
}

/// Five things of five makes in each of six categories. Prices are whole euros, before the odd cents.
struct Category {
    name: &'static str,
    code: &'static str,
    prices: (i64, i64),
    makes: [&'static str; 5],
    things: [&'static str; 5],
}

const CATEGORIES: &[Category] = &[
    Category {
        name: "Kitchen",
        code: "KIT",
        prices: (6, 90),
        makes: ["Oak", "Cast-iron", "Enamel", "Copper", "Stoneware"],
        things: ["skillet", "stock pot", "chopping board", "salt cellar", "crème brûlée dish"],
    },
    Category {
        name: "Table",
        code: "TAB",
        prices: (4, 60),
        makes: ["Linen", "Porcelain", "Smoked-glass", "Walnut", "Hand-painted"],
        things: ["napkin ring", "serving tray", "carafe", "egg cup", "fondue set"],
    },
    Category {
        name: "Garden",
        code: "GAR",
        prices: (5, 140),
        makes: ["Galvanised", "Ash-handled", "Terracotta", "Folding", "Forged"],
        things: ["watering can", "hand trowel", "planter", "bird feeder", "pruning saw"],
    },
    Category {
        name: "Stationery",
        code: "STA",
        prices: (2, 35),
        makes: ["Recycled", "Cloth-bound", "Pocket", "Dotted", "Letterpress"],
        things: ["notebook", "calendar", "envelope set", "pencil case", "card deck"],
    },
    Category {
        name: "Lighting",
        code: "LIG",
        prices: (19, 260),
        makes: ["Brass", "Paper", "Opal-glass", "Rattan", "Dimmable"],
        things: ["table lamp", "pendant", "night light", "lantern", "reading lamp"],
    },
    Category {
        name: "Textiles",
        code: "TEX",
        prices: (9, 180),
        makes: ["Merino", "Organic cotton", "Jacquard", "Waxed", "Felted"],
        things: ["blanket", "cushion", "tea towel", "throw", "door mat"],
    },
];

const TAGS: &[&str] = &["new", "gift", "fragile", "bestseller", "made to order", "café", "seasonal"];

/// Everything in the catalogue, by stock number.
pub(super) fn generate() -> Vec<Product> {
    let mut random = Random::labelled(SEED, "products");
    let mut products = Vec::new();
    for category in CATEGORIES {
        let pairs = category.makes.iter().flat_map(|make| category.things.iter().map(move |thing| (*make, *thing)));
        for (number, (make, thing)) in pairs.enumerate() {
            products.push(product(category, number + 1, format!("{make} {thing}"), &mut random));
        }
    }
    products.sort_by(|a, b| a.sku.cmp(&b.sku));
    products
}

fn product(category: &'static Category, number: usize, name: String, random: &mut Random) -> Product {
    let (least, most) = category.prices;
    let known = random.percent(88);
    Product {
        sku: format!("{}-{number:04}", category.code),
        name,
        category: category.name,
        price: Cents(random.between(least, most) * 100 + random.pick(&[0, 49, 50, 90, 95])),
        weight_grams: known.then_some(random.between(2, 400) * 10),
        active: random.percent(92),
        tags: TAGS.iter().copied().filter(|_| random.percent(20)).collect(),
        updated_at: opening() + seconds(random.between(0, (closing() - opening()).num_seconds() - 1)),
    }
}
