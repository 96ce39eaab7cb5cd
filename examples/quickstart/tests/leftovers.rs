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

fn quickstart(database: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quickstart"));
    command.arg("--db").arg(database).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Starts one, and waits until it holds the database's lock and waits for the database, which somebody else holds.
#[cfg(unix)]
fn waiting(database: &std::path::Path) -> std::process::Child {
    let mut first = quickstart(database).spawn().unwrap();
    let said = std::io::BufReader::new(first.stderr.take().unwrap());
    let (line, lines) = std::sync::mpsc::channel();
    // It goes on reading: who prints to a pipe that nobody reads ends.
    std::thread::spawn(move || {
        std::io::BufRead::lines(said).map_while(Result::ok).for_each(|said| drop(line.send(said)))
    });
    let locked = |line: String| line.contains("waiting for the database: locked by another program");
    while !locked(lines.recv_timeout(Duration::from_secs(20)).expect("it waits in silence")) {}
    first
}

#[test]
#[cfg(unix)]
fn a_run_that_waits_for_a_locked_database_says_so_and_a_second_one_leaves_it_alone() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("shop.db");
    assert!(quickstart(&database).status().unwrap().success());
    let holder = rusqlite::Connection::open(&database).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut first = waiting(&database);

    let second = quickstart(&database).args(["--mutate", "3"]).output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success() && said.contains("another quickstart is at work on"), "{said}");
    assert!(!folder.path().join("shop.db.source.json").exists(), "it has changed nothing at the source");

    holder.execute_batch("ROLLBACK").unwrap();
    assert!(first.wait().unwrap().success(), "the first one is not disturbed");
}

#[test]
#[cfg(unix)]
fn after_a_kill_the_next_quickstart_goes_on_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("shop.db");
    assert!(quickstart(&database).status().unwrap().success());
    let holder = rusqlite::Connection::open(&database).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut first = waiting(&database);
    first.kill().unwrap();
    first.wait().unwrap();
    holder.execute_batch("ROLLBACK").unwrap();
    let begun = Instant::now();
    let second = quickstart(&database).output().unwrap();
    assert!(second.status.success(), "{}", String::from_utf8_lossy(&second.stderr));
    assert!(begun.elapsed() < Duration::from_secs(10), "it waited for the lease of the dead: {:?}", begun.elapsed());
}

/// A column that held texts and then a number, too.
#[test]
fn a_column_that_turns_mixed_between_runs_is_told_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("shop.db");
    let files = folder.path().join("files");
    std::fs::create_dir(&files).unwrap();
    let run = |text: &str| {
        std::fs::write(files.join("people.jsonl"), text).unwrap();
        let mut command = quickstart(&database);
        let run = command.arg("--data").arg(&files).stdout(Stdio::piped()).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap()
    };
    let first = run("{\"id\":1,\"code\":\"a\"}\n{\"id\":2,\"code\":\"b\"}\n");
    assert!(!first.contains("people.code"), "{first}");
    let second = run("{\"id\":1,\"code\":\"a\"}\n{\"id\":2,\"code\":7}\n");
    assert!(second.contains("people.code: the table was made for text") && second.contains("JSON"), "{second}");
}

#[test]
#[cfg(unix)]
fn a_supervisor_that_asks_it_to_end_is_obeyed_while_the_database_is_locked() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("shop.db");
    assert!(quickstart(&database).status().unwrap().success());
    let holder = rusqlite::Connection::open(&database).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut first = waiting(&database);
    assert!(Command::new("kill").args(["-TERM", &first.id().to_string()]).status().unwrap().success());
    let asked = Instant::now();
    let ended = loop {
        if let Some(ended) = first.try_wait().unwrap() {
            break ended;
        }
        assert!(asked.elapsed() < Duration::from_secs(20), "it goes on");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(ended.code().is_some_and(|code| code != 0), "it ends by itself, and says that it did not finish: {ended}");
    holder.execute_batch("ROLLBACK").unwrap();
    assert!(quickstart(&database).status().unwrap().success());
}
