//! A hand that does something else than it was asked for is blamed, and the source is not.

use async_trait::async_trait;
use sync_core::memory::Feeding;
use sync_core::{Error, Key, Result};
use sync_testkit::Verdict;
use sync_testkit::source::{self, Act, Hand, with_hand};

use crate::source::{Clerk, shop};

/// What the hand does wrong.
#[derive(Debug, Clone, Copy)]
enum Lie {
    /// It names the first row it added, again and again.
    RepeatsAKey,
    /// It adds a row under a key that is there.
    AddsWhatIsThere,
    /// It adds ties above and below the wrong way round.
    SwapsSides,
    /// It gives a tie a version of its own.
    TiesNothing,
}

struct Clumsy {
    clerk: Clerk,
    lie: Lie,
    first: tokio::sync::Mutex<Option<(String, Key)>>,
}

#[async_trait]
impl Hand for Clumsy {
    async fn act(&self, act: Act) -> Result<Option<(String, Key)>> {
        match self.lie {
            Lie::RepeatsAKey => {
                let mut first = self.first.lock().await;
                if first.is_none() {
                    *first = self.clerk.act(act).await?;
                }
                Ok(first.clone())
            }
            Lie::AddsWhatIsThere if act == Act::Add => self.clerk.act(Act::Change).await,
            Lie::SwapsSides if act == Act::TieAbove => self.clerk.act(Act::TieBelow).await,
            Lie::SwapsSides if act == Act::TieBelow => self.clerk.act(Act::TieAbove).await,
            Lie::TiesNothing if act == Act::TieBelow => self.clerk.act(Act::Add).await,
            _ => self.clerk.act(act).await,
        }
    }
}

async fn said_of(lie: Lie, check: &str) -> String {
    let report = source::conformance(async |_| {
        let shop = shop().feeding(Feeding::Version);
        let clerk = Clerk::of(&shop);
        Ok::<_, Error>(with_hand(shop, Clumsy { clerk, lie, first: tokio::sync::Mutex::default() }))
    });
    let report = report.await;
    match report.checks().iter().find(|checked| checked.name == check).map(|checked| &checked.verdict) {
        Some(Verdict::Broken(how)) => how.clone(),
        other => panic!("{check}: {other:?}\n{report}"),
    }
}

#[tokio::test]
async fn a_hand_that_does_not_do_what_it_was_asked_for_is_blamed_instead_of_the_source() {
    for (lie, check, how) in [
        (Lie::RepeatsAKey, "an_added_row_comes_next", "named before"),
        (Lie::RepeatsAKey, "a_row_at_the_same_position_comes_too", "named before"),
        (Lie::RepeatsAKey, "a_row_below_the_cursor_at_its_position_comes_too", "named before"),
        (Lie::AddsWhatIsThere, "an_added_row_comes_next", "was there before"),
        (Lie::SwapsSides, "a_row_at_the_same_position_comes_too", "does not sort above"),
        (Lie::SwapsSides, "a_row_below_the_cursor_at_its_position_comes_too", "does not sort below"),
        (Lie::TiesNothing, "a_row_below_the_cursor_at_its_position_comes_too", "version of the highest row"),
    ] {
        let said = said_of(lie, check).await;
        assert!(said.starts_with("the hand is at fault, not the source"), "{lie:?}: {said}");
        assert!(said.contains(how), "{lie:?}: {said}");
    }
}
