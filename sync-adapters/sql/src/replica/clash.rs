//! Which rows stand in the way of a write, because they hold a value that no two rows share.

use std::collections::HashSet;

use sync_core::two_way::RowWrite;
use sync_core::{Key, Result};

use super::Dialect;
use super::dialect::Row;

/// Rows in the way of this write, each behind the rows that hang on it.
pub(super) async fn clashing<D: Dialect>(
    dialect: &D,
    to: &mut D::Connection,
    write: &RowWrite,
) -> Result<Vec<(String, Key)>> {
    let (Some(row), layout) = (&write.row, dialect.layout(write.table.name())?) else { return Ok(Vec::new()) };
    let (mut found, mut seen) = (Vec::new(), HashSet::new());
    for other in dialect.holders(to, layout, row).await? {
        if other != write.key {
            hanging(dialect, to, (layout.name().to_owned(), other), &mut seen, &mut found).await?;
        }
    }
    Ok(found)
}

/// Puts the row behind all rows that hang on it.
async fn hanging<D: Dialect>(
    dialect: &D,
    to: &mut D::Connection,
    row: Row,
    seen: &mut HashSet<Row>,
    found: &mut Vec<Row>,
) -> Result<()> {
    // First what is open, then what is done with: a row is put down when everything below it is.
    let mut open = vec![(row, false)];
    while let Some((row, done)) = open.pop() {
        if done {
            found.push(row);
            continue;
        }
        if !seen.insert(row.clone()) {
            continue;
        }
        let below = dialect.children(to, &row).await?;
        open.push((row, true));
        open.extend(below.into_iter().rev().map(|child| (child, false)));
    }
    Ok(())
}
