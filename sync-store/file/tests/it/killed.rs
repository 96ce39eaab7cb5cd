//! A process that is killed while it writes leaves a whole file, and the next one goes on.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use sync_core::SystemClock;
use sync_store_file::{StatusFile, SyncStatus};

const FOLDER: &str = "SYNC_STATUS_TEST_FOLDER";

#[test]
fn a_writer_killed_at_any_moment_leaves_a_whole_file_that_never_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sync_status.json");
    let mut counted = 0;
    for round in 0..40 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::writes_until_it_is_killed", "--ignored"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(30 + 3 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let Some(status) = SyncStatus::read(&path).unwrap() else { continue };
        assert!(status.retry_count >= counted, "{} after {counted}", status.retry_count);
        counted = status.retry_count;
    }
    assert!(counted > 40, "only {counted} writes: nothing was under way when the writers were killed");
    assert!(!folder.path().join("sync_status.json.broken").exists());
    StatusFile::open(folder.path(), Arc::new(SystemClock::new())).unwrap();
    assert!(!folder.path().join(".sync_status.json.tmp").exists());
}

#[test]
#[ignore = "the process that the test above kills"]
fn writes_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let file = StatusFile::open(folder, Arc::new(SystemClock::new())).unwrap();
    for run in 0_u64.. {
        super::runs::fail_once(&file, &format!("pipeline {}", run % 100));
        file.flush().unwrap();
    }
}
