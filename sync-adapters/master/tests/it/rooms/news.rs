//! What members hear.

use super::*;

#[tokio::test]
async fn a_room_hears_of_what_is_its_own_and_of_nothing_else() {
    let inn = Inn::open(quiet()).await;
    let [a1, a2, b1] = [("A", "1"), ("A", "2"), ("B", "1")].map(|(client, branch)| token(client, branch));
    let (mut of_a1, mut of_a2, mut of_b1) = (inn.guest(&a1).await, inn.guest(&a2).await, inn.guest(&b1).await);
    let before = inn.shop.master.entries().len() as u64;
    // An item is a branch's own, a note its client's.
    inn.shop.post(&a1, "/api/sync/batch-push", &new_item("till", 0, "new", "A", "1")).await.ok();
    assert_eq!(of_a1.news().await["at"]["up_to"], before + 1);
    let note = json!({"peer": "till", "previous": 1, "edits": [{"op": 2, "table": "notes", "hlc": "1.0",
        "after": {"id": "n", "client_id": "A", "text": "of both"}}]});
    inn.shop.post(&a1, "/api/sync/batch-push", &note).await.ok();
    assert_eq!(of_a1.news().await["at"]["up_to"], before + 2);
    assert_eq!(of_a2.news().await["at"]["up_to"], before + 2, "the item was not its own");
    inn.shop.post(&b1, "/api/sync/batch-push", &new_item("till", 0, "new-b", "B", "1")).await.ok();
    assert_eq!(of_b1.news().await["at"]["up_to"], before + 3, "nothing of A's before");
    // And what it is told of, it finds.
    let page = inn.shop.get(&b1, "/api/sync/pull-changes?peer=other&limit=1000").await.ok();
    let second = format!("/api/sync/pull-changes?peer=other&cursor={}", page["cursor"].as_str().unwrap());
    let page = inn.shop.get(&b1, &second).await.ok();
    assert_eq!(page["mark"]["up_to"], before + 3);
}

#[tokio::test]
async fn what_the_masters_own_host_writes_is_found_by_looking() {
    let mut settings = quiet();
    settings.look = Duration::from_millis(20);
    let inn = Inn::open(settings).await;
    let mut guest = inn.guest(&token("A", "1")).await;
    put(&inn.shop.master, "notes", note("n1", "B", "another's")).await;
    put(&inn.shop.master, "items", item("x", "A", "2", "another branch's", 1)).await;
    put(&inn.shop.master, "notes", note("n2", "A", "ours")).await;
    let told = guest.news().await;
    assert_eq!((&told["at"]["up_to"], &told["decided"]), (&json!(inn.shop.master.entries().len()), &json!(false)));
    // A row that leaves the room's scope is news as well: it is gone for it.
    put(&inn.shop.master, "notes", note("n2", "B", "given away")).await;
    assert_eq!(guest.news().await["at"]["up_to"], json!(inn.shop.master.entries().len()));
}

#[tokio::test]
async fn a_decision_is_told_although_it_leaves_no_trace_in_the_feed() {
    let mut settings = quiet();
    settings.queue = Duration::from_millis(50);
    let inn = Inn::open(settings).await;
    let b1 = token("B", "1");
    let mut guest = inn.guest(&b1).await;
    let mut other = inn.guest(&token("A", "1")).await;
    for (number, by_route) in [(0, true), (1, false)] {
        let peer = format!("desk-{number}");
        inn.shop.post(&b1, "/api/sync/batch-push", &contested_note(&peer, "nb", "B", "older")).await.ok();
        while guest.hear().await != json!({"type": "queue", "waiting": 1}) {}
        let before = inn.shop.master.entries().len();
        if by_route {
            let id = inn.shop.get(&b1, "/api/sync/stats").await.ok()["conflicts"][0]["id"].clone();
            let decision = json!({"id": id, "decision": "keep_existing"});
            inn.shop.post(&b1, "/api/sync/resolve-conflict", &decision).await.ok();
        } else {
            let waiting = inn.shop.hub.inbox(&Access::everything()).await.unwrap();
            inn.shop.hub.decide(&waiting[0].id, Decision::KeepExisting, &Access::everything()).await.unwrap();
        }
        assert_eq!(inn.shop.master.entries().len(), before, "no trace");
        assert_eq!(guest.news().await["decided"], true, "by route: {by_route}");
    }
    // All that the other tenant hears is that nothing of its own waits.
    for _ in 0..3 {
        assert_eq!(other.hear().await, json!({"type": "queue", "waiting": 0}));
    }
}

#[tokio::test]
async fn who_comes_back_is_told_whether_it_missed_something() {
    let inn = Inn::open(quiet()).await;
    let a1 = token("A", "1");
    let mut guest = inn.guest(&a1).await;
    inn.shop.post(&a1, "/api/sync/batch-push", &new_item("till", 0, "n1", "A", "1")).await.ok();
    let known = guest.news().await["at"].clone();
    drop(guest);
    inn.until_members(0).await;

    put(&inn.shop.master, "notes", note("n", "B", "another's")).await;
    let mut back = inn.guest(&a1).await;
    back.say(&json!({"type": "resume", "at": known}).to_string()).await;
    // What B wrote was not for it.
    back.hears_nothing().await;
    inn.shop.post(&a1, "/api/sync/batch-push", &new_item("till", 1, "n2", "A", "1")).await.ok();
    let told = back.news().await;
    let entries = inn.shop.master.entries().len();
    assert_eq!(told["at"]["up_to"], entries);
    drop(back);

    put(&inn.shop.master, "notes", note("n", "A", "ours now")).await;
    let mut missed = inn.guest(&a1).await;
    missed.say(&json!({"type": "resume", "at": told["at"]}).to_string()).await;
    assert_eq!(missed.news().await["at"]["up_to"], entries + 1);

    let mut restored = inn.guest(&a1).await;
    let elsewhere = json!({"feed": 77, "up_to": entries + 1});
    restored.say(&json!({"type": "resume", "at": elsewhere}).to_string()).await;
    assert_eq!(restored.news().await["at"]["up_to"], entries + 1, "another life of the feed");
}

#[tokio::test]
async fn when_the_feed_begins_another_life_everybody_is_told() {
    let inn = Inn::open(quiet()).await;
    let mut guests = [inn.guest(&token("A", "1")).await, inn.guest(&token("B", "1")).await];
    let mut tx = inn.shop.master.begin().await.unwrap();
    tx.begin_epoch(77, 1000).await.unwrap();
    tx.commit().await.unwrap();
    inn.rooms.stir();
    for guest in &mut guests {
        assert_eq!(guest.news().await["at"]["feed"], 77);
    }
}
