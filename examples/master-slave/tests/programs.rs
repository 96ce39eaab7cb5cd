//! A master and two slaves, as programs: what one writes the others have, whatever was switched off meanwhile.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value as Json, json};

struct Place(tempfile::TempDir);

/// A master that serves, until it is dropped.
struct Serving {
    process: Child,
    url: String,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn master(&self, arguments: &[&str]) -> String {
        let output = program(env!("CARGO_BIN_EXE_master"), &self.path("master"), arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn serve(&self) -> Serving {
        let mut command = program(env!("CARGO_BIN_EXE_master"), &self.path("master"), &["serve", "--port", "0"]);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let line = BufReader::new(process.stdout.take().unwrap()).lines().next().unwrap().unwrap();
        let url = line.strip_prefix("Master is running on ").unwrap().to_owned();
        Serving { process, url }
    }

    fn slave(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = program(env!("CARGO_BIN_EXE_slave"), &self.path(name), arguments);
        command.args(["--name", name]);
        command
    }

    fn run(&self, name: &str, url: &str, arguments: &[&str]) -> Output {
        let token = self.master(&["token", name]);
        let mut command = self.slave(name, &["run"]);
        command.args(arguments).env("MASTER_URL", url).env("SYNC_TOKEN", token.trim()).output().unwrap()
    }

    fn status(&self, name: &str) -> Json {
        serde_json::from_slice(&std::fs::read(self.path(name).join("sync_status.json")).unwrap()).unwrap()
    }
}

fn program(binary: &str, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary);
    command.args(arguments).arg("--folder").arg(folder);
    for name in
        ["MASTER_URL", "SYNC_TOKEN", "SYNC_ENABLED", "SYNC_INTERVAL", "SLAVE_NAME", "SLAVE_FOLDER", "MASTER_FOLDER"]
    {
        command.env_remove(name);
    }
    command
}

fn said(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_two_slaves_take_from_one_stock_is_taken_twice_and_all_end_equal() {
    let place = Place::new();
    place.master(&["receive", "nails", "100"]);
    let serving = place.serve();
    for slave in ["north", "south"] {
        assert!(said(place.run(slave, &serving.url, &[])).contains("received 1"));
    }
    // Nobody is reached meanwhile.
    let url = serving.url.clone();
    drop(serving);
    assert_eq!(said(place.slave("north", &["sell", "nails", "30"]).output().unwrap()), "nails: 30 sold, 70 left\n");
    said(place.slave("south", &["sell", "nails", "20"]).output().unwrap());
    said(place.slave("south", &["adjust", "nails", "-5", "bent"]).output().unwrap());
    for failures in 1..=2 {
        let failed = place.run("south", &url, &["--force"]);
        let error = String::from_utf8(failed.stderr).unwrap();
        assert!(!failed.status.success() && error.contains(&url), "{error}");
        let status = place.status("south");
        assert_eq!((&status["status"], &status["retry_count"]), (&json!("failed"), &json!(failures)));
        assert_eq!(status["pending_records"], 4, "two stocks, a transaction, an adjustment");
        assert!(status["last_error"].as_str().unwrap().starts_with("unavailable"), "{status}");
    }
    let serving = place.serve();
    // A failed run is due at once; one that succeeded is not.
    assert!(said(place.run("north", &serving.url, &[])).contains("not due"));
    assert!(said(place.run("south", &serving.url, &[])).contains("sent 4"));
    for slave in ["north", "south", "north"] {
        said(place.run(slave, &serving.url, &["--force"]));
    }
    let shown = place.master(&["show"]);
    assert!(shown.contains("45\n2 transactions\n1 inventory_adjustments"), "{shown}");
    for slave in ["north", "south"] {
        assert_eq!(said(place.slave(slave, &["show"]).output().unwrap()), shown, "{slave}");
        let status = place.status(slave);
        assert_eq!(
            (&status["status"], &status["pending_records"], &status["retry_count"]),
            (&json!("success"), &json!(0), &json!(0))
        );
        assert!(status["last_synced_at"].is_string() && status["last_error"].is_null(), "{status}");
    }
}

#[test]
fn what_waits_for_a_person_is_shown_and_decided_at_the_master() {
    let place = Place::new();
    place.master(&["receive", "nails", "9223372036854775000"]);
    let serving = place.serve();
    for slave in ["north", "south"] {
        said(place.run(slave, &serving.url, &[]));
    }
    for slave in ["north", "south"] {
        said(place.slave(slave, &["adjust", "nails", "700", "found"]).output().unwrap());
    }
    said(place.run("north", &serving.url, &["--force"]));
    let met = said(place.run("south", &serving.url, &["--force"]));
    assert!(met.contains("waiting at the master until a person decides (`master inbox`): 2"), "{met}");
    let status = said(place.slave("south", &["status"]).output().unwrap());
    assert!(status.contains("of these at the master until a person decides (`master inbox`): 2"), "{status}");
    let inbox = place.master(&["inbox"]);
    let why =
        "of south: a person decides: counter \"quantity\": the sum does not fit the column\n  inventories nails: ";
    assert!(inbox.contains(why), "{inbox}");
    let id = inbox.split_whitespace().next().unwrap();
    place.master(&["decide", id, "keep"]);
    assert_eq!(place.master(&["inbox"]), "nothing waits\n");
    said(place.run("south", &serving.url, &["--force"]));
    let shown = place.master(&["show"]);
    assert!(shown.contains("9223372036854775700"), "{shown}");
    assert_eq!(said(place.slave("south", &["show"]).output().unwrap()), shown);
    let status = said(place.slave("south", &["status"]).output().unwrap());
    assert!(status.contains("now pending    0") && !status.contains("inbox"), "{status}");
}

#[test]
fn a_dry_run_says_what_would_be_sent_and_changes_nothing() {
    let place = Place::new();
    place.master(&["receive", "nails", "100"]);
    let serving = place.serve();
    said(place.run("north", &serving.url, &[]));
    said(place.slave("north", &["sell", "nails", "30"]).output().unwrap());
    let (status, shown) = (place.status("north"), place.master(&["show"]));
    let would =
        said(place.slave("north", &["run", "--dry-run", "--master-url", "http://localhost:1"]).output().unwrap());
    assert_eq!(would, "a run would send 2\n  inventories: 1\n  transactions: 1\n");
    assert_eq!((place.status("north"), place.master(&["show"])), (status, shown));
}

#[test]
fn it_is_switched_off_reset_and_told_where_the_master_is() {
    let place = Place::new();
    place.master(&["receive", "nails", "100"]);
    let serving = place.serve();
    let status = || said(place.slave("north", &["status"]).output().unwrap());
    assert!(status().contains("never run"));
    let off = place.slave("north", &["run"]).env("SYNC_ENABLED", "false").output().unwrap();
    assert!(said(off).contains("switched off") && status().contains("never run"));
    for variable in ["SYNC_ENABLED", "SYNC_INTERVAL"] {
        let odd = place.slave("north", &["run"]).env(variable, "nope").output().unwrap();
        assert!(!odd.status.success() && String::from_utf8(odd.stderr).unwrap().contains(&format!("set {variable}")));
    }
    // What is said on the command line is stronger than the environment.
    let elsewhere = place.run("north", "http://localhost:1", &["--master-url", &serving.url]);
    assert!(said(elsewhere).contains("received 1"));
    assert!(status().contains("success"));
    said(place.slave("north", &["sell", "nails", "1"]).output().unwrap());
    said(place.slave("north", &["reset"]).output().unwrap());
    assert_eq!(place.status("north")["status"], "idle");
    assert!(status().contains("never"), "{}", status());
    // Not due is forgotten, and what was not sent is sent.
    assert!(said(place.run("north", &serving.url, &[])).contains("sent 2"));
    assert!(place.master(&["show"]).contains("99"));
    // A stranger's token is refused, and the reason is where people look.
    let stranger =
        place.slave("north", &["run", "--force", "--token", "x"]).env("MASTER_URL", &serving.url).output().unwrap();
    assert!(!stranger.status.success());
    assert!(place.status("north")["last_error"].as_str().unwrap().starts_with("unauthorized"));
    assert!(String::from_utf8(stranger.stderr).unwrap().contains("SYNC_TOKEN"));
}

#[test]
fn a_slave_whose_database_is_lost_says_so_and_loads_anew_without_doubling_anything() {
    let place = Place::new();
    place.master(&["receive", "nails", "100"]);
    let serving = place.serve();
    said(place.run("north", &serving.url, &[]));
    said(place.slave("north", &["sell", "nails", "30"]).output().unwrap());
    said(place.run("north", &serving.url, &["--force"]));
    let shown = place.master(&["show"]);
    // What is not sent is lost with the database, and with nothing else.
    said(place.slave("north", &["sell", "nails", "1"]).output().unwrap());
    for file in ["slave.db", "slave.db-wal", "slave.db-shm"] {
        let _ = std::fs::remove_file(place.path("north").join(file));
    }
    let lost = "slave.db is new, although one was in step at";
    assert!(said(place.slave("north", &["status"]).output().unwrap()).contains(lost));
    // Due at once, whatever the status file says of the one before it.
    let again = said(place.run("north", &serving.url, &[]));
    assert!(again.contains(lost) && again.contains("sent 0, received 2"), "{again}");
    assert_eq!(said(place.slave("north", &["show"]).output().unwrap()), shown);
    assert_eq!(place.master(&["show"]), shown);
    assert!(said(place.run("north", &serving.url, &[])).contains("not due"), "that is said once");
    for _ in 0..3 {
        said(place.slave("north", &["sell", "nails", "10"]).output().unwrap());
    }
    let sent = said(place.run("north", &serving.url, &["--force"]));
    assert!(sent.contains("sent 6") && !sent.contains(lost), "{sent}");
    let shown = place.master(&["show"]);
    assert!(shown.contains("40\n4 transactions"), "{shown}");
    assert_eq!(said(place.slave("north", &["show"]).output().unwrap()), shown);
}

#[test]
fn nobody_sells_or_receives_less_than_one() {
    let place = Place::new();
    place.master(&["receive", "nails", "100"]);
    let serving = place.serve();
    said(place.run("north", &serving.url, &[]));
    for quantity in ["-5", "0"] {
        let refused = place.slave("north", &["sell", "nails", quantity]).output().unwrap();
        let error = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && error.contains("not in 1.."), "{error}");
        let refused = program(env!("CARGO_BIN_EXE_master"), &place.path("master"), &["receive", "nails", quantity]);
        assert!(!{ refused }.output().unwrap().status.success());
    }
    assert_eq!(said(place.slave("north", &["show"]).output().unwrap()), place.master(&["show"]));
}

#[test]
fn a_run_says_what_met_a_change_of_others() {
    let place = Place::new();
    place.master(&["receive", "nails", "100"]);
    let serving = place.serve();
    let plain = said(place.run("north", &serving.url, &[]));
    assert_eq!(plain, "sync: sent 0, received 1\n");
    said(place.slave("north", &["sell", "nails", "30"]).output().unwrap());
    place.master(&["receive", "nails", "5"]);
    let met = said(place.run("north", &serving.url, &["--force"]));
    assert!(met.contains("1 of what was sent met a row that others had changed meanwhile"), "{met}");
}

#[test]
fn a_slave_of_old_is_served_over_its_own_routes() {
    let place = Place::new();
    place.master(&["receive", "nails", "100"]);
    let serving = place.serve();
    let token = place.master(&["token", "old"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let download = runtime.block_on(async {
        let client = reqwest::Client::new();
        let record = json!({"records": [{"table": "inventory_adjustments", "action": "create", "id": "a1",
            "data": {"item": "nails", "difference": -1, "reason": "lost"}}]});
        let upload = client.post(format!("{}/api/sync/upload", serving.url)).bearer_auth(token.trim());
        let upload = upload.header("content-type", "application/json").body(record.to_string()).send().await.unwrap();
        assert_eq!(upload.status(), 200);
        let download = client.get(format!("{}/api/sync/download", serving.url)).bearer_auth(token.trim());
        download.send().await.unwrap().text().await.unwrap()
    });
    let download: Json = serde_json::from_str(&download).unwrap();
    assert_eq!(download["records"].as_array().unwrap().len(), 2);
    said(place.run("north", &serving.url, &[]));
    assert!(said(place.slave("north", &["show"]).output().unwrap()).contains("1 inventory_adjustments"));
}
