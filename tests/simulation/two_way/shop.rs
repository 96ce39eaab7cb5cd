//! The tables of the simulated shop, and a site that its host writes to.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::TimeDelta;
use sync_core::memory::{Backup, MemoryReplica};
use sync_core::two_way::{Replica, Table, Tables};
use sync_core::{Clock, Key, Result, StreamSpec, Value};

pub(super) const PRODUCTS: &str = "products";
pub(super) const SALES: &str = "sales";
pub(super) const MOVEMENTS: &str = "movements";
pub(super) const NOTES: &str = "notes";
/// Where the stock stands in a product.
pub(super) const STOCK: usize = 3;

/// Products with a stock that is counted, sales and the movements of stock that belong to them, and notes.
pub(super) fn tables() -> Tables {
    let products = StreamSpec::new(PRODUCTS).text("id").key(["id"]).text("name").int("price").int("stock");
    let sales = StreamSpec::new(SALES).text("id").key(["id"]).text("product").int("quantity").int("number");
    let movements = StreamSpec::new(MOVEMENTS).text("id").key(["id"]).text("sale").int("quantity");
    let notes = StreamSpec::new(NOTES).text("id").key(["id"]).text("note");
    Tables::new([Table::new(products).counters(["stock"]), Table::new(sales), Table::new(movements), Table::new(notes)])
        .unwrap()
}

/// What a host does to one row.
#[derive(Debug, Clone)]
pub(super) enum Act {
    Put(&'static str, Vec<Value>),
    /// Adds to the stock of a product.
    Take(String, i64),
    /// Sets one column of a product.
    Set(String, usize, Value),
    Delete(&'static str, String),
}

/// A replica with a host.
#[async_trait]
pub(super) trait Site: Replica + Clone + 'static {
    /// One transaction.
    async fn run(&self, acts: &[Act]) -> Result<()>;
    async fn rows(&self, table: &str) -> Vec<(Key, Vec<Value>)>;
    fn skew(&self, skew: TimeDelta);
    type Backup: Send + Sync + Clone;
    async fn backup(&self) -> Self::Backup;
    async fn restore(&self, backup: &Self::Backup);
}

pub(super) fn key(id: &str) -> Key {
    Key::new([id])
}

pub(super) fn in_memory(name: &str, clock: Arc<dyn Clock>, numbered: bool) -> MemoryReplica {
    let site =
        MemoryReplica::new(name, tables(), clock).parent(SALES, "product", PRODUCTS).parent(MOVEMENTS, "sale", SALES);
    if numbered { site.unique(SALES, &["number"]) } else { site }
}

#[async_trait]
impl Site for MemoryReplica {
    async fn run(&self, acts: &[Act]) -> Result<()> {
        self.transaction(|host| {
            for act in acts {
                match act {
                    Act::Put(table, row) => host.put(table, row.clone())?,
                    Act::Take(id, quantity) => {
                        let Some(mut row) = host.get(PRODUCTS, &key(id)).map(<[Value]>::to_vec) else { continue };
                        let Value::Int(stock) = row[STOCK] else { unreachable!("stock is a number") };
                        row[STOCK] = Value::Int(stock - quantity);
                        host.put(PRODUCTS, row)?;
                    }
                    Act::Set(id, column, value) => {
                        let Some(mut row) = host.get(PRODUCTS, &key(id)).map(<[Value]>::to_vec) else { continue };
                        row[*column] = value.clone();
                        host.put(PRODUCTS, row)?;
                    }
                    Act::Delete(table, id) => host.delete(table, &key(id))?,
                }
            }
            Ok(())
        })
        .await
    }

    async fn rows(&self, table: &str) -> Vec<(Key, Vec<Value>)> {
        Self::rows(self, table)
    }

    fn skew(&self, skew: TimeDelta) {
        Self::skew(self, skew);
    }

    type Backup = Backup;

    async fn backup(&self) -> Backup {
        Self::backup(self)
    }

    async fn restore(&self, backup: &Backup) {
        Self::restore(self, backup).await;
    }
}
