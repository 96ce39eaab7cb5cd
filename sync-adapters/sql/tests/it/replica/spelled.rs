//! Values that may be written in several ways: what the master says is written as it is written there.

use std::sync::Arc;

use sync_core::two_way::{Access, Branch, Hub, Replica as _, Table, Tables};
use sync_core::{StreamSpec, SystemClock};

use super::Till;

const SCHEMA: &str = "CREATE TABLE prices (id INTEGER PRIMARY KEY, price DECIMAL_TEXT(10,2), at TIMESTAMP_TEXT);";
const TEXT: &str = "SELECT group_concat(id || '|' || price || '|' || at, ' ') FROM (SELECT * FROM prices ORDER BY id)";

fn tables() -> Tables {
    let prices = StreamSpec::new("prices").int("id").key(["id"]).decimal("price", 10, 2).timestamp("at");
    Tables::new([Table::new(prices)]).unwrap()
}

#[tokio::test]
async fn after_a_sync_a_branch_spells_its_values_as_the_master_does() {
    let (master, till) = (Till::with(SCHEMA, tables()).await, Till::with(SCHEMA, tables()).await);
    let hub = Hub::new(master.replica.clone(), Arc::new(SystemClock::new()));
    let branch = Branch::new(till.replica.clone(), (hub, Access::everything()), Arc::new(SystemClock::new()));
    branch.sync().await.unwrap();
    till.run("INSERT INTO prices VALUES (1, '9.5', '2026-11-22T10:00:00+02:00'), (2, '9.50', '2026-11-22 08:00')");
    branch.sync().await.unwrap();
    let there = master.one::<String>(TEXT);
    assert!(there.starts_with("1|9.50|2026-11-22T08:00:00"), "{there}");
    assert_eq!(till.one::<String>(TEXT), there);
    // That was no edit of the branch's.
    let synced = branch.sync().await.unwrap();
    assert_eq!((synced.sent, synced.received, branch.queue().await.unwrap().depth), (0, 0, 0));
    let entries = till.after(0).await.len();
    assert_eq!(till.replica.audit().await.unwrap(), 0);
    assert_eq!(till.after(0).await.len(), entries);
    // What a host of the master writes in its own way stays so there, and means the same everywhere.
    master.run("UPDATE prices SET price = '7.1' WHERE id = 1");
    branch.sync().await.unwrap();
    assert_eq!(till.one::<String>("SELECT price FROM prices WHERE id = 1"), "7.10");
    let table = tables();
    let table = table.get("prices").unwrap();
    let rows = |replica: sync_sql::SqliteReplica| async move {
        let mut look = replica.look().await.unwrap();
        look.scan(table, None, 10).await.unwrap().into_iter().map(|(_, _, row)| row).collect::<Vec<_>>()
    };
    assert_eq!(rows(till.replica.clone()).await, rows(master.replica.clone()).await);
}
