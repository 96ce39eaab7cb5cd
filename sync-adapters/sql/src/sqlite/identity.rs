//! Which file a connection has open: a path may come to name another one, or none.

use std::path::Path;

use sync_core::{Error, ErrorKind, Result};

/// A file, by device and number; nothing where there is no file, as for a database in memory.
///
/// SQLite goes on in a file that was deleted or replaced, and whatever is written there is lost when it is closed
/// (<https://www.sqlite.org/howtocorrupt.html>, section 2.4). Elsewhere than on Unix an open file cannot be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity(Option<(u64, u64)>);

impl Identity {
    #[cfg(unix)]
    pub(crate) fn of(path: &Path) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self(std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino())))
    }

    #[cfg(not(unix))]
    pub(crate) fn of(_: &Path) -> Self {
        Self(None)
    }

    /// Refuses to go on in a file that the path no longer names.
    ///
    /// # Errors
    /// `Config`, since only the host can open another one.
    pub(crate) fn check(self, path: &Path) -> Result<()> {
        if self.0.is_none() || self == Self::of(path) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Config,
            "the database file was deleted or replaced while it was open: put it back, or open the new one",
        ))
    }
}
