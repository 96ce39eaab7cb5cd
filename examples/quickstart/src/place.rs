//! Where the rows go: whether the path of `--db` can hold a database, asked before anything is changed anywhere.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::error::{Error, Result};

/// The first bytes of every SQLite database (<https://www.sqlite.org/fileformat.html>, "The Database Header").
const HEADER: &[u8] = b"SQLite format 3\0";

/// Refuses a path that cannot become a database, with the remedy.
///
/// # Errors
/// It names no file at all, its folder is missing, it is a folder itself, or it is a file that is no database, or cannot be read.
pub(crate) fn check(db: &Path) -> Result<()> {
    let named = db.display();
    let text = db.to_string_lossy();
    if text.is_empty() || text == ":memory:" || text.starts_with("file:") {
        return Err(Error::new(format!(
            "--db takes the path of a file, and {text:?} is none: rows that are kept in memory would be gone when this \
             program ends; for a trial, name a file in a temporary folder"
        )));
    }
    let folder = db.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        let folder = folder.display();
        return Err(Error::new(format!(
            "there is no folder {folder} for {named}: create it, or let --db name a file elsewhere"
        )));
    }
    if db.is_dir() {
        return Err(Error::new(format!(
            "{named} is a folder: --db takes the file to fill, which need not be there yet"
        )));
    }
    match starts_like_a_database(db) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::new(format!(
            "{named} is no SQLite database, and is left as it is: let --db name another file, which need not be there yet"
        ))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::caused(format!("cannot read {named}"), error)),
    }
}

/// An empty file is as good as none.
fn starts_like_a_database(db: &Path) -> std::io::Result<bool> {
    let mut start = Vec::new();
    File::open(db)?.take(HEADER.len() as u64).read_to_end(&mut start)?;
    Ok(start.is_empty() || start == HEADER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_an_empty_one_and_a_database_are_taken() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let at = |name: &str| folder.path().join(name);
        assert!(check(&at("new.db")).is_ok());
        assert!(check(Path::new("new-in-this-folder.db")).is_ok());
        std::fs::write(at("empty.db"), "").expect("a file for the test");
        assert!(check(&at("empty.db")).is_ok());
        let database = rusqlite::Connection::open(at("real.db")).expect("a database for the test");
        database.execute_batch("CREATE TABLE t (id)").expect("a table for the test");
        assert!(check(&at("real.db")).is_ok());
    }

    #[test]
    fn a_database_in_memory_is_refused_since_nothing_of_it_would_be_kept() {
        for name in [":memory:", "file::memory:", "file::memory:?cache=shared", "file:shop.db?mode=memory", ""] {
            let refused = check(Path::new(name)).expect_err("refused").to_string();
            assert!(refused.contains("would be gone") && refused.contains("name a file"), "{name}: {refused}");
        }
    }

    #[test]
    fn what_cannot_become_a_database_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let refusal = |path: &Path| check(path).expect_err("refused").to_string();
        let missing = refusal(&folder.path().join("nowhere").join("x.db"));
        assert!(missing.contains("nowhere") && missing.contains("create it"), "{missing}");
        let itself = refusal(folder.path());
        assert!(itself.contains("is a folder: --db takes the file to fill"), "{itself}");
        let text = folder.path().join("notes.txt");
        std::fs::write(&text, "milk, bread, and a long list of other things").expect("a file for the test");
        let refused = refusal(&text);
        assert!(refused.contains("is no SQLite database") && refused.contains("another file"), "{refused}");
    }
}
