//! A folder of JSON Lines files as a source: one table a file.

mod columns;
mod key;
mod lines;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use sync_core::model::Field;

use crate::error::{Error, Result};
use crate::table::{DataSet, Table};

/// Reads every `.jsonl` and `.ndjson` file of a folder. Other files are left alone.
///
/// # Errors
/// The folder is missing or holds no such file; a file's name can't name a table; a line is not a JSON object; a table
/// has no key.
pub(crate) fn load(folder: &Path) -> Result<DataSet> {
    let mut tables: Vec<Table> = Vec::new();
    let mut names: HashMap<String, PathBuf> = HashMap::new();
    for path in files(folder)? {
        let name = table_name(&path)?;
        if let Some(other) = names.insert(name.to_lowercase(), path.clone()) {
            return Err(Error::new(format!(
                "{} and {} would be the same table: rename one of them",
                other.display(),
                path.display()
            )));
        }
        tables.push(table(name, &path)?);
    }
    let name = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    Ok(DataSet { name: name.display().to_string(), tables })
}

/// The JSON Lines files of a folder, by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    if folder.is_file() {
        let file = folder.display();
        return Err(Error::new(format!("{file} is a file: --data takes the folder that holds it")));
    }
    let unreadable = |error| Error::caused(format!("cannot read the folder {}", folder.display()), error);
    let mut found = Vec::new();
    let mut others = 0;
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let extension = path.extension().unwrap_or_default();
        if path.is_file() && (extension.eq_ignore_ascii_case("jsonl") || extension.eq_ignore_ascii_case("ndjson")) {
            found.push(path);
        } else {
            others += 1;
        }
    }
    if found.is_empty() {
        let holds = if others == 0 { "is empty".to_owned() } else { "holds no .jsonl or .ndjson file".to_owned() };
        return Err(Error::new(format!(
            "{} {holds}: --data takes a folder of JSON Lines files, one table a file",
            folder.display()
        )));
    }
    found.sort();
    Ok(found)
}

/// The file's name without its ending: it becomes a table's name and a part of a URL.
fn table_name(path: &Path) -> Result<String> {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    if stem.is_empty() || stem.len() > 63 || !stem.chars().all(fits) || !stem.starts_with(char::is_alphanumeric) {
        return Err(Error::new(format!(
            "{} cannot name a table: rename the file to letters, digits, `_`, `-` and `.`, at most 63 bytes, the first \
             a letter or digit",
            path.display()
        )));
    }
    Ok(stem.to_owned())
}

fn table(name: String, path: &Path) -> Result<Table> {
    let file = lines::read(path)?;
    if file.rows.is_empty() {
        return Err(Error::new(format!(
            "{} holds no rows, so nothing says what its columns are: add a row or remove the file",
            path.display()
        )));
    }
    let guesses = columns::guess(&file);
    let key_width = key::width(&file, &guesses).map_err(|reason| {
        Error::new(format!(
            "{} has no key: {reason}; put the columns that together identify a row first, and fill them in every line",
            path.display()
        ))
    })?;
    let editable = columns::editable(&guesses, key_width);
    let fields: Vec<Field> = guesses.into_iter().map(|guess| guess.field).collect();
    Ok(Table { name, fields, key_width, version: None, editable, rows: file.rows })
}

#[cfg(test)]
mod tests {
    use sync_core::model::Kind;

    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder for the test");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("a file for the test");
        }
        folder
    }

    fn refusal(files: &[(&str, &str)]) -> String {
        load(folder(files).path()).expect_err("this folder is refused").to_string()
    }

    #[test]
    fn each_file_becomes_a_table_with_kinds_and_a_key() {
        let folder = folder(&[
            (
                "album.jsonl",
                "{\"id\": 1, \"title\": \"Blue\", \"price\": 0.99}\n{\"id\": 2, \"title\": null, \"price\": 12}\n",
            ),
            ("track.ndjson", "{\"album\": 1, \"no\": 1, \"live\": true}\n{\"album\": 1, \"no\": 2, \"live\": false}\n"),
            ("LICENSE.txt", "not a table"),
        ]);
        let data = load(folder.path()).expect("the folder is sound");
        let [album, track] = &data.tables[..] else { panic!("two tables, but {:?}", data.tables) };
        assert_eq!((album.name.as_str(), album.key_width, album.rows.len()), ("album", 1, 2));
        assert_eq!(
            album.fields,
            [
                Field::new("id", Kind::Int).required(),
                Field::new("title", Kind::Text),
                Field::new("price", Kind::Decimal { precision: 4, scale: 2 }).required(),
            ]
        );
        assert_eq!((track.name.as_str(), track.key_width), ("track", 2));
        assert!(album.spec().check().is_ok() && track.spec().check().is_ok());
    }

    #[test]
    fn numbers_are_served_as_they_were_written() {
        let folder =
            folder(&[("n.jsonl", "{\"id\":1,\"exact\":0.10000000000000000001,\"large\":18446744073709551615}\n")]);
        let data = load(folder.path()).expect("the folder is sound");
        let cells: Vec<&str> = data.tables[0].rows[0].iter().map(|cell| cell.get()).collect();
        assert_eq!(cells, ["1", "0.10000000000000000001", "18446744073709551615"]);
    }

    #[test]
    fn a_folder_that_is_missing_empty_or_a_file_is_named() {
        let empty = refusal(&[]);
        assert!(empty.contains("is empty: --data takes a folder of JSON Lines files"), "{empty}");
        let other = refusal(&[("a.csv", "a,b")]);
        assert!(other.contains("holds no .jsonl or .ndjson file"), "{other}");

        let folder = folder(&[("a.jsonl", "{\"id\":1}")]);
        let missing = load(&folder.path().join("nowhere")).expect_err("it is not there").to_string();
        assert!(missing.contains("cannot read the folder") && missing.contains("nowhere"), "{missing}");
        let file = load(&folder.path().join("a.jsonl")).expect_err("it is a file").to_string();
        assert!(file.contains("a.jsonl is a file: --data takes the folder that holds it"), "{file}");
    }

    #[test]
    fn a_file_without_rows_is_named() {
        let error = refusal(&[("a.jsonl", "\n\n")]);
        assert!(error.contains("a.jsonl holds no rows"), "{error}");
    }

    #[test]
    fn a_table_without_a_key_is_refused_with_the_remedy() {
        let error = refusal(&[("a.jsonl", "{\"x\":1,\"y\":1}\n{\"x\":1,\"y\":1}\n")]);
        assert!(error.contains("a.jsonl has no key: lines 1 and 2 are alike in every column"), "{error}");
        assert!(error.contains("put the columns that together identify a row first"), "{error}");
    }

    #[test]
    fn names_that_no_database_could_tell_apart_are_refused() {
        let error = refusal(&[("Album.jsonl", "{\"id\":1}"), ("album.ndjson", "{\"id\":1}")]);
        assert!(error.contains("would be the same table"), "{error}");
        let error = refusal(&[("two words.jsonl", "{\"id\":1}")]);
        assert!(error.contains("two words.jsonl cannot name a table"), "{error}");
    }
}
