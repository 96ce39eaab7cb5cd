//! What the hosts have written, noted where they wrote it.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::two_way::{Edit, Table};

use super::shop::{PRODUCTS, STOCK};

/// A sale that a host has committed.
#[derive(Debug, Clone)]
pub(super) struct Sale {
    pub(super) site: usize,
    pub(super) product: String,
    pub(super) quantity: i64,
}

/// A value that a host has given to one field.
#[derive(Debug, Clone)]
pub(super) struct Value {
    pub(super) site: usize,
    /// The value that it replaced, as that host saw it.
    pub(super) replaced: String,
}

/// Everything the hosts have committed. What a site wrote and lost with its own disk is not the library's to keep.
#[derive(Debug, Clone, Default)]
pub(super) struct Ledger {
    pub(super) stock: BTreeMap<String, i64>,
    pub(super) sales: BTreeMap<String, Sale>,
    /// By product, column and value: no value is written twice.
    pub(super) values: BTreeMap<(String, usize, String), Value>,
    pub(super) notes: BTreeMap<String, usize>,
    pub(super) deleted: BTreeMap<String, usize>,
    /// What may be lost: written by a site whose disk was set back later.
    pub(super) uncertain: BTreeSet<String>,
    /// Sales, notes and values that a person has turned down.
    pub(super) turned_down: BTreeSet<String>,
    pub(super) next: u64,
}

impl Ledger {
    pub(super) fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Whether this sale, note or value need not be there in the end.
    pub(super) fn is_excused(&self, id: &str) -> bool {
        self.uncertain.contains(id) || self.turned_down.contains(id)
    }

    /// A person has turned down these edits: whatever stood in one group with what clashed.
    pub(super) fn turn_down(&mut self, edits: &[Edit]) {
        for edit in edits {
            if edit.table != PRODUCTS {
                self.turned_down.insert(edit.key.to_string());
                continue;
            }
            let (Some(before), Some(after)) = (&edit.before, &edit.after) else { continue };
            // The stock is counted with the sales; of the other columns, each value is written once.
            let set = Table::differing(before, after);
            self.turned_down
                .extend(set.iter().filter(|column| *column != STOCK).map(|column| after[column].to_string()));
        }
    }

    /// The site's disk is set back to `before`: what it wrote since may be gone.
    pub(super) fn set_back(&mut self, site: usize, before: &Self) {
        let sales = self.sales.iter().filter(|(id, sale)| sale.site == site && !before.sales.contains_key(*id));
        let notes = self.notes.iter().filter(|(id, by)| **by == site && !before.notes.contains_key(*id));
        let deleted = self.deleted.iter().filter(|(id, by)| **by == site && !before.deleted.contains_key(*id));
        let values =
            self.values.iter().filter(|(place, value)| value.site == site && !before.values.contains_key(*place));
        let lost: Vec<String> = sales
            .map(|(id, _)| id.clone())
            .chain(notes.map(|(id, _)| id.clone()))
            .chain(deleted.map(|(id, _)| id.clone()))
            .chain(values.map(|((.., value), _)| value.clone()))
            .collect();
        self.uncertain.extend(lost);
    }
}
