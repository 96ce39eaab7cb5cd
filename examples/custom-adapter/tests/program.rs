//! The program says the truth, however often it is run, and ends with an error where a run failed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn program(file: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_custom-adapter")).arg(file).output().unwrap()
}

#[test]
fn each_start_begins_anew_and_writes_each_row_as_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tickets.jsonl");
    for _ in 0..2 {
        let output = program(&file);
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        let totals: Vec<Vec<&str>> = said
            .lines()
            .filter(|line| line.starts_with("total"))
            .map(|line| line.split_whitespace().collect())
            .collect();
        let expected = [["total", "25", "25", "0", "0"], ["total", "1", "0", "0", "1"], ["total", "3", "1", "1", "1"]];
        assert_eq!(totals, expected, "{said}");
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text.matches('\n').count(), 26, "each line ends");
        assert!(text.ends_with('\n'));
    }
}

#[test]
fn the_first_run_that_fails_ends_it_with_its_error() {
    let folder = tempfile::tempdir().unwrap();
    let output = program(&folder.path().join("nowhere").join("x.jsonl"));
    let (said, error) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("First, everything") && !said.contains("Again"), "{said}");
    assert!(error.contains("cannot write the file"), "{error}");
}

#[test]
fn a_file_of_something_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("letter.txt");
    fs::write(&file, "Dear Ann").unwrap();
    assert!(!program(&file).status.success());
    assert_eq!(fs::read_to_string(&file).unwrap(), "Dear Ann");
}
