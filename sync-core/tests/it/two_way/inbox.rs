//! What waits in the inbox of a master: why, for whom, and what becomes of it.

use super::*;

#[tokio::test]
async fn a_group_that_clashes_waits_whole_and_a_person_decides() {
    let (master, hub, [(one, to_one), (two, to_two)]) = shop().await;
    put(&one, "lines", line("a", "pear", 1)).await;
    two.transaction(|host| {
        host.put("lines", line("b", "pear", 1))?;
        host.put("items", item("pear", "north", "pear", 9))
    })
    .await
    .unwrap();
    to_one.sync().await.unwrap();
    assert_eq!(to_two.sync().await.unwrap().waiting, 2);
    assert_eq!(row(&master, "items", "pear"), Some(item("pear", "north", "pear", 10)), "no half of it is applied");
    let inbox = hub.inbox(&north()).await.unwrap();
    assert!(matches!(inbox[0].reason, Reason::Clash(_)), "{inbox:?}");
    assert_eq!(hub.inbox(&Access::rows_with("shop", "south")).await.unwrap(), []);
    let rows = vec![Some(line("b", "pear", 2)), Some(item("pear", "north", "pear", 9))];
    hub.decide(&inbox[0].id, Decision::Write(rows), &north()).await.unwrap();
    let again = hub.decide(&inbox[0].id, Decision::KeepExisting, &north()).await.unwrap_err();
    assert_eq!(code(&again), "not_waiting");
    for branch in [&to_two, &to_one] {
        branch.sync().await.unwrap();
    }
    for replica in [&master, &one, &two] {
        assert_eq!(replica.rows("lines").len(), 2, "{replica:?}");
        assert_eq!(row(replica, "lines", "b"), Some(line("b", "pear", 2)));
        assert_eq!(row(replica, "items", "pear"), Some(item("pear", "north", "pear", 9)));
    }
}

#[tokio::test]
async fn a_child_waits_for_its_parent_and_passes_by_itself() {
    let (master, hub, _) = shop().await;
    let early = hub.push(&push(0, vec![edit("lines", 1, None, Some(line("a", "plum", 1)))]), &north()).await.unwrap();
    assert_eq!(early.results[0].became, Became::Waits);
    put(&master, "items", item("plum", "north", "plum", 1)).await;
    hub.push(&push(1, vec![edit("lines", 2, None, Some(line("c", "pear", 3)))]), &north()).await.unwrap();
    assert_eq!(row(&master, "lines", "a"), Some(line("a", "plum", 1)));
    assert_eq!(hub.inbox(&north()).await.unwrap(), []);
}

#[tokio::test]
async fn what_the_policy_leaves_to_a_person_waits_and_later_edits_wait_behind_it() {
    let (master, till) = noted().await;
    let hub = Hub::new(master.clone(), clock());
    let branch = branch(&till, &hub, Access::everything());
    branch.sync().await.unwrap();
    put(&till, "notes", note("mine")).await;
    put(&master, "notes", note("theirs")).await;
    branch.sync().await.unwrap();
    put(&till, "notes", note("mine, later")).await;
    branch.sync().await.unwrap();
    let inbox = hub.inbox(&Access::everything()).await.unwrap();
    assert_eq!(inbox.len(), 2);
    assert!(matches!(&inbox[1].reason, Reason::Behind(id) if *id == inbox[0].id), "{inbox:?}");
    hub.decide(&inbox[0].id, Decision::TakeIncoming, &Access::everything()).await.unwrap();
    for _ in 0..2 {
        branch.sync().await.unwrap();
    }
    assert_eq!(
        row(&master, "notes", "n"),
        Some(note("mine, later")),
        "what waited behind it had seen what was decided"
    );
    assert_eq!(till.rows("notes"), master.rows("notes"));
}

/// A master whose answers to pulls do not come.
#[derive(Debug)]
struct Silent(Hub);

#[async_trait::async_trait]
impl sync_core::two_way::Master for Silent {
    async fn push(&self, push: &Push) -> sync_core::Result<sync_core::two_way::Pushed> {
        self.0.push(push, &Access::everything()).await
    }

    async fn pull(&self, _: &sync_core::two_way::Pull) -> sync_core::Result<sync_core::two_way::Page> {
        Err(Error::unavailable("no answer"))
    }
}

/// The one note there is, with this text.
fn note(text: &str) -> Vec<Value> {
    vec!["n".into(), text.into()]
}

/// A master with a note, and a till; about notes a person decides.
async fn noted() -> (MemoryReplica, MemoryReplica) {
    let notes = || {
        Table::new(StreamSpec::new("notes").text("id").key(["id"]).text("text")).policy(Park::new("a person decides"))
    };
    let (master, till) = (replica("master", [notes()]), replica("till", [notes()]));
    put(&master, "notes", note("first")).await;
    (master, till)
}

/// The master takes a later edit as soon as the first is decided, and the line breaks before the branch hears of the decision.
#[tokio::test]
async fn an_edit_that_was_decided_about_does_not_come_back_over_a_later_one() {
    let (master, till) = noted().await;
    let hub = Hub::new(master.clone(), clock());
    let branch = branch(&till, &hub, Access::everything());
    branch.sync().await.unwrap();
    put(&till, "notes", note("mine")).await;
    put(&master, "notes", note("theirs")).await;
    branch.sync().await.unwrap();
    let inbox = hub.inbox(&Access::everything()).await.unwrap();
    hub.decide(&inbox[0].id, Decision::TakeIncoming, &Access::everything()).await.unwrap();
    put(&till, "notes", note("mine again")).await;
    Branch::new(till.clone(), Silent(hub.clone()), clock()).sync().await.unwrap_err();
    assert_eq!(till.rows("notes"), [(Key::new(["n"]), note("mine again"))]);
    branch.sync().await.unwrap();
    assert_eq!(till.rows("notes"), master.rows("notes"));
}

#[tokio::test]
async fn a_decision_is_not_forgotten_before_the_branch_has_heard_it() {
    let (master, till) = noted().await;
    let mut settings = HubSettings::default();
    settings.keep = std::time::Duration::ZERO;
    let hub = Hub::new(master.clone(), clock()).settings(settings);
    let branch = branch(&till, &hub, Access::everything());
    branch.sync().await.unwrap();
    put(&till, "notes", note("mine")).await;
    put(&master, "notes", note("theirs")).await;
    for _ in 0..2 {
        branch.sync().await.unwrap();
    }
    let inbox = hub.inbox(&Access::everything()).await.unwrap();
    hub.decide(&inbox[0].id, Decision::KeepExisting, &Access::everything()).await.unwrap();
    // The branch stays away for longer than answers are kept.
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    hub.clean_up().await.unwrap();
    branch.sync().await.unwrap();
    assert_eq!(till.rows("notes"), master.rows("notes"));
    assert_eq!(branch.queue().await.unwrap().waiting, 0);
}

#[tokio::test]
async fn an_edit_that_is_taken_before_the_branch_hears_of_an_earlier_decision_stays() {
    let (master, till) = noted().await;
    let hub = Hub::new(master.clone(), clock());
    let branch = branch(&till, &hub, Access::everything());
    branch.sync().await.unwrap();
    put(&till, "notes", note("mine")).await;
    put(&master, "notes", note("theirs")).await;
    branch.sync().await.unwrap();
    let inbox = hub.inbox(&Access::everything()).await.unwrap();
    hub.decide(&inbox[0].id, Decision::TakeIncoming, &Access::everything()).await.unwrap();
    // It is sent before the decision is asked for.
    put(&till, "notes", note("mine, later")).await;
    for _ in 0..2 {
        branch.sync().await.unwrap();
    }
    assert_eq!(row(&master, "notes", "n"), Some(note("mine, later")));
    assert_eq!(till.rows("notes"), master.rows("notes"));
}

#[tokio::test]
async fn what_waits_for_a_row_of_another_shop_tells_nothing_of_it() {
    let master = master();
    put(&master, "items", item("pear", "north", "pear", 10)).await;
    put(&master, "lines", line("a", "pear", 1)).await;
    let hub = Hub::new(master.clone(), clock());
    // North moves its own line to a number that is taken: it waits, and with it the row `b`.
    put(&master, "lines", line("b", "pear", 2)).await;
    let clash = edit("lines", 1, Some(line("b", "pear", 2)), Some(line("b", "pear", 1)));
    assert_eq!(hub.push(&push(0, vec![clash]), &north()).await.unwrap().results[0].became, Became::Waits);

    let foreign = Push {
        peer: Peer { name: "stranger".to_owned(), life: 0 },
        groups: vec![Group { previous: 0, edits: vec![edit("lines", 1, None, Some(south_line("b", "pear", 9)))] }],
        known_as: None,
        in_parts: false,
    };
    let refused = hub.push(&foreign, &Access::rows_with("shop", "south")).await.unwrap_err();
    assert_eq!(code(&refused), "not_yours");
}

#[tokio::test]
async fn what_waited_does_not_pass_over_a_row_that_another_shop_wrote_meanwhile() {
    let (master, hub) = {
        let master = master();
        (master.clone(), Hub::new(master, clock()))
    };
    let orphan = edit("lines", 1, None, Some(line("a", "pear", 1)));
    assert_eq!(hub.push(&push(0, vec![orphan]), &north()).await.unwrap().results[0].became, Became::Waits);
    put(&master, "items", item("plum", "south", "plum", 1)).await;
    put(&master, "lines", south_line("a", "plum", 7)).await;

    // The parent that it waited for comes, with a push of anybody.
    let parent = edit("items", 2, None, Some(item("pear", "north", "pear", 10)));
    hub.push(&push(1, vec![parent]), &north()).await.unwrap();
    assert_eq!(row(&master, "lines", "a"), Some(south_line("a", "plum", 7)));

    let waiting = hub.inbox(&Access::everything()).await.unwrap();
    let refused = hub.decide(&waiting[0].id, Decision::TakeIncoming, &north()).await.unwrap_err();
    assert_eq!(code(&refused), "not_yours");
    assert_eq!(row(&master, "lines", "a"), Some(south_line("a", "plum", 7)));
}

/// Whoever decides what waits may write what they might have pushed, and no more.
#[tokio::test]
async fn a_decision_writes_no_column_that_only_the_master_writes() {
    let (master, hub, _) = shop().await;
    let mut graded = item("plum", "north", "plum", 1);
    graded[4] = "best".into();
    let mut renamed = graded.clone();
    renamed[2] = "renamed".into();
    // Nobody gave it this grade: the row is not there, and the branch says what stood before.
    let group = vec![
        edit("items", 1, Some(graded.clone()), Some(renamed.clone())),
        edit("lines", 2, None, Some(line("a", "nowhere", 1))),
    ];
    assert_eq!(hub.push(&push(0, group), &north()).await.unwrap().results[0].became, Became::Waits);
    put(&master, "items", item("nowhere", "north", "there by now", 1)).await;
    let id = hub.inbox(&north()).await.unwrap().remove(0).id;
    let write = Decision::Write(vec![Some(renamed.clone()), Some(line("a", "nowhere", 1))]);
    for decision in [Decision::TakeIncoming, write.clone()] {
        let refused = hub.decide(&id, decision, &north()).await.unwrap_err();
        assert_eq!((code(&refused), refused.kind()), ("server_owned", ErrorKind::Forbidden));
        assert_eq!(row(&master, "items", "plum"), None);
    }
    hub.decide(&id, write, &Access::everything()).await.unwrap();
    assert_eq!(row(&master, "items", "plum"), Some(renamed), "whose the master is, may");
}

/// It waited behind another, so nobody looked at it; when somebody does, its sum fits no column. That is its own affair.
#[tokio::test]
async fn a_group_in_the_inbox_that_cannot_be_judged_fails_no_push_of_others() {
    let (master, hub, [(one, to_one), _]) = shop().await;
    let orphan = |op| edit("lines", op, None, Some(line("a", "nowhere", 1)));
    let pear = |stock| Some(item("pear", "north", "pear", stock));
    let sold = hub.push(&push(0, vec![edit("items", 1, pear(10), pear(8))]), &north()).await.unwrap();
    hub.push(&push(1, vec![orphan(2)]), &north()).await.unwrap();
    let most = Edit { base: sold.results[0].rev, ..edit("items", 3, pear(0), pear(i64::MAX)) };
    let behind = hub.push(&push(2, vec![most, orphan(4)]), &north()).await.unwrap();
    assert_eq!(behind.results[0].became, Became::Waits);
    let first = hub.inbox(&north()).await.unwrap().remove(0);
    hub.decide(&first.id, Decision::KeepExisting, &north()).await.unwrap();
    put(&one, "items", item("plum", "north", "plum", 1)).await;
    to_one.sync().await.unwrap();
    assert_eq!(row(&master, "items", "plum"), Some(item("plum", "north", "plum", 1)));
    assert_eq!(hub.inbox(&north()).await.unwrap().len(), 1, "it is still there for somebody to decide");
}

/// The master's clock is set back between two writes that wait: they pass in the order in which they came.
#[tokio::test]
async fn what_waits_passes_in_the_order_it_came_although_the_clock_went_back() {
    let (master, set_back) = (master(), Arc::new(SetBack::default()));
    let hub = Hub::new(master.clone(), Arc::<SetBack>::clone(&set_back));
    let numbered = |number| line("a", "plum", number);
    hub.push(&push(0, vec![edit("lines", 1, None, Some(numbered(1)))]), &north()).await.unwrap();
    set_back.0.store(true, std::sync::atomic::Ordering::Relaxed);
    hub.push(&push(1, vec![edit("lines", 2, Some(numbered(1)), Some(numbered(2)))]), &north()).await.unwrap();
    put(&master, "items", item("plum", "north", "plum", 1)).await;
    for op in [3, 4] {
        let other = edit("items", op, None, Some(item(&format!("other {op}"), "north", "pear", 1)));
        hub.push(&push(op - 1, vec![other]), &north()).await.unwrap();
    }
    assert_eq!(row(&master, "lines", "a"), Some(numbered(2)));
    assert_eq!(hub.inbox(&north()).await.unwrap(), []);
}

/// One shop's writes wait by the hundred; another's push costs what it did before, and what waits passes all the same.
#[tokio::test]
async fn an_inbox_that_one_shop_fills_costs_another_nothing() {
    let writes = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let master = Counted(master(), Arc::clone(&writes));
    let (hub, south) = (Hub::new(master.clone(), clock()), Access::rows_with("shop", "south"));
    let orphan = |op: u64| {
        let group = vec![edit("lines", op, None, Some(south_line(&format!("l{op}"), "nowhere", op as i64)))];
        Group { previous: op - 1, edits: group }
    };
    let flood = Push {
        peer: Peer { name: "south".to_owned(), life: 0 },
        groups: (1..=300).map(orphan).collect(),
        known_as: None,
        in_parts: false,
    };
    hub.push(&flood, &south).await.unwrap();
    assert_eq!(hub.inbox(&south).await.unwrap().len(), 300);
    writes.store(0, std::sync::atomic::Ordering::Relaxed);
    hub.push(&push(0, vec![edit("items", 1, None, Some(item("pear", "north", "pear", 1)))]), &north()).await.unwrap();
    assert!(writes.load(std::sync::atomic::Ordering::Relaxed) < 20, "{writes:?} transactions for one edit");
    put(&master.0, "items", item("nowhere", "south", "there by now", 1)).await;
    for op in 1..=20 {
        let edits = vec![edit("items", op, None, Some(item(&format!("p{op}"), "south", "pear", 1)))];
        let peer = Peer { name: "another".to_owned(), life: 0 };
        hub.push(
            &Push { peer, groups: vec![Group { previous: op - 1, edits }], known_as: None, in_parts: false },
            &south,
        )
        .await
        .unwrap();
    }
    assert_eq!(hub.inbox(&south).await.unwrap(), []);
}

/// A group waits, and the next version of the host declares one more column, in front of the one that says whose a row is.
#[tokio::test]
async fn a_group_from_before_a_column_was_declared_waits_on_and_fails_no_push() {
    let master = master();
    let orphan = edit("lines", 1, None, Some(line("a", "nowhere", 1)));
    Hub::new(master.clone(), clock()).push(&push(0, vec![orphan]), &north()).await.unwrap();
    let wider = StreamSpec::new("lines").text("id").key(["id"]).text("item").text("note").int("more").int("number");
    let later = replica("master", [items(), Table::new(wider.text("shop")).scoped_by(["shop"])]);
    later.restore(&master.backup()).await;
    let hub = Hub::new(later.clone(), clock());
    hub.push(&push(1, vec![edit("items", 2, None, Some(item("pear", "north", "pear", 1)))]), &north()).await.unwrap();
    assert_eq!(row(&later, "items", "pear"), Some(item("pear", "north", "pear", 1)));
    let waiting = hub.inbox(&Access::everything()).await.unwrap();
    assert_eq!(
        (waiting.len(), hub.inbox(&north()).await.unwrap()),
        (1, Vec::new()),
        "nobody can tell any more whose it is"
    );
    hub.decide(&waiting[0].id, Decision::KeepExisting, &Access::everything()).await.unwrap();
    assert_eq!(hub.inbox(&Access::everything()).await.unwrap(), []);
}

#[tokio::test]
async fn a_counter_that_does_not_hold_what_two_tills_add_waits_and_stops_neither() {
    let (master, hub, [(one, to_one), (two, to_two)]) = shop().await;
    let most = i64::MAX - 100;
    put(&master, "items", item("pear", "north", "pear", most)).await;
    for branch in [&to_one, &to_two] {
        branch.sync().await.unwrap();
    }
    put(&one, "items", item("pear", "north", "pear", most + 60)).await;
    put(&two, "items", item("pear", "north", "pear", most + 70)).await;
    to_one.sync().await.unwrap();
    assert_eq!(to_two.sync().await.unwrap().waiting, 1);
    put(&master, "items", item("plum", "north", "plum", 1)).await;
    to_two.sync().await.unwrap();
    assert_eq!(row(&two, "items", "plum"), Some(item("plum", "north", "plum", 1)));
    let waiting = hub.inbox(&north()).await.unwrap();
    hub.decide(&waiting[0].id, Decision::KeepExisting, &north()).await.unwrap();
    to_two.sync().await.unwrap();
    assert_eq!(row(&two, "items", "pear"), Some(item("pear", "north", "pear", most + 60)));
    assert_eq!(two.rows("items"), master.rows("items"));
}
