//! A branch on SQLite that loads everything.

use super::Till;
use crate::loads;

#[tokio::test]
async fn readers_on_sqlite_see_no_half_of_a_load() {
    let till = Till::with(loads::SCHEMA, loads::tables()).await;
    let read = async || {
        let told = |row: &rusqlite::Row<'_>| Ok([0, 1, 2].map(|place| row.get::<_, i64>(place).unwrap().to_string()));
        till.host.query_row(loads::READ, [], told).unwrap().join("\t")
    };
    loads::readers_see_no_half_of_a_load(&till.replica, read).await;
}
