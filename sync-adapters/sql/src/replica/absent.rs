//! Rows that were not there when a transaction looked at them: whoever inserts one meanwhile is not overwritten.

use std::collections::HashSet;

use sync_core::two_way::{Held, RowWrite, Table};
use sync_core::{Key, Result};

use super::Dialect;
use crate::classified::changed_meanwhile;

/// Keys for which no row was found, and which therefore nobody could lock.
#[derive(Debug, Default)]
pub(crate) struct Absent(HashSet<(String, Key)>);

impl Absent {
    /// Notes what was found.
    pub(super) fn note(&mut self, table: &Table, keys: &[Key], held: &[Held]) {
        for (key, held) in keys.iter().zip(held) {
            let row = (table.name().to_owned(), key.clone());
            match held.row {
                None => self.0.insert(row),
                Some(_) => self.0.remove(&row),
            };
        }
    }

    /// Whether this row was looked for, and not there.
    pub(super) fn has(&self, write: &RowWrite) -> bool {
        self.0.contains(&(write.table.name().to_owned(), write.key.clone()))
    }

    /// These rows are as this transaction has written them.
    pub(super) fn forget(&mut self, writes: &[RowWrite]) {
        if !self.0.is_empty() {
            for write in writes {
                self.0.remove(&(write.table.name().to_owned(), write.key.clone()));
            }
        }
    }

    /// Whether the write is of what its writer has seen.
    ///
    /// # Errors
    /// `Conflict` where the row was not there, and is now, by somebody else's hand.
    pub(super) async fn check<D: Dialect>(
        &self,
        dialect: &D,
        to: &mut D::Connection,
        layout: &D::Layout,
        write: &RowWrite,
        held: &Held,
    ) -> Result<()> {
        let came = held.row.is_some() && self.has(write);
        // A trigger of the host may have made it in this very transaction.
        if came && !dialect.is_own(to, layout, &write.key).await? {
            return Err(changed_meanwhile(layout.table.spec()));
        }
        Ok(())
    }
}
