//! A file or a table that cannot be used: the error says which, on which side, and what to do.

use rusqlite::Connection;
use sync_core::{ErrorKind, Sink, Source, StreamSpec};
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

#[cfg(unix)]
#[tokio::test]
async fn nobody_goes_on_in_a_file_that_was_deleted_or_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.db");
    let stream = StreamSpec::new("orders").key(["id"]);
    let sink = Sqlite::open(&file).await.unwrap();
    sink.prepare(&stream).await.unwrap();
    let source = SqliteSource::open(&file).await.unwrap().table(stream.clone());
    source.check().await.unwrap();
    std::fs::rename(&file, folder.path().join("elsewhere.db")).unwrap();
    for replaced in [false, true] {
        if replaced {
            Connection::open(&file).unwrap().execute_batch("CREATE TABLE other (id INTEGER)").unwrap();
        }
        for error in [sink.prepare(&stream).await.unwrap_err(), source.check().await.unwrap_err()] {
            assert!(
                error.to_string().contains("deleted or replaced") && error.to_string().contains("shop.db"),
                "{error}"
            );
        }
    }
    std::fs::rename(folder.path().join("elsewhere.db"), &file).unwrap();
    sink.prepare(&stream).await.unwrap();
}

#[tokio::test]
async fn a_misspelt_column_of_a_source_is_told_with_the_columns_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.db");
    let create = "CREATE TABLE orders (id INTEGER PRIMARY KEY, total TEXT, at TEXT)";
    Connection::open(&file).unwrap().execute_batch(create).unwrap();
    let misspelt = StreamSpec::new("orders").key(["id"]).text("totl");
    let error = SqliteSource::open(&file).await.unwrap().table(misspelt).check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema, "{error}");
    let said = error.to_string();
    assert!(said.contains("has no column \"totl\"") && said.contains("it has id, total, at"), "{said}");
    assert!(!said.contains("SELECT"), "{said}");
}

#[tokio::test]
async fn a_table_that_does_not_fit_is_told_as_the_target_in_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("target.db");
    let create = "CREATE TABLE orders (id INTEGER PRIMARY KEY, note BLOB, n INTEGER)";
    Connection::open(&file).unwrap().execute_batch(create).unwrap();
    let sink = Sqlite::open(&file).await.unwrap();
    let keyed = sink.prepare(&StreamSpec::new("orders").key(["ident"])).await.unwrap_err().to_string();
    assert!(keyed.contains("the target table needs a unique key over exactly (ident)"), "{keyed}");
    let typed = sink.prepare(&StreamSpec::new("orders").key(["id"]).text("n")).await.unwrap_err().to_string();
    assert!(typed.contains("column \"n\" of the target table is declared"), "{typed}");
    assert!(keyed.contains("target.db") && typed.contains("target.db"), "{keyed} {typed}");
}

#[tokio::test]
async fn a_closed_database_leaves_one_file_and_refuses_what_comes_later() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sqlite::open(folder.path().join("shop.db")).await.unwrap();
    let stream = StreamSpec::new("orders").key(["id"]);
    sink.prepare(&stream).await.unwrap();
    sink.close().await;
    sink.close().await;
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, ["shop.db"]);
    let error = sink.prepare(&stream).await.unwrap_err();
    assert!(error.to_string().contains("closed"), "{error}");
}

/// As services do that a machine starts together on a new file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_open_a_new_file_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let file = folder.path().join(format!("shop{round}.db"));
        let opened: Vec<_> = (0..16).map(|_| tokio::spawn(Sqlite::open(file.clone()))).collect();
        for sink in opened {
            sink.await.unwrap().unwrap();
        }
    }
}
