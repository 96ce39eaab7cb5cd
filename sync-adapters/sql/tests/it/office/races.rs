//! Hosts that write a row while the replica writes the same one.

use std::sync::Arc;
use std::time::Duration;

use sync_core::{ErrorKind, Key};

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
