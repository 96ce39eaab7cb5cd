//! The tables of the shop, and what is in them at first.

use sync_core::conflict::Park;
use sync_core::two_way::{Table, Tables};
use sync_core::{Result, StreamSpec};

/// Whose shop it is: the `client_id` of all its rows.
pub const CLIENT: &str = "corner-shop";

/// What is sold; there is a price and a notice for each.
pub const PRODUCTS: [&str; 8] = ["bread", "coffee", "jam", "milk", "olives", "soap", "tea", "wine"];

/// How many there are of each at first.
pub const STOCK: i64 = 1_000_000;

/// What each costs at first, in cents.
pub const CENTS: i64 = 100;

/// What each notice says at first.
pub const NOTICE: &str = "nothing";

/// The tables, with their columns in order. The first is the key.
pub const TABLES: [(&str, &[&str]); 4] = [
    ("products", &["id", "client_id", "stock"]),
    ("prices", &["id", "client_id", "cents"]),
    ("notices", &["id", "client_id", "text"]),
    ("sales", &["id", "client_id", "till", "product", "quantity"]),
];

/// The same as replicas declare them.
///
/// # Errors
/// None: they fit.
pub fn tables() -> Result<Tables> {
    let ours = |name: &str| StreamSpec::new(name).text("id").key(["id"]).text("client_id");
    let tables = [
        // What two tills take from one stock is taken twice.
        Table::new(ours("products").int("stock")).counters(["stock"]),
        // Of two prices for one product the later stays.
        Table::new(ours("prices").int("cents")),
        // Of two notices on one product a person chooses.
        Table::new(ours("notices").text("text")).policy(Park::new("two notices on one product")),
        Table::new(ours("sales").text("till").text("product").int("quantity")),
    ];
    Tables::new(tables.into_iter().map(|table| table.scoped_by(["client_id"])))
}

/// Statements that fill the master's tables, once they are there: plain SQL for every database.
pub fn first_rows() -> String {
    let rows = PRODUCTS.map(|id| {
        format!(
            "INSERT INTO products (id, client_id, stock) VALUES ('{id}', '{CLIENT}', {STOCK});
             INSERT INTO prices (id, client_id, cents) VALUES ('{id}', '{CLIENT}', {CENTS});
             INSERT INTO notices (id, client_id, text) VALUES ('{id}', '{CLIENT}', '{NOTICE}');"
        )
    });
    rows.concat()
}
