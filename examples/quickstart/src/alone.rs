//! One quickstart at a time on a database: two would share the name under which they hold leases, and stop each other.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The right to work on a database, until it is dropped. The system takes it back from a process that is killed, so the next
/// one goes on at once.
#[derive(Debug)]
pub(crate) struct Alone {
    file: File,
    path: PathBuf,
}

impl Alone {
    /// Takes the right, by a lock on the file `<db>.lock`. The database itself is not locked so: SQLite has locks of its own
    /// on it, which would be lost when ours is closed.
    ///
    /// # Errors
    /// Another quickstart has it, or the file cannot be made.
    pub(crate) fn with(db: &Path) -> Result<Self> {
        let path = beside(db);
        let failed = |error| Error::caused(format!("cannot lock {}", path.display()), error);
        loop {
            let file = File::options().write(true).create(true).truncate(false).open(&path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) if is_still(&file, &path) => return Ok(Self { file, path }),
                // Who had it before has just removed it: ours is a file that nobody else will find.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::new(format!(
                        "another quickstart is at work on {}: wait until it ends, or let --db name another file",
                        db.display()
                    )));
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        // Elsewhere, a file that another process has open may not be told from a new one of its name, so it stays.
        if cfg!(unix) {
            let _ = fs::remove_file(&self.path);
        }
        let _ = self.file.unlock();
    }
}

/// The lock's file: the same one for all names that the database is known by.
fn beside(db: &Path) -> PathBuf {
    let real = db.canonicalize().unwrap_or_else(|_| {
        let folder = db.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        folder.canonicalize().unwrap_or_else(|_| folder.to_owned()).join(db.file_name().unwrap_or_default())
    });
    let mut path = real.into_os_string();
    path.push(".lock");
    path.into()
}

#[cfg(unix)]
fn is_still(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let same = |ours: fs::Metadata, there: fs::Metadata| (ours.dev(), ours.ino()) == (there.dev(), there.ino());
    file.metadata().is_ok_and(|ours| fs::metadata(path).is_ok_and(|there| same(ours, there)))
}

#[cfg(not(unix))]
fn is_still(_: &File, _: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_has_a_database_and_the_next_has_it_at_once() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let db = folder.path().join("shop.db");
        let first = Alone::with(&db).expect("nobody else is there");
        let second = Alone::with(&db).expect_err("somebody is at work").to_string();
        assert!(second.contains("another quickstart is at work on") && second.contains("shop.db"), "{second}");
        assert!(Alone::with(&folder.path().join("other.db")).is_ok());
        drop(first);
        drop(Alone::with(&db).expect("it was given back"));
        assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), usize::from(!cfg!(unix)) * 2);
    }

    #[test]
    #[cfg(unix)]
    fn a_database_has_one_lock_whatever_it_is_called() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let (db, link) = (folder.path().join("shop.db"), folder.path().join("link.db"));
        fs::write(&db, "").expect("a file for the test");
        std::os::unix::fs::symlink(&db, &link).expect("a link for the test");
        let _first = Alone::with(&db).expect("nobody else is there");
        assert!(Alone::with(&link).is_err());
        assert!(Alone::with(&folder.path().join(".").join("shop.db")).is_err());
    }
}
