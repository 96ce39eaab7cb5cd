//! Our tables about one of the host's: the book of its rows, and the rows before and after each write.

use sqlx::MySqlConnection;
use sync_core::Result;

use super::install::run;
use super::layout::Layout;
use crate::mysql::query::name;
use crate::mysql::table;
use crate::replica::Names;

/// The columns of a table; none where there is no table.
pub(super) async fn columns(connection: &mut MySqlConnection, table: &str) -> Result<Vec<String>> {
    let found = table::look(connection, table).await?;
    Ok(found.map(|table| table.columns.into_iter().map(|column| column.name).collect()).unwrap_or_default())
}

/// Our tables about one of the host's: what they are called, their columns, and what stands behind those.
fn wanted(layout: &Layout) -> [(String, Vec<String>, String); 2] {
    let typed = |keys: bool, piece: &dyn Fn(&Names) -> Vec<String>| -> Vec<String> {
        let columns = layout.columns.iter().zip(&layout.types).filter(|(names, _)| names.is_key == keys);
        let null = if keys { " NOT NULL" } else { "" };
        columns.flat_map(|(names, of)| piece(names).into_iter().map(move |name| format!("{name} {of}{null}"))).collect()
    };
    let keys = typed(true, &|names| vec![names.kept.clone()]);
    let with = |more: Vec<String>| keys.iter().cloned().chain(more).collect::<Vec<_>>();
    let key = layout.keys("");
    let origin = format!("origin varchar(700) CHARACTER SET utf8mb4 COLLATE {} NOT NULL", layout.exact);
    [
        (
            format!("_sync_row_{}", layout.name()),
            with(typed(false, &|names| vec![names.kept.clone()])),
            format!(
                "rev bigint NOT NULL, hlc bigint NOT NULL, {origin}, op bigint, seen bigint NOT NULL, deleted tinyint NOT NULL, PRIMARY KEY ({key})"
            ),
        ),
        (
            format!("_sync_log_{}", layout.name()),
            with(typed(false, &|names| vec![names.before.clone(), names.after.clone()])),
            format!("had tinyint NOT NULL, has tinyint NOT NULL, id bigint NOT NULL PRIMARY KEY, KEY by_key ({key})"),
        ),
    ]
}

/// Our tables about one of the host's: created, or grown with it.
pub(super) async fn grow(connection: &mut MySqlConnection, layout: &Layout) -> Result<()> {
    for (table, wanted, rest) in wanted(layout) {
        let there = columns(connection, &table).await?;
        let table = name(&table)?;
        if there.is_empty() {
            run(
                connection,
                format!("CREATE TABLE {table} ({}, {rest}) ENGINE=InnoDB ROW_FORMAT=DYNAMIC", wanted.join(", ")),
            )
            .await?;
            continue;
        }
        for column in wanted {
            let is_there =
                there.iter().any(|there| name(there).is_ok_and(|name| column.starts_with(&format!("{name} "))));
            if !is_there {
                run(connection, format!("ALTER TABLE {table} ADD COLUMN {column}")).await?;
            }
        }
    }
    Ok(())
}
