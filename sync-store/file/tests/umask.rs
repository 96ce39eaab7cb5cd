//! The rights of the file under any umask. Alone in its program, since the umask belongs to the process.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use rustix::fs::Mode;
use rustix::process::umask;
use sync_core::SystemClock;
use sync_store_file::StatusFile;

#[test]
fn the_file_is_for_its_owner_alone_under_any_umask() {
    for mask in [0o000, 0o022, 0o077, 0o177, 0o777] {
        let folder = tempfile::tempdir().unwrap();
        let before = umask(Mode::from_raw_mode(mask));
        let opened = StatusFile::open(folder.path(), Arc::new(SystemClock::new()));
        // The second write finds the lock file that the first one made.
        let reset = opened.and_then(|file| file.reset());
        umask(before);
        reset.unwrap();
        for name in ["sync_status.json", ".sync_status.json.lock"] {
            let rights = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
            assert_eq!(rights & 0o7777, 0o600, "{name} under umask {mask:03o}");
        }
    }
}
