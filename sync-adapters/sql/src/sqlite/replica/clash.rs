//! Which rows stand in the way of a write, because they hold a value that no two rows share.

use std::collections::HashSet;

use rusqlite::Connection;
use rusqlite::types::Value as Cell;
use sync_core::two_way::RowWrite;
use sync_core::{Key, Result};

use super::Shared;
use super::catalog::Catalog;
use super::layout::Layout;
use super::rows::{cell, key};
use crate::ident::quoted;
use crate::sqlite::error::failed;

/// Rows in the way of this write, each behind the rows that hang on it.
pub(super) fn clashing(connection: &Connection, shared: &Shared, write: &RowWrite) -> Result<Vec<(String, Key)>> {
    let (Some(row), layout) = (&write.row, shared.layout(write.table.name())?) else { return Ok(Vec::new()) };
    let catalog = shared.catalog();
    let (mut found, mut seen) = (Vec::new(), HashSet::new());
    for index in catalog.unique.get(layout.name()).into_iter().flatten() {
        let mut wanted = Vec::with_capacity(index.columns.len());
        for (name, collation) in &index.columns {
            let position = layout.fields().iter().position(|field| field.name().eq_ignore_ascii_case(name));
            let Some(position) = position.filter(|position| !row[*position].is_null()) else { break };
            let cell = cell(&row[position], &layout.fields()[position])?;
            let same = format!("t.{} COLLATE {} = ?", quoted(name)?, quoted(collation)?);
            wanted.push((same, cell));
        }
        // A column that the declaration leaves out, or one without a value, clashes with nobody.
        if wanted.len() < index.columns.len() {
            continue;
        }
        let (same, cells): (Vec<String>, Vec<Cell>) = wanted.into_iter().unzip();
        for other in keys(connection, layout, &same.join(" AND "), cells)? {
            if other != write.key {
                hanging(connection, shared, &catalog, layout, other, &mut seen, &mut found)?;
            }
        }
    }
    Ok(found)
}

/// The row, behind all rows that hang on it.
fn hanging(
    connection: &Connection,
    shared: &Shared,
    catalog: &Catalog,
    layout: &Layout,
    row: Key,
    seen: &mut HashSet<(String, Key)>,
    found: &mut Vec<(String, Key)>,
) -> Result<()> {
    if !seen.insert((layout.name().to_owned(), row.clone())) {
        return Ok(());
    }
    for foreign in catalog.foreign.iter().filter(|foreign| foreign.references.eq_ignore_ascii_case(layout.name())) {
        // Rows of other tables are the host's own business: its foreign keys say what becomes of them.
        let Some(child) = shared.layouts.values().find(|child| child.name().eq_ignore_ascii_case(&foreign.table))
        else {
            continue;
        };
        let joined = foreign.columns.iter().zip(&foreign.referenced);
        let joined =
            joined.map(|(column, referenced)| Ok(format!("t.{} = p.{}", quoted(column)?, quoted(referenced)?)));
        let parent = layout.key_names().map(|names| format!("p.{} COLLATE BINARY = ?", names.host));
        let same = format!(
            "EXISTS (SELECT 1 FROM {} p WHERE {} AND {})",
            layout.host,
            joined.collect::<Result<Vec<_>>>()?.join(" AND "),
            parent.collect::<Vec<_>>().join(" AND ")
        );
        for hangs in keys(connection, child, &same, cells(layout, &row)?)? {
            hanging(connection, shared, catalog, child, hangs, seen, found)?;
        }
    }
    found.push((layout.name().to_owned(), row));
    Ok(())
}

fn cells(layout: &Layout, key: &Key) -> Result<Vec<Cell>> {
    key.values().iter().zip(&layout.key).map(|(value, &column)| cell(value, &layout.fields()[column])).collect()
}

/// The keys of the rows `t` for which this holds.
fn keys(connection: &Connection, layout: &Layout, holds: &str, cells: Vec<Cell>) -> Result<Vec<Key>> {
    let unread = |cause| failed("rows in the way cannot be looked for", cause).with("table", layout.name());
    let sql =
        format!("SELECT {keys} FROM {} t WHERE {holds} ORDER BY {keys}", layout.host, keys = layout.host_keys("t."));
    let mut select = connection.prepare_cached(&sql).map_err(unread)?;
    let mut rows = select.query(rusqlite::params_from_iter(cells)).map_err(unread)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(unread)? {
        found.push(key(row, 0, layout)?);
    }
    Ok(found)
}
