//! Hosts that write a row while the replica writes the same one, and groups that only look as if one had.

use std::sync::Arc;
use std::time::Duration;

use sync_core::two_way::{Access, Became, Edit, Group, Hlc, Hub, Peer, Push};
use sync_core::{Clock as _, ErrorKind, Key, Result, SystemClock};

use super::{Office, OnServer};
use crate::entries::{row, shop, told, write};

pub(crate) async fn a_delete_of_an_unknown_row_does_not_hide_the_one_that_a_host_commits_meanwhile<R: OnServer>() {
    let other = write(&shop(), "invoices", "other", Some(row(["other", "1"])));
    for others in [vec![], vec![other]] {
        let office = Office::<R>::shop().await;
        let table = Arc::clone(shop().get("invoices").unwrap());
        let mut tx = office.replica.begin().await.unwrap();
        assert_eq!(tx.rows(&table, &[Key::new(["i"])]).await.unwrap()[0].row, None);
        let mut host = office.host().await;
        R::execute(&mut host, "BEGIN; INSERT INTO invoices VALUES ('i', 'mine')").await;
        let mut writes = others;
        writes.push(write(&shop(), "invoices", "i", None));
        // It waits for the host, whose row nobody could see.
        let (deleted, ()) = tokio::join!(tx.write(&writes), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            R::execute(&mut host, "COMMIT").await;
        });
        assert_eq!(deleted.map_err(|error| error.kind()), Err(ErrorKind::Conflict));
        drop(tx);
        assert_eq!(told(&office.after(0).await), ["invoices i: - > i,mine"]);
        assert_eq!(office.replica.missed().await, 0);
        assert_eq!(told(&office.noticed("DELETE FROM invoices").await), ["invoices i: i,mine > -"]);
    }
}

/// What the hub of this office makes of groups of a till whose clock is so far ahead.
pub(crate) async fn brought<R: OnServer>(
    office: &Office<R>,
    ahead: Duration,
    groups: Vec<Vec<Edit>>,
) -> Result<Vec<Became>> {
    let clock = SystemClock::new();
    let now = Hlc::at(clock.now() + ahead);
    let hub = Hub::new(office.replica.clone(), Arc::new(clock));
    let mut push =
        Push { peer: Peer { name: "till".into(), life: 0 }, groups: Vec::new(), known_as: None, in_parts: false };
    let mut op = 0;
    for mut edits in groups {
        let previous = op;
        for edit in &mut edits {
            op += 1;
            (edit.op, edit.hlc) = (op, Hlc(now.0 + op));
        }
        push.groups.push(Group { previous, edits });
    }
    let results = hub.push(&push, &Access::everything()).await?.results;
    Ok(results.into_iter().map(|result| result.became).collect())
}

pub(crate) fn edit(table: &str, id: &str, base: u64, before: Option<&[&str]>, after: Option<&[&str]>) -> Edit {
    let values = |values: &[&str]| {
        let value = |text: &&str| text.parse::<i64>().map_or_else(|_| (*text).into(), Into::into);
        values.iter().map(value).collect()
    };
    let (table, key) = (table.to_owned(), Key::new([id]));
    Edit { op: 0, table, key, base, hlc: Hlc(0), before: before.map(values), after: after.map(values) }
}

/// One transaction that deletes a product and makes it anew with this number.
async fn made_anew<R: OnServer>(office: &Office<R>, ahead: Duration, sku: &str) -> Result<Vec<Became>> {
    let there = office.noticed("INSERT INTO products VALUES ('p', 'A', 'apple', 5), ('q', 'B', 'plum', 5)").await;
    let (old, new) = (["p", "A", "apple", "5"], ["p", sku, "apple", "5"]);
    let delete = edit("products", "p", there[0].stamp.rev, Some(&old), None);
    let insert = edit("products", "p", there[0].stamp.rev, None, Some(&new));
    brought(office, ahead, vec![vec![delete, insert]]).await
}

/// While the group is taken back, the row that it had deleted is there again.
pub(crate) async fn a_row_that_is_made_anew_with_a_value_of_another_waits_for_it<R: OnServer>() {
    let office = Office::<R>::shop().await;
    assert_eq!(made_anew(&office, Duration::from_secs(5), "B").await.unwrap(), [Became::Waits; 2]);
}

/// Both edits are set back to the same moment.
pub(crate) async fn a_row_that_is_made_anew_by_a_clock_that_is_ahead_stays<R: OnServer>() {
    let office = Office::<R>::shop().await;
    assert_eq!(made_anew(&office, Duration::from_secs(3600), "C").await.unwrap(), [Became::Applied; 2]);
    assert_eq!(office.run("SELECT sku FROM products WHERE id = 'p'").await, "C");
}
