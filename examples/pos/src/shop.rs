//! The tables of the shop: thirty, as a real one has them, of which the story needs four.

use sync_core::conflict::Park;
use sync_core::two_way::{Table, Tables};
use sync_core::{Result, StreamSpec};

/// Whose shop it is: the `client_id` of all its rows.
pub(crate) const CLIENT: &str = "corner-shop";

/// The file of the master's database.
pub(crate) const MASTER: &str = "master.db";

/// What is sold, how many there are at first, and what one costs, in cents.
pub(crate) const PRODUCTS: [(&str, i64, i64); 6] = [
    ("bread", 200, 320),
    ("coffee", 150, 890),
    ("milk", 300, 140),
    ("olives", 80, 450),
    ("soap", 120, 210),
    ("tea", 90, 560),
];

/// Tables that have nothing of their own to show.
const OTHERS: [&str; 26] = [
    "branches",
    "brands",
    "cash_movements",
    "categories",
    "coupons",
    "customer_groups",
    "customers",
    "discounts",
    "employees",
    "expense_categories",
    "expenses",
    "payment_methods",
    "payments",
    "purchase_lines",
    "purchases",
    "refund_lines",
    "refunds",
    "roles",
    "settings",
    "shifts",
    "stock_counts",
    "suppliers",
    "taxes",
    "transfers",
    "units",
    "warehouses",
];

/// All of them. Each replica declares the same.
pub(crate) fn tables() -> Result<Tables> {
    let ours = |name: &str| StreamSpec::new(name).text("id").key(["id"]).text("client_id");
    let others = OTHERS.iter().map(|name| Table::new(ours(name).text("name").int("amount")));
    let of_the_story = [
        // What two tills take from one stock is taken twice.
        Table::new(ours("products").text("name").int("stock")).counters(["stock"]),
        // Two prices for one product: a person decides.
        Table::new(ours("prices").text("product").int("cents")).policy(Park::new("two prices for one product")),
        Table::new(ours("invoices").text("till").int("cents")),
        Table::new(ours("invoice_lines").text("invoice").text("product").int("quantity").int("cents")),
    ];
    Tables::new(of_the_story.into_iter().chain(others).map(|table| table.scoped_by(["client_id"])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_thirty_tables() {
        assert_eq!(tables().unwrap().iter().count(), 30);
    }
}
