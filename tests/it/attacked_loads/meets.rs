//! Rows that stand in each other's way within one page, and between two.

use super::site::KINDS;
use super::*;

async fn synced(branch: &Branch, what: &str) {
    for _ in 0..3 {
        branch.sync().await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unique_value_of_a_row_that_is_deleted_goes_to_another_in_one_page() {
    for kind in KINDS {
        let (master, _hub, till, branch) = pair(kind).await;
        master.run("INSERT INTO people VALUES ('x', NULL, 'U', 'x', 0), ('w', NULL, 'V', 'w', 0)").await;
        synced(&branch, &format!("{kind:?}")).await;
        master.run("DELETE FROM people WHERE id = 'x'; UPDATE people SET badge = 'U' WHERE id = 'w'").await;
        synced(&branch, &format!("{kind:?}")).await;
        assert_same(&master, &till, &format!("{kind:?}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_written_before_the_one_it_hangs_on_makes_room_is_not_lost() {
    for kind in KINDS {
        let (master, _hub, till, branch) = pair(kind).await;
        master
            .run(
                "INSERT INTO people VALUES ('b', NULL, 'B', 'b', 0), ('a', NULL, 'A', 'a', 0), ('c', 'b', 'C', 'c', 0)",
            )
            .await;
        synced(&branch, &format!("{kind:?}")).await;
        // The one below b is written first, and then a and b swap badges.
        master
            .run(
                "UPDATE people SET name = 'new' WHERE id = 'c'; UPDATE people SET badge = NULL WHERE id = 'a';
                 UPDATE people SET badge = 'A' WHERE id = 'b'; UPDATE people SET badge = 'B' WHERE id = 'a'",
            )
            .await;
        synced(&branch, &format!("{kind:?}")).await;
        assert_same(&master, &till, &format!("{kind:?}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unique_value_that_was_lent_to_another_row_between_two_pages_stops_nobody() {
    for kind in KINDS {
        let (master, hub, till, branch) = pair(kind).await;
        let branch = branch.pull_rows(1);
        master.run("INSERT INTO people VALUES ('w', NULL, 'W', 'w', 0), ('x', NULL, 'X', 'x', 0)").await;
        synced(&branch, &format!("{kind:?}")).await;
        // At the master w had the value for a while; then our row got it, which was taken there.
        // Another branch reads between: two groups of the feed.
        let other = Site::new(super::site::Kind::Sqlite, "other").await;
        let other = other.branch((hub.clone(), Access::everything())).await;
        master.run("UPDATE people SET badge = 'U' WHERE id = 'w'").await;
        synced(&other, "the other").await;
        master.run("UPDATE people SET badge = 'W' WHERE id = 'w'").await;
        synced(&other, "the other").await;
        till.run("UPDATE people SET badge = 'U' WHERE id = 'x'").await;
        synced(&branch, &format!("{kind:?}")).await;
        assert_same(&master, &till, &format!("{kind:?}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_waits_for_a_unique_value_does_not_stop_the_branch_where_others_hang_on_its_row() {
    for kind in KINDS {
        for load in [false, true] {
            let what = format!("{kind:?}, load {load}");
            let (master, hub, till, branch) = pair(kind).await;
            master
                .run("INSERT INTO people VALUES ('x', NULL, 'X', 'x', 0); INSERT INTO things VALUES ('t', 'x', 'T', 0)")
                .await;
            synced(&branch, &what).await;
            till.run("UPDATE people SET badge = 'U' WHERE id = 'x'").await;
            master.run("INSERT INTO people VALUES ('w', NULL, 'U', 'w', 0)").await;
            if load {
                branch.start_over().await.unwrap();
            }
            let first = branch.sync().await;
            let inbox = hub.inbox(&Access::everything()).await.unwrap();
            assert_eq!(inbox.len(), 1, "{what}: {first:?}");
            if let Err(error) = &first {
                panic!("{what}: {error:?}");
            }
            hub.decide(&inbox[0].id, sync_core::two_way::Decision::KeepExisting, &Access::everything()).await.unwrap();
            synced(&branch, &what).await;
            assert_same(&master, &till, &what).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_took_the_value_of_an_edit_that_waits_is_not_lost_where_both_rows_come_in_one_page() {
    for kind in KINDS {
        for load in [false, true] {
            let what = format!("{kind:?}, load {load}");
            let (master, hub, till, branch) = pair(kind).await;
            master.run("INSERT INTO people VALUES ('b', NULL, 'B', 'b', 0), ('d', NULL, 'D', 'd', 0)").await;
            synced(&branch, &what).await;
            till.run("UPDATE people SET badge = 'U' WHERE id = 'd'").await;
            master.run("UPDATE people SET badge = 'U' WHERE id = 'b'").await;
            master.run("UPDATE people SET name = 'new' WHERE id = 'd'").await;
            if load {
                branch.start_over().await.unwrap();
            }
            synced(&branch, &what).await;
            let inbox = hub.inbox(&Access::everything()).await.unwrap();
            assert_eq!(inbox.len(), 1, "{what}");
            hub.decide(&inbox[0].id, sync_core::two_way::Decision::KeepExisting, &Access::everything()).await.unwrap();
            synced(&branch, &what).await;
            assert_same(&master, &till, &what).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn badges_that_move_in_a_ring_in_one_page_end_where_they_are_at_the_master() {
    for kind in KINDS {
        let (master, _hub, till, branch) = pair(kind).await;
        for n in 0..12 {
            let chief = if n % 3 == 0 { "NULL".to_owned() } else { format!("'p{:02}'", n - 1) };
            master.run(&format!("INSERT INTO people VALUES ('p{n:02}', {chief}, 'B{n}', 'p', 0); INSERT INTO things VALUES ('t{n:02}', 'p{n:02}', 'T{n}', 0)")).await;
        }
        synced(&branch, &format!("{kind:?}")).await;
        for step in [1, 5, 7] {
            let back: String = (0..12)
                .rev()
                .map(|n| format!("; UPDATE people SET badge = 'B{}', n = n + 1 WHERE id = 'p{n:02}'; UPDATE things SET tag = 'T{}' WHERE id = 't{n:02}'", (n + step) % 12, (n + step) % 12))
                .collect();
            master.run(&format!("UPDATE people SET badge = NULL; UPDATE things SET tag = NULL{back}")).await;
            synced(&branch, &format!("{kind:?}")).await;
            assert_same(&master, &till, &format!("{kind:?}, {step}")).await;
        }
    }
}
