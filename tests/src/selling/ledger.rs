//! What a till has written, kept in a file of its own, outside of the library that is on trial.
//!
//! Before a COMMIT the till notes what it intends, after it that it is done. A till that was killed in between looks into its
//! database when it is back, and notes what became of it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A sale: `of` a product, `detail` of them.
    Sale,
    /// The end of a sale, whose id it has behind `void-`: `detail` of its product come back.
    Void,
    /// A price, by its value, which nobody else gives: `of` a product, in place of `detail`.
    Price,
    /// A notice, by its text, which nobody else writes: `of` a product, in place of `detail`.
    Notice,
}

impl Kind {
    const ALL: [(Self, &'static str); 4] =
        [(Self::Sale, "sale"), (Self::Void, "void"), (Self::Price, "price"), (Self::Notice, "notice")];

    fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// What tells it from all others.
    pub id: String,
    /// The product that it is about.
    pub of: String,
    /// See [`Kind`].
    pub detail: String,
    /// Just before it was written and just after that, milliseconds since 1970.
    pub written: (u64, u64),
    /// Whether it was committed, as far as the till knows.
    pub done: Option<bool>,
}

/// A ledger on disk.
#[derive(Debug)]
pub struct Ledger(File);

/// Ends each line: what does not end so was torn by a kill.
const END: &str = "\t.\n";

impl Ledger {
    /// Opens or creates it, to go on behind what is there.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(path: &Path) -> io::Result<Self> {
        let torn = fs::read(path).is_ok_and(|bytes| bytes.last().is_some_and(|last| *last != b'\n'));
        let mut ledger = Self(OpenOptions::new().create(true).append(true).open(path)?);
        if torn {
            ledger.0.write_all(b"\n")?;
        }
        Ok(ledger)
    }

    /// It is about to be committed.
    ///
    /// # Errors
    /// The disk's.
    pub fn intend(&mut self, entry: &Entry) -> io::Result<()> {
        let Entry { kind, id, of, detail, written: (began, ended), .. } = entry;
        self.line(&format!("intend\t{}\t{id}\t{of}\t{detail}\t{began}\t{ended}", kind.name()))
    }

    /// It was committed, or was not and never will be.
    ///
    /// # Errors
    /// The disk's.
    pub fn ended(&mut self, id: &str, done: bool) -> io::Result<()> {
        self.line(&format!("{}\t{id}", if done { "done" } else { "lost" }))
    }

    fn line(&mut self, line: &str) -> io::Result<()> {
        self.0.write_all(format!("{line}{END}").as_bytes())?;
        self.0.sync_data()
    }
}

/// What a ledger says, in the order in which it was intended. There is none before the first write.
///
/// # Errors
/// The disk's; and a line that no till writes.
pub fn read(path: &Path) -> io::Result<Vec<Entry>> {
    match fs::read_to_string(path) {
        Ok(text) => parse(&text).ok_or_else(|| io::Error::other("the ledger has a line that no till writes")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn parse(text: &str) -> Option<Vec<Entry>> {
    let (mut entries, mut at) = (Vec::<Entry>::new(), BTreeMap::new());
    for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix(END)) {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields[..] {
            ["intend", kind, id, of, detail, began, ended] => {
                let (kind, _) = Kind::ALL.into_iter().find(|(_, name)| *name == kind)?;
                let (id, of, detail) = (id.to_owned(), of.to_owned(), detail.to_owned());
                let written = (began.parse().ok()?, ended.parse().ok()?);
                at.insert(id.clone(), entries.len());
                entries.push(Entry { kind, id, of, detail, written, done: None });
            }
            [ended @ ("done" | "lost"), id] => entries[*at.get(id)?].done = Some(ended == "done"),
            _ => return None,
        }
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_says_what_was_intended_and_what_became_of_it() {
        let path = std::env::temp_dir().join(format!("ledger-{}", uuid::Uuid::new_v4()));
        let write = |kind, id: &str| Entry {
            kind,
            id: id.to_owned(),
            of: "tea".to_owned(),
            detail: "3".to_owned(),
            written: (1, 2),
            done: None,
        };
        let mut ledger = Ledger::open(&path).unwrap();
        ledger.intend(&write(Kind::Sale, "a")).unwrap();
        ledger.ended("a", true).unwrap();
        ledger.intend(&write(Kind::Price, "110")).unwrap();
        ledger.0.write_all(b"done\t1").unwrap();
        let mut ledger = Ledger::open(&path).unwrap();
        ledger.intend(&write(Kind::Notice, "b")).unwrap();
        ledger.ended("b", false).unwrap();
        let found = read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let mut wanted = [write(Kind::Sale, "a"), write(Kind::Price, "110"), write(Kind::Notice, "b")];
        (wanted[0].done, wanted[2].done) = (Some(true), Some(false));
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_line_that_no_till_writes_is_not_passed_over() {
        assert_eq!(parse("sold\ta\t.\n"), None);
        assert_eq!(parse("done\ta\t.\n"), None);
    }
}
