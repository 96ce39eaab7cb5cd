//! What must be true, whatever went wrong.

use std::collections::BTreeMap;

use sync_core::two_way::{Became, Table};
use sync_core::{Key, Value};

use super::shop::{MOVEMENTS, NOTES, PRODUCTS, SALES, STOCK, Site};
use super::world::{Oracle, World};

type Rows = Vec<(Key, Vec<Value>)>;

fn text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.to_string(),
        other => other.to_string(),
    }
}

/// A sale and its movement were written together: nobody ever sees one without the other.
pub(super) async fn groups_are_whole<S: Site>(world: &World<S>) -> Oracle {
    for (number, site) in world.sites.iter().enumerate().filter(|(number, _)| world.is_whole(*number)) {
        let sales: Vec<String> = site.rows(SALES).await.iter().map(|(_, row)| text(&row[0])).collect();
        let moved: Vec<String> = site.rows(MOVEMENTS).await.iter().map(|(_, row)| text(&row[1])).collect();
        if let Some(half) = sales.iter().find(|sale| !moved.contains(sale)) {
            return Err(("groups_are_whole", format!("site {number} has sale {half} without its movement")));
        }
    }
    Ok(())
}

pub(super) async fn all_end_equal<S: Site>(world: &World<S>) -> Oracle {
    for table in [PRODUCTS, SALES, MOVEMENTS, NOTES] {
        let wanted: Rows = world.sites[0].rows(table).await;
        for (number, site) in world.sites.iter().enumerate().skip(1) {
            let found = site.rows(table).await;
            if found != wanted {
                let differ =
                    |one: &Rows, other: &Rows| one.iter().filter(|row| !other.contains(row)).cloned().collect::<Rows>();
                let (more, less) = (differ(&found, &wanted), differ(&wanted, &found));
                return Err(("all_end_equal", format!("{table} at site {number} has {more:?} and lacks {less:?}")));
            }
        }
    }
    Ok(())
}

pub(super) async fn every_sale_is_there<S: Site>(world: &World<S>) -> Oracle {
    let there: Vec<String> = world.sites[0].rows(SALES).await.iter().map(|(_, row)| text(&row[0])).collect();
    for id in world.ledger.sales.keys() {
        if !world.ledger.is_excused(id) && !there.contains(id) {
            return Err(("every_sale_is_there", format!("sale {id} was committed and is nowhere")));
        }
    }
    Ok(())
}

pub(super) async fn stock_is_what_was_not_sold<S: Site>(world: &World<S>) -> Oracle {
    let mut sold: BTreeMap<String, i64> = BTreeMap::new();
    for (_, row) in world.sites[0].rows(SALES).await {
        let id = text(&row[0]);
        let sale =
            world.ledger.sales.get(&id).ok_or(("stock_is_what_was_not_sold", format!("nobody made sale {id}")))?;
        *sold.entry(sale.product.clone()).or_default() += sale.quantity;
    }
    for (_, row) in world.sites[0].rows(PRODUCTS).await {
        let id = text(&row[0]);
        let wanted =
            world.ledger.stock.get(&id).copied().unwrap_or_default() - sold.get(&id).copied().unwrap_or_default();
        if row[STOCK] != Value::Int(wanted) {
            let what = format!("product {id} has {} in stock, and {wanted} were not sold", row[STOCK]);
            return Err(("stock_is_what_was_not_sold", what));
        }
    }
    Ok(())
}

/// The value of a field in the end was not replaced by anybody who had seen it.
pub(super) async fn no_write_is_lost_unseen<S: Site>(world: &World<S>) -> Oracle {
    for (_, row) in world.sites[0].rows(PRODUCTS).await {
        let id = text(&row[0]);
        for column in [1, 2] {
            let last = text(&row[column]);
            let replaced_by = world.ledger.values.iter().find(|((product, at, value), write)| {
                *product == id && *at == column && write.replaced == last && !world.ledger.is_excused(value)
            });
            if let Some(((.., value), write)) = replaced_by {
                let what = format!("{id} ends with {last:?}, which site {} had replaced by {value:?}", write.site);
                return Err(("no_write_is_lost_unseen", what));
            }
        }
    }
    Ok(())
}

/// An edit that took the place of a value which its writer had not seen says so.
pub(super) async fn what_met_a_change_says_so<S: Site>(world: &World<S>) -> Oracle {
    let mut tx = world.sites[0].look().await.unwrap();
    let feed = tx.feed(0, usize::MAX).await.unwrap();
    let applied = world.faults.answered();
    for entry in &feed {
        let Some((edit, Some(Became::Applied))) = applied.get(&(entry.stamp.origin.to_string(), entry.stamp.op)) else {
            continue;
        };
        let (Some(before), Some(after), Some(stood)) = (&edit.before, &edit.after, &entry.before) else { continue };
        let counter = |column: usize| entry.table == PRODUCTS && column == STOCK;
        let changed = Table::differing(before, after);
        if let Some(column) = changed.iter().find(|column| !counter(*column) && before[*column] != stood[*column]) {
            let what =
                format!("edit {} of {} replaced {}, which it had not seen", edit.op, entry.stamp.origin, stood[column]);
            return Err(("what_met_a_change_says_so", what));
        }
    }
    Ok(())
}

/// A branch sends what its host has written, and nothing that came to it.
pub(super) fn no_change_goes_round<S: Site>(world: &World<S>) -> Oracle {
    for number in 1..world.sites.len() {
        let name = format!("till-{number}#");
        let sent = world.faults.answered().keys().filter(|(peer, _)| peer.starts_with(&name)).count();
        if sent > world.changes[number] && !world.restores() {
            let what = format!("site {number} sent {sent} edits, and its host has made {}", world.changes[number]);
            return Err(("no_change_goes_round", what));
        }
    }
    Ok(())
}

/// A note is written once and deleted once: it must not come back, and it must not go by itself.
pub(super) async fn deletes_stay_and_notes_stay<S: Site>(world: &World<S>) -> Oracle {
    let there: Vec<String> = world.sites[0].rows(NOTES).await.iter().map(|(_, row)| text(&row[0])).collect();
    for id in world.ledger.notes.keys().filter(|id| !world.ledger.is_excused(id)) {
        let deleted = world.ledger.deleted.contains_key(id);
        if deleted == there.contains(id) {
            let what = if deleted { "was deleted and came back" } else { "was not deleted and is gone" };
            return Err(("deletes_stay_and_notes_stay", format!("note {id} {what}")));
        }
    }
    Ok(())
}
