//! The three tables that are kept in step.

use sync_core::two_way::{Table, Tables};
use sync_core::{Result, StreamSpec};

/// Whose rows they are: the `client_id` of all of them.
pub const CLIENT: &str = "warehouse";

/// `inventories`, `transactions` and `inventory_adjustments`, as the master and every slave declare them. Of an inventory's
/// `quantity` the changes are kept in step: what two slaves take from it is taken twice.
///
/// # Errors
/// Never in practice: the declarations are constant.
pub fn tables() -> Result<Tables> {
    let ours = |name: &str| StreamSpec::new(name).text("id").key(["id"]).text("client_id");
    let inventories = ours("inventories").text("name").int("quantity").timestamp("updated_at");
    let transactions = ours("transactions").text("item").int("quantity").text("made_by").timestamp("updated_at");
    let adjustments =
        ours("inventory_adjustments").text("item").int("difference").text("reason").timestamp("updated_at");
    Tables::new([
        Table::new(inventories).scoped_by(["client_id"]).counters(["quantity"]),
        Table::new(transactions).scoped_by(["client_id"]),
        Table::new(adjustments).scoped_by(["client_id"]),
    ])
}
