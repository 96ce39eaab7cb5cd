//! What was changed at the source, remembered beside the database: `<db>.source.json`.
//!
//! The data themselves are never written to: every run reads them anew and lays the remembered changes over them.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::table::{Cell, DataSet, Table};

const VERSION: u32 = 1;

/// The file with all changes, one section for each data set that was ever served for this database.
#[derive(Debug)]
pub(crate) struct Sidecar {
    path: PathBuf,
    content: Content,
}

#[derive(Debug, Serialize, Deserialize)]
struct Content {
    version: u32,
    sources: BTreeMap<String, Changes>,
}

/// The changes to one data set.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Changes {
    /// How often rows were changed.
    pub(crate) rounds: u64,
    /// By table, key (as JSON text) and column.
    tables: BTreeMap<String, BTreeMap<String, BTreeMap<String, Edit>>>,
}

/// One changed value.
#[derive(Debug, Serialize, Deserialize)]
struct Edit {
    was: Cell,
    now: Cell,
}

impl Sidecar {
    /// Reads the file that belongs to a database. Where there is none, nothing was changed yet.
    ///
    /// # Errors
    /// The file can't be read, or another program wrote it.
    pub(crate) fn beside(database: &Path) -> Result<Self> {
        let mut path = database.as_os_str().to_owned();
        path.push(".source.json");
        let path = PathBuf::from(path);
        let named = path.display();
        let content = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                Error::caused(format!("{named} is damaged; remove it to start from the unchanged source"), error)
            })?,
            Err(error) if error.kind() == ErrorKind::NotFound => Content { version: VERSION, sources: BTreeMap::new() },
            Err(error) => return Err(Error::caused(format!("cannot read {named}"), error)),
        };
        if content.version != VERSION {
            return Err(Error::new(format!(
                "{named} has version {}, but this program writes version {VERSION}; remove it to start from the \
                 unchanged source",
                content.version
            )));
        }
        Ok(Self { path, content })
    }

    /// The changes to a data set so far.
    pub(crate) fn changes(&mut self, source: &str) -> &mut Changes {
        self.content.sources.entry(source.to_owned()).or_default()
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// The folder of the database can't be written to.
    pub(crate) fn save(&self) -> Result<()> {
        let failed = |error| Error::caused(format!("cannot write {}", self.path.display()), error);
        let json = serde_json::to_vec_pretty(&self.content).map_err(|error| failed(error.into()))?;
        replace(&self.path, &json).map_err(failed)
    }
}

/// Writes a file beside the old one, and takes its place only once it is on the disk.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    #[cfg(unix)]
    {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

impl Changes {
    /// Lays the changes over the data and says how many rows differ now.
    ///
    /// A change whose row is gone, or whose value was edited in the source since, has been overtaken and is left out.
    pub(crate) fn apply(&self, data: &mut DataSet) -> usize {
        let changed = |table: &mut Table| self.tables.get(&table.name).map_or(0, |edits| apply(edits, table));
        data.tables.iter_mut().map(changed).sum()
    }

    /// Remembers one change. A value changed again keeps what it was in the unchanged source.
    pub(crate) fn record(&mut self, table: &str, key: String, column: &str, was: Cell, now: Cell) {
        let row = self.tables.entry(table.to_owned()).or_default().entry(key).or_default();
        match row.get_mut(column) {
            Some(edit) if edit.now.get() == was.get() => edit.now = now,
            _ => drop(row.insert(column.to_owned(), Edit { was, now })),
        }
    }
}

fn apply(edits: &BTreeMap<String, BTreeMap<String, Edit>>, table: &mut Table) -> usize {
    let places: HashMap<String, usize> =
        table.fields.iter().enumerate().map(|(place, field)| (field.name().to_owned(), place)).collect();
    let by_key: HashMap<String, usize> =
        table.rows.iter().enumerate().map(|(index, row)| (table.key_text(row), index)).collect();
    let mut changed = 0;
    for (key, columns) in edits {
        let Some(row) = by_key.get(key).map(|&index| &mut table.rows[index]) else { continue };
        let mut touched = false;
        for (column, edit) in columns {
            let Some(cell) = places.get(column).map(|&place| &mut row[place]) else { continue };
            if cell.get() == edit.was.get() {
                *cell = edit.now.clone();
                touched = true;
            }
        }
        changed += usize::from(touched);
    }
    changed
}

#[cfg(test)]
mod tests {
    use sync_core::model::{Field, Kind};

    use super::*;
    use crate::table::{text_cell, token};

    fn data(city: &str) -> DataSet {
        let table = Table {
            name: "people".into(),
            fields: vec![Field::new("id", Kind::Int).required(), Field::new("city", Kind::Text)],
            key_width: 1,
            version: None,
            editable: vec![1],
            rows: vec![vec![token("1".into()), text_cell(city)], vec![token("2".into()), text_cell("Oslo")]],
        };
        DataSet { name: "test".into(), tables: vec![table] }
    }

    fn city(data: &DataSet) -> &str {
        data.tables[0].rows[0][1].get()
    }

    fn record(changes: &mut Changes, was: &str, now: &str) {
        changes.record("people", "[1]".into(), "city", text_cell(was), text_cell(now));
    }

    #[test]
    fn changes_outlive_the_run_that_made_them() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let database = folder.path().join("shop.db");
        let mut sidecar = Sidecar::beside(&database).expect("nothing there yet");
        record(sidecar.changes("test"), "Bergen", "Tromsø");
        sidecar.changes("test").rounds = 3;
        sidecar.save().expect("the folder can be written to");

        assert!(folder.path().join("shop.db.source.json").is_file());
        assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 1, "nothing else is left behind");
        let mut again = Sidecar::beside(&database).expect("a sound file");
        let mut data = data("Bergen");
        assert_eq!(again.changes("test").apply(&mut data), 1);
        assert_eq!((city(&data), again.changes("test").rounds), ("\"Tromsø\"", 3));
    }

    #[test]
    fn changes_to_one_source_leave_another_alone() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let mut sidecar = Sidecar::beside(&folder.path().join("shop.db")).expect("nothing there yet");
        record(sidecar.changes("one"), "Bergen", "Tromsø");
        assert_eq!(sidecar.changes("other").apply(&mut data("Bergen")), 0);
    }

    #[test]
    fn a_value_changed_twice_still_replaces_the_original() {
        let mut changes = Changes::default();
        record(&mut changes, "Bergen", "Tromsø");
        record(&mut changes, "Tromsø", "Bodø");
        let mut data = data("Bergen");
        assert_eq!(changes.apply(&mut data), 1);
        assert_eq!(city(&data), "\"Bodø\"");
    }

    #[test]
    fn a_value_edited_in_the_source_overtakes_the_remembered_change() {
        let mut changes = Changes::default();
        record(&mut changes, "Bergen", "Tromsø");
        let mut edited = data("Ålesund");
        assert_eq!(changes.apply(&mut edited), 0);
        assert_eq!(city(&edited), "\"Ålesund\"");

        record(&mut changes, "Ålesund", "Molde");
        let mut edited = data("Ålesund");
        assert_eq!(changes.apply(&mut edited), 1);
        assert_eq!(city(&edited), "\"Molde\"");
    }

    #[test]
    fn a_damaged_file_is_named_with_the_remedy() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let write = |text| fs::write(folder.path().join("a.db.source.json"), text).expect("a file for the test");
        write("{\"version\":1,");
        let error = Sidecar::beside(&folder.path().join("a.db")).expect_err("half a file").to_string();
        assert!(error.contains("a.db.source.json is damaged; remove it"), "{error}");
        write("{\"version\":9,\"sources\":{}}");
        let error = Sidecar::beside(&folder.path().join("a.db")).expect_err("a later version").to_string();
        assert!(error.contains("has version 9"), "{error}");
    }
}
