//! Branches and masters on real databases that take over, and load, what stands in each other's way.

mod meets;
mod site;
mod storm;

use std::sync::Arc;

use sync_core::two_way::{Access, Branch, Hub, Table, Tables};
use sync_core::{Clock, StreamSpec, SystemClock};

use site::{Kind, Site};

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

/// People with a badge that no two share, under a chief; and what they own.
fn tables() -> Tables {
    let people = StreamSpec::new("people").text("id").key(["id"]).text("chief").text("badge").text("name").int("n");
    let things = StreamSpec::new("things").text("id").key(["id"]).text("owner").text("tag").int("n");
    Tables::new([Table::new(people).counters(["n"]), Table::new(things).counters(["n"])]).unwrap()
}

const DDL: [&str; 2] = [
    "CREATE TABLE people (id varchar(40) PRIMARY KEY, chief varchar(40) REFERENCES people (id), badge varchar(40) UNIQUE, name varchar(40), n bigint)",
    "CREATE TABLE things (id varchar(40) PRIMARY KEY, owner varchar(40) NOT NULL REFERENCES people (id), tag varchar(40) UNIQUE, n bigint)",
];

async fn pair(kind: Kind) -> (Site, Hub, Site, Branch) {
    let master = Site::new(Kind::Sqlite, "master").await;
    let hub = master.hub().await;
    let till = Site::new(kind, "till").await;
    let branch = till.branch((hub.clone(), Access::everything())).await;
    (master, hub, till, branch)
}

async fn assert_same(master: &Site, till: &Site, what: &str) {
    let (there, here) = (master.rows().await, till.rows().await);
    let missing: Vec<_> = there.iter().filter(|row| !here.contains(*row)).take(5).collect();
    let other: Vec<_> = here.iter().filter(|row| !there.contains(*row)).take(5).collect();
    assert!(missing.is_empty() && other.is_empty(), "{what}: missing {missing:?}, other {other:?}");
}
