//! What a run leaves beside its database, and that it ends when it is told to.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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

/// Whoever holds the database: a run that is interrupted does not wait for him.
#[test]
#[cfg(unix)]
fn an_interrupted_run_ends_although_somebody_else_holds_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("shop.db");
    let quickstart = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quickstart"));
        command.arg("--db").arg(&database).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    assert!(quickstart().status().unwrap().success());
    let holder = rusqlite::Connection::open(&database).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut held = quickstart().spawn().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    assert!(held.try_wait().unwrap().is_none(), "it waits for the database");
    assert!(Command::new("kill").args(["-INT", &held.id().to_string()]).status().unwrap().success());
    // It would wait for a minute, the time that the state store is patient.
    let told = Instant::now();
    while held.try_wait().unwrap().is_none() {
        assert!(told.elapsed() < Duration::from_secs(40), "it does not end");
        std::thread::sleep(Duration::from_millis(100));
    }
}
