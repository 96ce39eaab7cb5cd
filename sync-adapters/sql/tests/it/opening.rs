//! A file that cannot be opened: the error says which, and what to do.

use sync_core::ErrorKind;
use sync_sql::{Sqlite, SqliteSource};

#[tokio::test]
async fn the_error_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (text, nowhere) = (folder.path().join("notes.txt"), folder.path().join("no folder").join("shop.db"));
    std::fs::write(&text, "no database, but a text of more than sixteen bytes, so that its head is looked at").unwrap();
    for (path, said) in [
        (&text, "choose another file"),
        (&nowhere, "create the folder first"),
        (&folder.path().to_owned(), "name a file in it"),
    ] {
        for error in [Sqlite::open(path).await.unwrap_err(), SqliteSource::open(path).await.unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Config, "{error}");
            let error = error.to_string();
            assert!(error.contains(said) && error.contains(&path.display().to_string()), "{error}");
        }
    }
    let missing = SqliteSource::open(folder.path().join("missing.db")).await.unwrap_err().to_string();
    assert!(missing.contains("there is no such file") && missing.contains("missing.db"), "{missing}");
}
