//! The sink suite.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use sync_core::detect::Difference;
use sync_core::memory::MemorySink;
use sync_core::sink::{SinkCapabilities, Step, WriteReport, WriteUnit};
use sync_core::{Error, Sink};
use sync_testkit::sink;

#[tokio::test]
async fn the_memory_sink_keeps_the_whole_specification() {
    let report = sink::conformance(async |_| Ok::<_, Error>(MemorySink::new())).await;
    report.assert();
    assert_eq!(report.skipped(), [""; 0], "a sink that can do everything is asked everything");
}

#[tokio::test]
async fn a_sink_of_few_capabilities_is_asked_no_more_than_it_claims() {
    let few = async |_: &str| Ok::<_, Error>(MemorySink::with_capabilities(SinkCapabilities::idempotent()));
    let report = sink::conformance(few).await;
    report.assert();
    for skipped in ["a_rehearsal_leaves_no_trace", "staged_rows_are_invisible", "a_lower_token_cannot_claim"] {
        assert!(report.skipped().contains(&skipped), "{report}");
    }
    assert!(report.held().contains(&"a_mixed_write_is_counted_row_by_row"), "{report}");
}

#[tokio::test]
async fn a_sink_that_cannot_be_made_breaks_every_check() {
    let report = sink::conformance(async |_| Err::<MemorySink, _>("no such folder")).await;
    assert_eq!(report.broken(), sink::names());
}

#[tokio::test]
#[should_panic(expected = "has no check \"a_rehersal_leaves_no_trace\"; there are a_rehearsal_leaves_no_trace")]
async fn a_check_that_the_suite_does_not_have_is_answered_with_the_nearest_names() {
    let report = sink::conformance(async |_| Ok::<_, Error>(MemorySink::new())).await;
    report.assert_held(["a_rehersal_leaves_no_trace"]);
}

#[tokio::test]
async fn what_survives_a_restart_is_seen_to_survive() {
    let disks = Mutex::new(BTreeMap::<String, MemorySink>::new());
    let open = |name: &str| disks.lock().unwrap().entry(name.to_owned()).or_default().clone();
    sink::durability(async |name| Ok::<_, Error>(open(name))).await.assert();
    let forgetful = sink::durability(async |_| Ok::<_, Error>(MemorySink::new())).await;
    assert_eq!(forgetful.broken().len(), 4, "{forgetful}");
}

/// Compares as it likes, whatever a write says.
#[derive(Debug)]
struct Headstrong(MemorySink, Difference);

#[async_trait]
impl Sink for Headstrong {
    fn name(&self) -> &str {
        "headstrong"
    }

    async fn apply(&self, unit: &WriteUnit<'_>) -> sync_core::Result<WriteReport> {
        let mut steps = unit.steps.to_vec();
        for step in &mut steps {
            if let Step::Write(write) = step {
                write.difference = self.1;
            }
        }
        self.0.apply(&WriteUnit { steps: &steps, ..*unit }).await
    }
}

#[tokio::test]
async fn a_sink_that_compares_otherwise_than_it_is_told_is_caught() {
    for difference in [Difference::Content, Difference::Version] {
        let make = async |_: &str| Ok::<_, Error>(Headstrong(MemorySink::new(), difference));
        let report = sink::conformance(make).await;
        assert!(report.broken().contains(&"differences_agree_with_their_one_reading"), "{report}");
    }
}
