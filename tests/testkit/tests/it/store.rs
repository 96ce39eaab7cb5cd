//! The store suite.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use sync_core::memory::MemoryStore;
use sync_core::{Clock, Error};
use sync_testkit::store;

#[tokio::test]
async fn the_memory_store_keeps_the_whole_specification() {
    let report = store::conformance(async |_, clock| Ok::<_, Error>(MemoryStore::new(clock))).await;
    report.assert();
    assert_eq!(report.held(), store::names());
}

#[tokio::test]
async fn what_survives_a_restart_is_seen_to_survive() {
    let disks = Mutex::new(BTreeMap::<String, MemoryStore>::new());
    let open = |name: &str, clock| {
        disks.lock().unwrap().entry(name.to_owned()).or_insert_with(|| MemoryStore::new(clock)).clone()
    };
    store::durability(async |name, clock| Ok::<_, Error>(open(name, clock))).await.assert();
    let forgetful = async |_: &str, clock: Arc<dyn Clock>| Ok::<_, Error>(MemoryStore::new(clock));
    assert_eq!(store::durability(forgetful).await.broken(), ["state_survives_a_restart"]);
}
