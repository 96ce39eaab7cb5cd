//! What a run leaves beside its database.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::process::Command;

#[test]
fn a_clean_end_leaves_no_write_ahead_log_beside_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let run =
        Command::new(env!("CARGO_BIN_EXE_quickstart")).arg("--db").arg(folder.path().join("shop.db")).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let names = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let beside: Vec<String> = names.filter(|name| name.ends_with("-wal") || name.ends_with("-shm")).collect();
    assert!(beside.is_empty(), "{beside:?}");
}
