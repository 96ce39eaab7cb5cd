//! Both adapters keep the specification of their traits.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use custom_adapter::{Desk, JsonLines, Tickets};
use sync_core::{Error, Key, Result};
use sync_testkit::source::{Act, Hand, with_hand};
use sync_testkit::{sink, source};

#[tokio::test]
async fn the_sink_keeps_what_it_claims() {
    let folder = tempfile::tempdir().unwrap();
    let report = sink::conformance(async |name| JsonLines::open(folder.path().join(name))).await;
    report.assert_held(["guards_agree_with_their_one_reading", "a_rehearsal_leaves_no_trace"]);
}

#[tokio::test]
async fn what_the_sink_has_written_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    sink::durability(async |name| JsonLines::open(folder.path().join(name))).await.assert();
}

/// Works at the desk, so that the suite sees changes while it reads.
struct Clerk {
    desk: Desk,
    closed: AtomicI64,
}

#[async_trait]
impl Hand for Clerk {
    async fn act(&self, act: Act) -> Result<Option<(String, Key)>> {
        let close = |id| {
            self.desk.close(id);
            id
        };
        let id = match act {
            Act::Add => {
                self.desk.wait();
                self.desk.open("A new one")
            }
            Act::Change => {
                self.desk.wait();
                close(3)
            }
            // Both in the minute of the last change: a new ticket has the highest number, and an old one a lower number.
            Act::TieAbove => self.desk.open("Another one"),
            Act::TieBelow => close(self.closed.fetch_add(1, Ordering::Relaxed) + 1),
            // The desk forgets no ticket, and it has no transactions.
            _ => return Ok(None),
        };
        Ok(Some(("tickets".to_owned(), Key::new([id]))))
    }
}

#[tokio::test]
async fn the_source_keeps_what_it_claims() {
    let report = source::conformance(async |_| {
        let desk = Desk::default();
        for number in 1..=35 {
            desk.open(format!("Ticket {number}"));
            if number % 3 == 0 {
                desk.wait();
            }
        }
        Ok::<_, Error>(with_hand(Tickets::of(desk.clone()), Clerk { desk, closed: AtomicI64::new(0) }))
    });
    // What a follower of changes stands or falls by must not be left out.
    report.await.assert_held([
        "no_row_is_lost_behind_a_cursor",
        "an_added_row_comes_next",
        "a_changed_row_comes_next",
        "a_row_at_the_same_position_comes_too",
        "a_row_below_the_cursor_at_its_position_comes_too",
        "a_change_during_a_read_is_not_lost",
        "changes_of_one_row_come_in_order",
    ]);
}
