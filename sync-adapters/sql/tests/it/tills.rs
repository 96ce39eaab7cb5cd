//! A master on a server and tills on SQLite: hosts write plain SQL on all of them, offline and at once, and all end equal.

use std::sync::Arc;

use sync_core::SystemClock;
use sync_core::two_way::{Access, Branch, Hub, Replica, Table, Tables};
use sync_sql::SqliteReplica;
use tempfile::TempDir;

const TILL: &str = "
CREATE TABLE products (id TEXT PRIMARY KEY, sku TEXT UNIQUE COLLATE NOCASE, name TEXT, stock INTEGER);
CREATE TABLE invoices (id TEXT PRIMARY KEY, no TEXT);
CREATE TABLE lines (id INTEGER PRIMARY KEY, invoice TEXT NOT NULL REFERENCES invoices (id), product TEXT REFERENCES products (id), qty INTEGER);";

/// The shop, with a stock of which the changes are kept in step.
pub(crate) fn counted(shop: &Tables) -> Tables {
    let table = |name: &str| Table::new(Arc::clone(shop.get(name).unwrap().spec()));
    Tables::new([table("products").counters(["stock"]), table("invoices"), table("lines")]).unwrap()
}

struct Till {
    replica: SqliteReplica,
    branch: Branch,
    host: rusqlite::Connection,
    _folder: TempDir,
}

impl Till {
    async fn new(name: &str, hub: &Hub, tables: Tables) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("till.db");
        let host = rusqlite::Connection::open(&path).unwrap();
        host.execute_batch(&format!("PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON; {TILL}")).unwrap();
        let clock = Arc::new(SystemClock::new());
        let replica = SqliteReplica::open(&path, name, tables, Arc::<SystemClock>::clone(&clock)).await.unwrap();
        let branch = Branch::new(replica.clone(), (hub.clone(), Access::everything()), clock);
        Self { replica, branch, host, _folder: folder }
    }

    fn run(&self, sql: &str) {
        self.host.execute_batch(sql).unwrap();
    }
}

async fn rows(replica: &dyn Replica, table: &str) -> Vec<String> {
    let table = replica.tables().get(table).unwrap();
    let rows = replica.look().await.unwrap().scan(table, None, usize::MAX).await.unwrap();
    rows.into_iter().map(|(_, _, row)| row.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")).collect()
}

async fn assert_equal(office: &dyn Replica, tills: &[Till]) {
    for table in ["products", "invoices", "lines"] {
        let there = rows(office, table).await;
        for till in tills {
            assert_eq!(rows(&till.replica, table).await, there, "{table}");
        }
    }
}

/// Lives through a day. `run` is a statement of the office's host, and `clerk` one on another connection, which stays.
pub(crate) async fn assert_all_end_equal<R: Replica + Clone + 'static>(
    office: &R,
    run: impl AsyncFn(&str),
    mut clerk: impl AsyncFnMut(&str),
) {
    run("INSERT INTO products VALUES ('p1', 'A', 'apple', 100), ('p2', 'B', 'pear', 50)").await;
    let hub = Hub::new(office.clone(), Arc::new(SystemClock::new()));
    let tables = office.tables().clone();
    let tills = [Till::new("till-1", &hub, tables.clone()).await, Till::new("till-2", &hub, tables).await];
    for till in &tills {
        till.branch.sync().await.unwrap();
    }
    assert_equal(office, &tills).await;
    // Everybody sells from one stock, offline; a clerk changes the name, another the number, and the office has a transaction open.
    clerk("BEGIN; UPDATE products SET stock = stock - 5 WHERE id = 'p1'; INSERT INTO invoices VALUES ('o1', 'office')")
        .await;
    for (number, till) in tills.iter().enumerate() {
        till.run(&format!(
            "BEGIN; INSERT INTO invoices VALUES ('i{number}', 'till {number}');
             INSERT INTO lines VALUES ({number}, 'i{number}', 'p2', 10); UPDATE products SET stock = stock - 10 WHERE id = 'p2'; COMMIT;"
        ));
    }
    tills[0].run("UPDATE products SET name = 'Apple' WHERE id = 'p2'");
    tills[1].run("UPDATE products SET sku = 'C' WHERE id = 'p2'");
    tills[0].branch.sync().await.unwrap();
    clerk("COMMIT").await;
    for _ in 0..2 {
        for till in &tills {
            till.branch.sync().await.unwrap();
        }
    }
    assert_equal(office, &tills).await;
    assert_eq!(rows(office, "products").await, ["p1,A,apple,95", "p2,C,Apple,30"]);
    assert_eq!(rows(office, "invoices").await, ["i0,till 0", "i1,till 1", "o1,office"]);
    // What the office deletes, in a cascade, is deleted everywhere, and a number that two tills give waits for a person.
    run("DELETE FROM invoices WHERE id = 'i0'").await;
    tills[0].run("INSERT INTO products VALUES ('p3', 'new', 'fig', 1)");
    tills[1].run("INSERT INTO products VALUES ('p4', 'NEW', 'plum', 1)");
    for _ in 0..2 {
        for till in &tills {
            till.branch.sync().await.unwrap();
        }
    }
    assert_equal(office, &tills).await;
    assert_eq!(rows(office, "lines").await, ["1,i1,p2,10"]);
    assert_eq!(rows(office, "products").await.len(), 3);
    assert_eq!(hub.inbox(&Access::everything()).await.unwrap().len(), 1);
}
