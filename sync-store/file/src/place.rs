//! The file in its folder: whole or not at all, readable by its owner alone, and never through a symbolic link.
//!
//! Everything goes through a handle of the folder (`openat` and its kin), so that swapping the folder for a link while
//! a write is under way moves nothing elsewhere. A lock file serialises writers, in this process and in others; the
//! kernel drops the lock with its holder.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, fchmod, flock, fstat, fsync, openat, renameat};
use rustix::io::Errno;
use sync_core::{Error, ErrorKind, Result};

/// The name of the file.
pub(crate) const NAME: &str = "sync_status.json";
/// Where a file that cannot be read is kept. A later one replaces it.
pub(crate) const BROKEN: &str = "sync_status.json.broken";
const TEMPORARY: &str = ".sync_status.json.tmp";
const LOCK: &str = ".sync_status.json.lock";

/// More than this is no status file.
const MOST_BYTES: u64 = 1 << 20;
/// How long to wait for other writers, each of which takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

const OWNER_ONLY: Mode = Mode::RUSR.union(Mode::WUSR);

/// A folder for a status file.
#[derive(Debug)]
pub(crate) struct Place {
    folder: PathBuf,
}

/// A folder whose status file nobody else writes meanwhile.
#[derive(Debug)]
pub(crate) struct Locked<'a> {
    place: &'a Place,
    folder: OwnedFd,
    _lock: OwnedFd,
}

impl Place {
    /// The folder as it is now: links in the path a host gives are followed here, once, and never again.
    pub(crate) fn find(folder: &Path) -> Result<Self> {
        let real = std::fs::canonicalize(folder).map_err(|cause| {
            let errno = Errno::from_io_error(&cause).unwrap_or(Errno::IO);
            failed("the folder for the status file cannot be found: create it first", folder, errno)
        })?;
        let place = Self { folder: real };
        place.enter()?;
        Ok(place)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn enter(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(CWD, &self.folder, flags, Mode::empty())
            .map_err(|errno| failed("the folder of the status file cannot be opened", &self.folder, errno))
    }

    /// Waits until nobody else writes.
    pub(crate) fn lock(&self) -> Result<Locked<'_>> {
        let folder = self.enter()?;
        let lock = self.open_lock(&folder)?;
        // A wait of this thread alone, which no simulation sees: the injected clock has no part in it.
        let until = Instant::now() + PATIENCE;
        loop {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Locked { place: self, folder, _lock: lock }),
                Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) => {
                    let text = "another process has kept the status file locked for 5 s";
                    return Err(Error::unavailable(text).with("path", self.path(LOCK).display()));
                }
                Err(errno) => return Err(failed("the status file cannot be locked", &self.path(LOCK), errno)),
            }
        }
    }

    fn open_lock(&self, folder: &OwnedFd) -> Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let refused = |errno| failed("the folder of the status file cannot be written", &self.path(LOCK), errno);
        let lock = openat(folder, LOCK, flags, OWNER_ONLY).map_err(refused)?;
        let found = fstat(&lock).map_err(refused)?;
        is_regular(found.st_mode).map_err(refused)?;
        if Mode::from_raw_mode(found.st_mode) != OWNER_ONLY {
            // The umask may have taken rights away. Where somebody else owns it, it locks all the same.
            let _ = fchmod(&lock, OWNER_ONLY);
        }
        Ok(lock)
    }
}

impl Locked<'_> {
    /// The bytes of the file; `None` where there is none.
    pub(crate) fn read(&self) -> Result<Option<Vec<u8>>> {
        read_at(&self.folder, Path::new(NAME), &self.place.path(NAME))
    }

    /// Keeps what cannot be read beside the place where it was.
    pub(crate) fn set_aside(&self) -> Result<()> {
        renameat(&self.folder, NAME, &self.folder, BROKEN).map_err(|errno| {
            failed("the status file cannot be read, and cannot be set aside", &self.place.path(BROKEN), errno)
        })
    }

    /// Puts a new file in place of the old one. Whoever reads meanwhile, or after a crash at any moment, finds the old
    /// one or the new one, whole.
    pub(crate) fn replace(&self, bytes: &[u8]) -> Result<()> {
        let replaced = self.write_temporary(bytes).and_then(|()| self.publish());
        replaced.map_err(|errno| {
            // What is half written is of no use; the next write would remove it too.
            let _ = rustix::fs::unlinkat(&self.folder, TEMPORARY, AtFlags::empty());
            failed("the status file cannot be written", &self.place.path(NAME), errno)
        })
    }

    fn write_temporary(&self, bytes: &[u8]) -> rustix::io::Result<()> {
        // Under the lock it can only be what a crash has left, or a trap: a link somewhere else.
        match rustix::fs::unlinkat(&self.folder, TEMPORARY, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let temporary = openat(&self.folder, TEMPORARY, flags, OWNER_ONLY)?;
        // The umask may have taken rights away from the mode above.
        fchmod(&temporary, OWNER_ONLY)?;
        let mut temporary = File::from(temporary);
        let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
        temporary.write_all(bytes).map_err(errno)?;
        temporary.sync_all().map_err(errno)
    }

    fn publish(&self) -> rustix::io::Result<()> {
        // A link that was put there since the file was read is replaced, not followed.
        renameat(&self.folder, TEMPORARY, &self.folder, NAME)?;
        match fsync(&self.folder) {
            // Some file systems cannot sync a folder; they have no other way to make the rename durable either.
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

/// Reads a file, whoever may be writing it.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    read_at(CWD, path, path)
}

fn read_at(folder: impl AsFd, name: &Path, path: &Path) -> Result<Option<Vec<u8>>> {
    // NONBLOCK: opening a named pipe would wait for somebody to write into it.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(folder, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(failed("the status file cannot be read", path, errno)),
    };
    let kind = fstat(&file).and_then(|found| is_regular(found.st_mode));
    kind.map_err(|errno| failed("the status file cannot be read", path, errno))?;
    let mut bytes = Vec::new();
    File::from(file).take(MOST_BYTES).read_to_end(&mut bytes).map_err(|error| {
        failed("the status file cannot be read", path, Errno::from_io_error(&error).unwrap_or(Errno::IO))
    })?;
    Ok(Some(bytes))
}

fn is_regular(mode: rustix::fs::RawMode) -> rustix::io::Result<()> {
    match FileType::from_raw_mode(mode) {
        FileType::RegularFile => Ok(()),
        _ => Err(Errno::ISDIR),
    }
}

fn failed(what: &'static str, path: &Path, errno: Errno) -> Error {
    let error = match errno {
        Errno::LOOP => Error::config(format!("{what}: it is a symbolic link, and those are not followed")),
        Errno::ISDIR => Error::config(format!("{what}: it is no regular file")),
        Errno::NOENT | Errno::NOTDIR => Error::config(what),
        Errno::ACCESS | Errno::PERM | Errno::ROFS => Error::new(ErrorKind::Forbidden, what),
        Errno::NOSPC | Errno::DQUOT => Error::new(ErrorKind::Full, what),
        _ => Error::unavailable(what),
    };
    error.with("path", path.display()).caused_by(std::io::Error::from(errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_between_writing_and_renaming_leaves_the_old_file_and_the_next_write_clears_up() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::find(folder.path()).unwrap();
        place.lock().unwrap().replace(b"old").unwrap();
        let new = b"a new one, and longer";
        for written in 0..=new.len() {
            place.lock().unwrap().write_temporary(&new[..written]).unwrap();
            let after_the_crash = place.lock().unwrap();
            assert_eq!(after_the_crash.read().unwrap().unwrap(), b"old");
            after_the_crash.replace(b"old").unwrap();
            assert!(!folder.path().join(TEMPORARY).exists(), "what the crash left is gone");
        }
    }

    #[test]
    fn a_trap_in_the_place_of_the_temporary_file_catches_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        std::fs::write(&victim, "mine").unwrap();
        std::os::unix::fs::symlink(&victim, folder.path().join(TEMPORARY)).unwrap();
        Place::find(folder.path()).unwrap().lock().unwrap().replace(b"new").unwrap();
        assert_eq!(std::fs::read(&victim).unwrap(), b"mine");
        assert_eq!(std::fs::read(folder.path().join(NAME)).unwrap(), b"new");
    }

    #[test]
    fn a_lock_file_that_is_a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(folder.path().join("made elsewhere"), folder.path().join(LOCK)).unwrap();
        let error = Place::find(folder.path()).unwrap().lock().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(!folder.path().join("made elsewhere").exists());
    }
}
