//! A branch whose database is gone: it begins anew, and nothing at the master is lost or doubled by it.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use sync_core::Result;
use sync_core::two_way::{Found, Lookup, Master, Page, Pushed};

use super::*;

#[tokio::test]
async fn a_till_whose_database_is_lost_begins_a_new_life_and_doubles_nothing() {
    let (master, hub, [(one, to_one), (two, to_two)]) = shop().await;
    for left in [9, 8, 7] {
        put(&one, "items", item("pear", "north", "pear", left)).await;
    }
    to_one.sync().await.unwrap();
    drop((one, to_one));
    let again = till("one");
    let to_again = branch(&again, &hub, north());
    let synced = to_again.sync().await.unwrap();
    assert_eq!((synced.loaded, synced.sent, synced.received), (true, 0, 1));
    assert_ne!(to_again.link().await.unwrap().life, 0, "its numbers are another's");
    // Numbers that the one before it had used, and later ones.
    for left in 2..=6 {
        put(&again, "items", item("pear", "north", "pear", 8 - left)).await;
    }
    assert_eq!(to_again.sync().await.unwrap().sent, 5);
    to_two.sync().await.unwrap();
    for replica in [&master, &again, &two] {
        assert_eq!(row(replica, "items", "pear"), Some(item("pear", "north", "pear", 2)), "{replica:?}");
    }
}

#[tokio::test]
async fn a_till_whose_database_is_lost_hears_what_became_of_the_edit_that_waited() {
    let (master, hub, [(one, to_one), (_, to_two)]) = shop().await;
    for number in 0..1500 {
        put(&master, "items", item(&format!("many {number}"), "north", "many", 1)).await;
    }
    to_two.sync().await.unwrap();
    to_one.sync().await.unwrap();
    hub.push(&push(0, vec![edit("lines", 1, None, Some(line("a", "pear", 1)))]), &north()).await.unwrap();
    put(&one, "lines", line("b", "pear", 1)).await;
    assert_eq!(to_one.sync().await.unwrap().waiting, 1);
    drop((one, to_one));
    let again = till("one");
    let to_again = branch(&again, &hub, north());
    for _ in 0..2 {
        // The second time it has looked through its own feed, which is longer than that of the lost one was.
        to_again.sync().await.unwrap();
    }
    let inbox = hub.inbox(&north()).await.unwrap();
    hub.decide(&inbox[0].id, Decision::Write(vec![Some(line("b", "pear", 2))]), &north()).await.unwrap();
    to_again.sync().await.unwrap();
    assert_eq!(row(&again, "lines", "b"), Some(line("b", "pear", 2)));
    assert_eq!(again.rows("lines"), master.rows("lines"));
}

/// Takes the first push and loses its answer, refuses those that follow as long as it is told to, and then takes all.
#[derive(Debug)]
struct Fickle {
    way: (Hub, Access),
    pushes: Arc<AtomicUsize>,
}

#[async_trait]
impl Master for Fickle {
    async fn push(&self, push: &Push) -> Result<Pushed> {
        match self.pushes.fetch_add(1, Ordering::SeqCst) {
            0 => {
                self.way.push(push).await?;
                Err(Error::unavailable("lost").ambiguous())
            }
            1 => Err(Error::new(ErrorKind::Forbidden, "the rows are another's for now").with("code", "not_yours")),
            _ => self.way.push(push).await,
        }
    }

    async fn pull(&self, pull: &Pull) -> Result<Page> {
        self.way.pull(pull).await
    }

    async fn look_up(&self, lookup: &Lookup) -> Result<Vec<Found>> {
        self.way.look_up(lookup).await
    }
}

#[tokio::test]
async fn an_edit_that_was_taken_and_is_refused_when_it_comes_again_is_not_added_twice() {
    let (master, hub, [(one, _), _]) = shop().await;
    let branch = Branch::new(one.clone(), Fickle { way: (hub, north()), pushes: Arc::default() }, clock());
    put(&one, "items", item("pear", "north", "pear", 7)).await;
    branch.sync().await.unwrap_err();
    assert!(branch.sync().await.unwrap().refused.is_some());
    for _ in 0..2 {
        assert_eq!(branch.sync().await.unwrap().refused, None);
    }
    let seven = Some(item("pear", "north", "pear", 7));
    assert_eq!([row(&master, "items", "pear"), row(&one, "items", "pear")], [seven.clone(), seven]);
}
