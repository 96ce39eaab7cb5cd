//! The file in its folder: rights, links, folders that cannot be written, and many writers.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::{Arc, Mutex};

use sync_core::ErrorKind;
use sync_core::state::RunStatus;
use sync_store_file::{State, StatusFile, SyncStatus};
use sync_testkit::ManualClock;

use super::form::EXAMPLE;
use super::runs::World;

fn open(folder: &Path) -> sync_core::Result<StatusFile> {
    StatusFile::open(folder, Arc::new(ManualClock::new(1)))
}

fn rights(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_file_that_others_could_read_is_for_its_owner_alone_afterwards() {
    for before in [0o777, 0o644, 0o600, 0o4755] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sync_status.json");
        fs::write(&path, EXAMPLE).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(before)).unwrap();
        open(folder.path()).unwrap();
        assert_eq!(rights(&path), 0o600, "was {before:o}");
    }
}

#[test]
fn a_link_in_the_place_of_the_file_is_refused_and_its_target_stays() {
    let folder = tempfile::tempdir().unwrap();
    let victim = folder.path().join("victim");
    fs::write(&victim, EXAMPLE).unwrap();
    let path = folder.path().join("sync_status.json");
    for target in [victim.clone(), folder.path().join("nowhere")] {
        symlink(&target, &path).unwrap();
        for error in [open(folder.path()).unwrap_err(), SyncStatus::read(&path).unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Config, "{error}");
            assert!(error.to_string().contains("symbolic link"), "{error}");
        }
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        fs::remove_file(&path).unwrap();
    }
    assert_eq!(fs::read_to_string(&victim).unwrap(), EXAMPLE);
    assert!(!folder.path().join("nowhere").exists());
}

#[test]
fn a_file_swapped_for_a_link_while_runs_go_on_is_not_written_through() {
    let world = World::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let victim = elsewhere.path().join("victim");
    fs::write(&victim, "mine").unwrap();
    fs::remove_file(world.path()).unwrap();
    symlink(&victim, world.path()).unwrap();
    world.begin("shop");
    world.end("shop", RunStatus::Completed);
    assert_eq!(world.file.flush().unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "mine");
    fs::remove_file(world.path()).unwrap();
    assert_eq!(world.says().status, State::Success, "once the link is gone, what was told is written");
}

#[test]
fn a_folder_swapped_for_a_link_is_not_followed() {
    let world = World::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let moved = elsewhere.path().join("moved");
    fs::rename(world.folder.path(), &moved).unwrap();
    let target = elsewhere.path().join("target");
    fs::create_dir(&target).unwrap();
    symlink(&target, world.folder.path()).unwrap();
    world.begin("shop");
    assert_eq!(world.file.flush().unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
    fs::remove_file(world.folder.path()).unwrap();
    fs::rename(&moved, world.folder.path()).unwrap();
    assert_eq!(world.says().status, State::Running);
}

#[test]
fn while_links_are_swapped_in_and_out_nothing_outside_changes() {
    let world = World::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let victim = elsewhere.path().join("victim");
    fs::write(&victim, "mine").unwrap();
    let names = ["sync_status.json", ".sync_status.json.tmp", ".sync_status.json.lock", "sync_status.json.broken"];
    std::thread::scope(|threads| {
        let swapping = threads.spawn(|| {
            for round in 0..400 {
                let path = world.folder.path().join(names[round % names.len()]);
                let link = world.folder.path().join("link");
                symlink(&victim, &link).unwrap();
                fs::rename(&link, &path).unwrap();
                std::thread::yield_now();
                let _ = fs::remove_file(&path);
            }
        });
        while !swapping.is_finished() {
            world.begin("shop");
            world.end("shop", RunStatus::Completed);
            let _ = world.file.flush();
        }
    });
    assert_eq!(fs::read_to_string(&victim).unwrap(), "mine");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);
    // A link that came last in the place of what was written is told of until somebody removes it.
    if world.path().is_symlink() {
        fs::remove_file(world.path()).unwrap();
    }
    world.begin("shop");
    let status = world.says();
    assert_eq!(status.status, State::Running, "and afterwards it is written again");
}

#[test]
fn a_link_to_the_folder_is_fine_when_it_is_opened() {
    let elsewhere = tempfile::tempdir().unwrap();
    let (real, link) = (elsewhere.path().join("real"), elsewhere.path().join("current"));
    fs::create_dir(&real).unwrap();
    symlink(&real, &link).unwrap();
    let file = open(&link).unwrap();
    assert_eq!(file.path(), real.canonicalize().unwrap().join("sync_status.json"));
    assert!(file.path().exists());
}

#[test]
fn names_that_try_to_leave_the_folder_are_folders_that_do_not_exist() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    for name in ["..%2f", "%2e%2e", "..\\"] {
        let error = open(&inner.join(name)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_folder_that_is_missing_or_cannot_be_written_is_told_when_it_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let error = open(&missing).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("create it first") && error.to_string().contains("missing"), "{error}");
    let not_a_folder = folder.path().join("file");
    fs::write(&not_a_folder, "").unwrap();
    assert_eq!(open(&not_a_folder).unwrap_err().kind(), ErrorKind::Config);
    // Not even root can make files here.
    #[cfg(target_os = "linux")]
    {
        let error = open(Path::new("/sys")).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::Config), "{error}");
        assert!(error.to_string().contains("cannot be written"), "{error}");
    }
}

#[test]
fn whatever_else_stands_in_the_place_of_the_file_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sync_status.json");
    fs::create_dir(&path).unwrap();
    assert_eq!(open(folder.path()).unwrap_err().kind(), ErrorKind::Config);
    fs::remove_dir(&path).unwrap();
    // A named pipe makes whoever opens it wait for its other end.
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    assert_eq!(open(folder.path()).unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(SyncStatus::read(&path).unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn a_folder_that_is_away_stops_no_run_is_told_once_and_caught_up_with() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(log.clone()).finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let world = World::new();
    let away = world.folder.path().with_extension("away");
    fs::rename(world.folder.path(), &away).unwrap();
    for _ in 0..3 {
        world.begin("shop");
        world.end("shop", RunStatus::Failed);
        assert_eq!(world.file.flush().unwrap_err().kind(), ErrorKind::Config);
    }
    assert_eq!(log.lines("cannot be written; runs go on"), 1, "{}", log.text());
    fs::rename(&away, world.folder.path()).unwrap();
    world.begin("shop");
    let status = world.says();
    assert_eq!((status.status, status.retry_count), (State::Running, 3), "nothing that was told is lost");
    assert_eq!(log.lines("is written again"), 1, "{}", log.text());
    fs::write(world.path(), "{\"secret\":").unwrap();
    world.end("shop", RunStatus::Completed);
    assert_eq!(world.says().status, State::Success);
    assert_eq!(log.lines("it is kept aside, and begun anew"), 1, "{}", log.text());
    assert!(!log.text().contains("secret"));
}

#[test]
fn eight_listeners_on_eight_threads_lose_no_count_and_tear_no_file() {
    const RUNS: u64 = 25;
    let world = World::new();
    std::thread::scope(|threads| {
        let writers: Vec<_> = (0..8)
            .map(|thread| {
                let (folder, clock) = (world.folder.path(), Arc::clone(&world.clock));
                // Half of them share one listener, half have one of their own.
                let file = if thread % 2 == 0 { world.file.clone() } else { StatusFile::open(folder, clock).unwrap() };
                let path = world.path();
                threads.spawn(move || {
                    for run in 0..RUNS {
                        super::runs::fail_once(&file, &format!("pipeline {thread} {run}"));
                        SyncStatus::read(&path).unwrap().expect("the file is always there, whole");
                    }
                    file.flush().unwrap();
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    });
    assert_eq!(world.says().retry_count, 8 * RUNS);
    let mut left: Vec<_> = fs::read_dir(world.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, [".sync_status.json.lock", "sync_status.json"]);
}

#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn lines(&self, with: &str) -> usize {
        self.text().lines().filter(|line| line.contains(with)).count()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl tracing_subscriber::fmt::MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
