//! A name under which one life alone writes: what those before it still have on their way is refused. And what those who keep no
//! books find when they look.

use super::*;

fn one(name: &str, life: u64) -> Peer {
    Peer { name: name.to_owned(), life }
}

fn begins(peer: Peer) -> Pull {
    Pull { peer, from: None, answered: 0, waiting: Vec::new(), limit: 0, alone: true }
}

/// One more is sold, in the groups that follow those before.
fn sold(peer: Peer, groups: std::ops::Range<u64>) -> Push {
    let edit = |op| edit("items", op, Some(item("pear", "north", "pear", 10)), Some(item("pear", "north", "pear", 9)));
    let groups = groups.map(|previous| Group { previous, edits: vec![edit(previous + 1)] });
    Push { peer, groups: groups.collect(), known_as: None, in_parts: false }
}

async fn refused(hub: &Hub, push: &Push) -> String {
    hub.push(push, &north()).await.map_or_else(|error| code(&error).to_owned(), |pushed| format!("{pushed:?}"))
}

#[tokio::test]
async fn the_lives_before_write_no_more_once_a_life_writes_alone() {
    let (master, hub, _) = shop().await;
    hub.pull(&begins(one("feed", 1)), &north()).await.unwrap();
    hub.push(&sold(one("feed", 1), 0..1), &north()).await.unwrap();
    hub.pull(&begins(one("feed", 2)), &north()).await.unwrap();
    for late in [1..2, 1..3] {
        assert_eq!(refused(&hub, &sold(one("feed", 1), late)).await, "ended");
    }
    // A question that comes again by itself takes nothing back.
    assert_eq!(code(&hub.pull(&begins(one("feed", 1)), &north()).await.unwrap_err()), "ended");
    hub.push(&sold(one("feed", 2), 0..2), &north()).await.unwrap();
    assert_eq!(row(&master, "items", "pear"), Some(item("pear", "north", "pear", 7)));
}

#[tokio::test]
async fn nothing_of_a_life_that_ended_begins_to_wait() {
    let (_, hub, _) = shop().await;
    hub.pull(&begins(one("feed", 1)), &north()).await.unwrap();
    hub.pull(&begins(one("feed", 2)), &north()).await.unwrap();
    let orphan = edit("lines", 1, None, Some(line("a", "no such item", 1)));
    let push = Push { peer: one("feed", 1), ..push(0, vec![orphan]) };
    assert_eq!(refused(&hub, &push).await, "ended");
    assert_eq!(hub.inbox(&Access::everything()).await.unwrap(), []);
}

#[tokio::test]
async fn what_was_taken_before_a_life_ended_gets_its_answer_again() {
    let (_, hub, _) = shop().await;
    hub.pull(&begins(one("feed", 1)), &north()).await.unwrap();
    let push = sold(one("feed", 1), 0..1);
    let first = hub.push(&push, &north()).await.unwrap();
    hub.pull(&begins(one("feed", 2)), &north()).await.unwrap();
    assert_eq!(hub.push(&push, &north()).await.unwrap(), first);
}

#[tokio::test]
async fn other_names_and_lives_that_write_beside_each_other_are_left_alone() {
    let (master, hub, _) = shop().await;
    let all = [one("feed#7", 3), one("fee", 3), one("feeder", 3), one("feed", 3)];
    for peer in &all[..3] {
        hub.pull(&begins(peer.clone()), &north()).await.unwrap();
    }
    // It never said that it writes alone.
    hub.push(&sold(all[3].clone(), 0..1), &north()).await.unwrap();
    hub.push(&sold(one("feed", 4), 0..1), &north()).await.unwrap();
    hub.pull(&begins(one("feed", 5)), &north()).await.unwrap();
    for peer in &all[..3] {
        hub.push(&sold(peer.clone(), 0..1), &north()).await.unwrap();
    }
    assert_eq!(row(&master, "items", "pear"), Some(item("pear", "north", "pear", 5)));
    hub.push(&sold(all[3].clone(), 1..2), &north()).await.unwrap();
    assert_eq!(row(&master, "items", "pear"), Some(item("pear", "north", "pear", 4)));
}

/// A replica at which something happens before it is looked at for the so manieth time.
#[derive(Debug)]
struct Between {
    replica: MemoryReplica,
    looks: std::sync::atomic::AtomicUsize,
    /// At which look, and what is decided then.
    at: usize,
    hub: Hub,
}

#[async_trait::async_trait]
impl Replica for Between {
    fn name(&self) -> &sync_core::model::Origin {
        self.replica.name()
    }

    fn tables(&self) -> &Tables {
        self.replica.tables()
    }

    async fn begin(&self) -> sync_core::Result<Box<dyn Transaction>> {
        self.replica.begin().await
    }

    async fn look(&self) -> sync_core::Result<Box<dyn Transaction>> {
        if self.looks.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == self.at {
            for waiting in self.hub.inbox(&Access::everything()).await? {
                self.hub.decide(&waiting.id, Decision::TakeIncoming, &Access::everything()).await?;
            }
        }
        self.replica.look().await
    }

    async fn sequence(&self) -> sync_core::Result<Head> {
        self.replica.sequence().await
    }
}

#[tokio::test]
async fn what_waited_and_is_taken_while_it_is_looked_up_is_seen_once() {
    for at in 0..3 {
        let (master, hub, _) = shop().await;
        put(&master, "items", item("plum", "north", "plum", 10)).await;
        // It waits for its line, whose item is not there.
        let edits = vec![
            edit("items", 1, Some(item("plum", "north", "plum", 10)), Some(item("plum", "north", "plum", 15))),
            edit("lines", 2, None, Some(line("a", "no such item", 1))),
        ];
        hub.push(&Push { peer: one("feed", 1), ..push(0, edits) }, &north()).await.unwrap();
        assert_eq!(hub.inbox(&Access::everything()).await.unwrap().len(), 1);
        put(&master, "items", item("no such item", "north", "x", 1)).await;
        let between = Between { replica: master.clone(), looks: Default::default(), at, hub: hub.clone() };
        let lookup = sync_core::two_way::Lookup {
            peer: Some("feed".to_owned()),
            table: "items".to_owned(),
            keys: vec![Key::new(["plum"])],
        };
        let found = Hub::new(between, clock()).look_up(&lookup, &north()).await.unwrap();
        assert_eq!(found[0].row, Some(item("plum", "north", "plum", 15)), "before look {at}: {found:?}");
    }
}
