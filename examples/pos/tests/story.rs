//! The program tells its story to the end, and what it says there is true.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn pos(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pos"));
    command.args(["--port", "0", "--ws-port", "0"]).args(arguments).env_remove("APP_ENV");
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_story_ends_well_within_a_minute() {
    let began = Instant::now();
    let output = pos(&["--tills", "3", "--sales", "6"]).output().unwrap();
    let said = said(&output);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    let mut lines = said.lines();
    for start in [
        "SQLite connection established successfully",
        "All routes registered successfully: 30 tables",
        "WebSocket Sync Server initialized",
        "Server is running on http://localhost:",
        "WebSocket ready on ws://localhost:",
        "Environment: development",
    ] {
        let line = lines.next().unwrap();
        assert!(line.starts_with(start), "{line}");
    }
    assert!(said.contains("the price is 610 cents at the master, and at every till."), "{said}");
    // product, initial, sold, expected, master, and three tills
    let rows: Vec<Vec<&str>> = said
        .lines()
        .skip_while(|line| !line.starts_with("product "))
        .skip(1)
        .take(6)
        .map(|line| line.split_whitespace().collect())
        .collect();
    let mut sold = 0;
    for row in &rows {
        let numbers: Vec<i64> = row[1..].iter().map(|number| number.parse().unwrap()).collect();
        assert_eq!(numbers.len(), 7, "{row:?}");
        sold += numbers[1];
        assert_eq!(numbers[3..], [numbers[0] - numbers[1]; 4], "{row:?}");
    }
    assert!(sold >= 3 * 6 * 2, "each sale has two products: {sold}");
}

#[test]
fn the_databases_stay_in_a_folder_and_are_served_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    assert!(pos(&["--folder", path, "--sales", "1"]).output().unwrap().status.success());
    assert!(Path::new(path).join("till-3.db").exists());
    let again = pos(&["--folder", path]).output().unwrap();
    let error = String::from_utf8(again.stderr).unwrap();
    assert!(!again.status.success() && error.contains("--serve"), "{error}");

    let mut serving = pos(&["--folder", path, "--serve"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(serving.stdout.take().unwrap()).lines().map(Result::unwrap);
    let curl = lines.find(|line| line.trim_start().starts_with("curl")).unwrap();
    let token = curl.split("Bearer ").nth(1).unwrap().split('\'').next().unwrap().to_owned();
    let address = curl.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let mut way = TcpStream::connect(&address).unwrap();
    let request = format!(
        "GET /api/sync/pull-changes?peer=curl HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
    );
    way.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    way.read_to_string(&mut answer).unwrap();
    serving.kill().unwrap();
    serving.wait().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"coffee\""), "{answer}");
}

#[test]
fn a_port_that_is_taken_is_named_with_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_pos")).args(["--port", &port, "--ws-port", "0"]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains(&port) && error.contains("--port 0"), "{error}");
}
