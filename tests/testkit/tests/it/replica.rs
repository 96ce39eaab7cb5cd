//! The replica suite.

use sync_core::Error;
use sync_core::memory::MemoryReplica;
use sync_testkit::replica::{self, Subject};

#[tokio::test]
async fn the_memory_replica_keeps_the_whole_specification() {
    let report = replica::conformance(async |_, tables, clock| {
        let shops =
            MemoryReplica::new("here", tables, clock).unique("shops", &["code"]).parent("tills", "shop", "shops");
        Ok::<_, Error>(Subject::new(shops.clone(), shops))
    });
    let report = report.await;
    report.assert_no_skips();
    assert_eq!(report.held(), replica::names());
}
