//! What people do with the stock, in plain SQL, at the master as at a slave.

use chrono::Utc;
use sync_core::Value;
use sync_core::model::Timestamp;
use sync_sql::{SqliteHost, SqliteReplica};
use uuid::Uuid;

use crate::Result;
use crate::tables::CLIENT;

/// A new item, or more of one that is there. Returns how many there are now.
///
/// # Errors
/// When the database does not take it.
pub async fn receive(database: &SqliteReplica, item: &str, quantity: i64) -> Result<i64> {
    let (item, now) = (item.to_owned(), now());
    let received = database.transaction(move |host| {
        let more = "UPDATE inventories SET quantity = quantity + ?, updated_at = ? WHERE id = ?";
        if host.execute(more, &[quantity.into(), now.clone(), item.as_str().into()])? == 0 {
            let new = "INSERT INTO inventories (id, client_id, name, quantity, updated_at) VALUES (?, ?, ?, ?, ?)";
            let item = || Value::from(item.as_str());
            host.execute(new, &[item(), CLIENT.into(), item(), quantity.into(), now])?;
        }
        left(host, &item)
    });
    Ok(received.await?)
}

/// A sale: what is left, and the transaction, together. Returns how many are left.
///
/// # Errors
/// When there is no such item, or the database does not take it.
pub async fn sell(database: &SqliteReplica, by: &str, item: &str, quantity: i64) -> Result<i64> {
    let note =
        "INSERT INTO transactions (id, client_id, item, quantity, made_by, updated_at) VALUES (?, ?, ?, ?, ?, ?)";
    change(database, item, -quantity, note, [Value::from(quantity), Value::from(by)]).await
}

/// A correction, with its reason: what is left, and the adjustment, together. Returns how many are left.
///
/// # Errors
/// When there is no such item, or the database does not take it.
pub async fn adjust(database: &SqliteReplica, item: &str, by: i64, reason: &str) -> Result<i64> {
    let note = "INSERT INTO inventory_adjustments (id, client_id, item, difference, reason, updated_at) VALUES (?, ?, ?, ?, ?, ?)";
    change(database, item, by, note, [Value::from(by), Value::from(reason)]).await
}

async fn change(database: &SqliteReplica, item: &str, by: i64, note: &'static str, what: [Value; 2]) -> Result<i64> {
    let (item, now, id) = (item.to_owned(), now(), Uuid::new_v4().to_string());
    let changed = database.transaction(move |host| {
        let sql = "UPDATE inventories SET quantity = quantity + ?, updated_at = ? WHERE id = ?";
        if host.execute(sql, &[by.into(), now.clone(), item.as_str().into()])? == 0 {
            return Err(no_such_item(&item));
        }
        let [first, second] = what;
        host.execute(note, &[id.into(), CLIENT.into(), item.as_str().into(), first, second, now])?;
        left(host, &item)
    });
    Ok(changed.await?)
}

fn left(host: &SqliteHost<'_>, item: &str) -> sync_core::Result<i64> {
    let rows = host.query("SELECT quantity FROM inventories WHERE id = ?", &[item.into()])?;
    match rows.first().map(Vec::as_slice) {
        Some([Value::Int(left)]) => Ok(*left),
        _ => Err(no_such_item(item)),
    }
}

fn no_such_item(item: &str) -> sync_core::Error {
    sync_core::Error::data("there is no such item here")
        .with_remedy("receive it at the master (`master receive`), then bring the slave in step (`slave run`)")
        .with("item", item)
}

/// The stock, and how much was noted: for people.
///
/// # Errors
/// When the database cannot be read.
pub async fn show(database: &SqliteReplica) -> Result<String> {
    let shown = database.transaction(|host| {
        let mut text = format!("{:<16}{:>9}\n", "item", "quantity");
        for row in host.query("SELECT id, quantity FROM inventories ORDER BY id", &[])? {
            if let [Value::Text(item), Value::Int(quantity)] = row.as_slice() {
                text.push_str(&format!("{:<16}{quantity:>9}\n", &**item));
            }
        }
        for table in ["transactions", "inventory_adjustments"] {
            let count = host.query(&format!("SELECT count(*) FROM {table}"), &[])?;
            if let Some([Value::Int(count)]) = count.first().map(Vec::as_slice) {
                text.push_str(&format!("{count} {table}\n"));
            }
        }
        Ok(text)
    });
    Ok(shown.await?)
}

/// The present moment, as the column holds it.
fn now() -> Value {
    Value::Timestamp(Timestamp::from(Utc::now()))
}
