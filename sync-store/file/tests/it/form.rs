//! The form of the file, to the byte, and what becomes of files that have another one.

use std::path::Path;
use std::sync::Arc;

use sync_core::ErrorKind;
use sync_store_file::{State, StatusFile, SyncStatus};
use sync_testkit::ManualClock;

pub(crate) const EXAMPLE: &str = r#"{
  "last_synced_at": "2025-08-30T09:00:00Z",
  "status": "success",
  "pending_records": 0,
  "last_error": null,
  "retry_count": 0,
  "created_at": "2025-08-30T08:00:00Z",
  "updated_at": "2025-08-30T09:00:00Z"
}
"#;

const BEGUN: &str = r#"{
  "last_synced_at": null,
  "status": "idle",
  "pending_records": 0,
  "last_error": null,
  "retry_count": 0,
  "created_at": "2030-01-01T00:00:00Z",
  "updated_at": "2030-01-01T00:00:00Z"
}
"#;

fn open(folder: &Path) -> sync_core::Result<StatusFile> {
    StatusFile::open(folder, Arc::new(ManualClock::new(1)))
}

#[test]
fn the_described_example_is_read_and_written_to_the_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sync_status.json");
    std::fs::write(&path, EXAMPLE).unwrap();
    let status = SyncStatus::read(&path).unwrap().unwrap();
    assert_eq!((&status.status, status.to_json().as_str()), (&State::Success, EXAMPLE));
    open(folder.path()).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), EXAMPLE);
}

#[test]
fn a_file_that_is_not_there_is_begun_at_the_time_of_the_clock() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sync_status.json");
    assert!(SyncStatus::read(&path).unwrap().is_none());
    open(folder.path()).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), BEGUN);
}

#[test]
fn fields_of_others_stay_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sync_status.json");
    let others = r#""a \"note\"": {"z": [1, 2.50], "a": 1e400},"branch": 123456789012345678901234567890"#;
    std::fs::write(&path, EXAMPLE.replacen('{', &format!("{{{others},"), 1)).unwrap();
    let file = open(folder.path()).unwrap();
    file.reset().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let kept =
        "  \"a \\\"note\\\"\": {\"z\": [1, 2.50], \"a\": 1e400},\n  \"branch\": 123456789012345678901234567890\n}\n";
    assert_eq!(text, BEGUN.replace("Z\"\n}\n", "Z\",\n") + kept);
}

#[test]
fn every_torn_file_is_kept_aside_and_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sync_status.json");
    let broken = folder.path().join("sync_status.json.broken");
    // Without its last byte, the line end, the file is still whole.
    for end in 0..EXAMPLE.len() - 1 {
        let torn = &EXAMPLE[..end];
        std::fs::write(&path, torn).unwrap();
        let error = SyncStatus::read(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{torn:?}: {error}");
        open(folder.path()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), BEGUN, "{torn:?}");
        assert_eq!(std::fs::read_to_string(&broken).unwrap(), torn);
    }
    std::fs::write(&path, EXAMPLE.trim_end()).unwrap();
    open(folder.path()).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), EXAMPLE);
}

#[test]
fn foreign_files_are_kept_aside_and_never_quoted() {
    let huge = format!("{{\"secret\": \"{}\"}}", "x".repeat(2 << 20));
    let zeroes = "\0".repeat(EXAMPLE.len());
    let deep = "[".repeat(100_000);
    for foreign in [
        "{}",
        "[]",
        "secret",
        r#"{"secret": 1}"#,
        &EXAMPLE.replace("\"success\"", "7"),
        &EXAMPLE.replace("\"success\"", "null"),
        &EXAMPLE.replace("\"2025-08-30T08:00:00Z\"", "\"secret\""),
        &EXAMPLE.replace("\"pending_records\": 0", "\"pending_records\": -1"),
        &EXAMPLE.replace("  \"retry_count\": 0,\n", ""),
        &format!("{EXAMPLE}{EXAMPLE}"),
        &huge,
        &zeroes,
        &deep,
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sync_status.json");
        std::fs::write(&path, foreign).unwrap();
        let error = SyncStatus::read(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
        open(folder.path()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), BEGUN);
        assert_eq!(std::fs::read_to_string(folder.path().join("sync_status.json.broken")).unwrap(), foreign);
    }
}

#[test]
fn a_word_of_another_program_is_no_reason_to_throw_its_file_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sync_status.json");
    let theirs = EXAMPLE.replace("success", "syncing").replace("09:00:00Z", "11:00:00.25+02:00");
    std::fs::write(&path, theirs).unwrap();
    open(folder.path()).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), EXAMPLE.replace("success", "syncing"));
    assert_eq!(SyncStatus::read(&path).unwrap().unwrap().status, State::Other("syncing".to_owned()));
}
