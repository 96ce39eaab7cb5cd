//! Foreign keys that the host looks at when a transaction ends: until then a child may stand before its parent.

use std::sync::Arc;

use sync_core::two_way::{Access, Branch, Hub, Reason, Table, Tables};
use sync_core::{StreamSpec, SystemClock};

use super::Till;

const SCHEMA: &str = "CREATE TABLE parents (id INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE children (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED,
      above INTEGER REFERENCES children (id) DEFERRABLE INITIALLY DEFERRED);";

fn tables() -> Tables {
    let table = |name: &str| StreamSpec::new(name).int("id").key(["id"]);
    let children = table("children").int("parent").int("above");
    Tables::new([Table::new(table("parents").text("name")), Table::new(children)]).unwrap()
}

/// A master, its hub, and a branch.
async fn shop() -> (Till, Hub, Till, Branch) {
    let (master, till) = (Till::with(SCHEMA, tables()).await, Till::with(SCHEMA, tables()).await);
    let hub = Hub::new(master.replica.clone(), Arc::new(SystemClock::new()));
    let branch = Branch::new(till.replica.clone(), (hub.clone(), Access::everything()), Arc::new(SystemClock::new()));
    branch.sync().await.unwrap();
    (master, hub, till, branch)
}

const CHILDREN: &str = "SELECT group_concat(id || ':' || parent || ':' || coalesce(above, ''), ' ') FROM (SELECT * FROM children ORDER BY id)";

#[tokio::test]
async fn a_group_whose_child_stands_before_its_parent_is_applied_both_ways() {
    let (master, hub, till, branch) = shop().await;
    till.run(
        "BEGIN; INSERT INTO children VALUES (2, 1, 3), (3, 1, NULL); INSERT INTO parents VALUES (1, 'late'); COMMIT",
    );
    assert_eq!(branch.sync().await.unwrap().waiting, 0);
    assert_eq!(hub.inbox(&Access::everything()).await.unwrap(), []);
    assert_eq!(master.one::<String>(CHILDREN), "2:1:3 3:1:");
    master.run(
        "BEGIN; INSERT INTO children VALUES (4, 5, 6), (6, 5, NULL); INSERT INTO parents VALUES (5, 'late'); COMMIT",
    );
    branch.sync().await.unwrap();
    assert_eq!(till.one::<String>(CHILDREN), "2:1:3 3:1: 4:5:6 6:5:");
}

#[tokio::test]
async fn a_child_whose_parent_is_gone_waits_and_stops_nobody_until_it_comes_back() {
    let (master, hub, till, branch) = shop().await;
    master.run("INSERT INTO parents VALUES (1, 'there'), (2, 'too')");
    branch.sync().await.unwrap();
    master.run("DELETE FROM parents WHERE id = 1");
    till.run("INSERT INTO children VALUES (7, 1, NULL)");
    // Behind it, and of no concern to it: what comes after a look at the feed is another group.
    till.after(0).await;
    till.run("INSERT INTO parents VALUES (8, 'new'); INSERT INTO children VALUES (8, 2, NULL)");
    let synced = branch.sync().await;
    assert_eq!(master.one::<String>(CHILDREN), "8:2:", "{synced:?}");
    let inbox = hub.inbox(&Access::everything()).await.unwrap();
    assert!(matches!(&inbox[..], [waiting] if matches!(waiting.reason, Reason::Orphan(_))), "{inbox:?}");
    master.run("INSERT INTO parents VALUES (1, 'again')");
    till.run("INSERT INTO parents VALUES (9, 'wakes')");
    for _ in 0..2 {
        branch.sync().await.unwrap();
    }
    assert_eq!(master.one::<String>(CHILDREN), "7:1: 8:2:");
    assert_eq!(till.one::<String>(CHILDREN), "7:1: 8:2:");
}
