//! A branch whose database is gone: it begins anew, and nothing at the master is lost or doubled by it.

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
