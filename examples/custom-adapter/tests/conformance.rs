//! Both adapters keep the specification of their traits.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use async_trait::async_trait;
use custom_adapter::{Desk, JsonLines, Tickets};
use sync_core::{Error, Key, Result};
use sync_testkit::source::{Act, Hand, with_hand};
use sync_testkit::{sink, source};

#[tokio::test]
async fn the_sink_keeps_what_it_claims() {
    let folder = tempfile::tempdir().unwrap();
    let report = sink::conformance(async |name| JsonLines::open(folder.path().join(name))).await;
    report.assert();
    assert!(report.held().contains(&"guards_agree_with_their_one_reading"), "{report}");
}

#[tokio::test]
async fn what_the_sink_has_written_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    sink::durability(async |name| JsonLines::open(folder.path().join(name))).await.assert();
}

/// Works at the desk, so that the suite sees changes while it reads.
struct Clerk(Desk);

#[async_trait]
impl Hand for Clerk {
    async fn act(&self, act: Act) -> Result<Option<(String, Key)>> {
        let id = match act {
            Act::Add => self.0.open("A new one"),
            Act::Change => {
                self.0.close(3);
                3
            }
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
        }
        Ok::<_, Error>(with_hand(Tickets::of(desk.clone()), Clerk(desk)))
    });
    let report = report.await;
    report.assert();
    assert!(report.held().contains(&"a_change_during_a_read_is_not_lost"), "{report}");
}
