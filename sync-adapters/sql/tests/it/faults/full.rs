//! A disk without room: the run stops, says so, and goes on when there is room again.

use std::path::PathBuf;
use std::process::Command;

use super::*;
use sync_test_servers::{Durability, MariaDbServer, PostgresServer};

/// A small disk, which takes the right to mount one, and how many MiB it has.
struct SmallDisk(PathBuf, usize);

impl SmallDisk {
    fn mounted(name: &str, size: usize) -> Option<Self> {
        let folder = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let size_of_it = format!("size={size}m,mode=0777");
        let options = ["-t", "tmpfs", "-o", &size_of_it, "tmpfs"];
        let mounted = Command::new("mount").args(options).arg(&folder).output().is_ok_and(|done| done.status.success());
        if mounted {
            return Some(Self(folder, size));
        }
        std::fs::remove_dir(&folder).unwrap();
        eprintln!("SKIPPED: no small disk can be mounted by this account");
        None
    }

    /// Takes up all the room but for this much.
    fn fill(&self, left: usize) {
        let taken: u64 = Command::new("du")
            .args(["-s", "-B1"])
            .arg(&self.0)
            .output()
            .map(|told| String::from_utf8_lossy(&told.stdout).split_whitespace().next().unwrap().parse().unwrap())
            .unwrap();
        std::fs::write(self.0.join("ballast"), vec![1_u8; (self.1 << 20) - left - taken as usize]).unwrap();
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The server may still be about to end.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
        let _ = std::fs::remove_dir(&self.0);
    }
}

async fn stops_and_goes_on(world: &World, disk: &SmallDisk) {
    let text: String =
        (0_u32..8000).map(|at| char::from(b'!' + (at.wrapping_mul(2_654_435_761) >> 9) as u8 % 90)).collect();
    (1..=800).for_each(|id| world.source.upsert("orders", row(id, 1, &format!("{id} {text}"))));
    let said = world.refusal().await;
    assert!(said.starts_with("Full"), "{:?}: {said}", world.server);
    assert!(world.letters().await.is_empty(), "{:?}: no row is at fault", world.server);
    disk.make_room();
    world.run().await;
    let found = world.ask("SELECT count(*), count(DISTINCT note), min(length(note)) FROM orders WHERE id <= 800").await;
    assert_eq!(found, "800\t800\t8002", "{:?}", world.server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_postgresql_stops_the_run_and_costs_no_row() {
    let Some(disk) = SmallDisk::mounted("sync-full-postgres", 24) else { return };
    let server = PostgresServer::start(Durability::ProcessOnly).await.unwrap();
    let database = server.database().await.unwrap();
    let owner = std::fs::metadata(server.dir().join("data")).unwrap();
    let folder = disk.0.join("tables");
    std::fs::create_dir(&folder).unwrap();
    std::os::unix::fs::chown(&folder, Some(std::os::unix::fs::MetadataExt::uid(&owner)), None).unwrap();
    let create = format!("CREATE TABLESPACE small LOCATION '{}'", folder.display());
    database.client(&create).await.unwrap();
    database.client("CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note text) TABLESPACE small; ALTER TABLE orders ALTER note SET STORAGE EXTERNAL").await.unwrap();
    disk.fill(2 << 20);
    stops_and_goes_on(&World::on(Server::Postgres, database).await, &disk).await;
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_mariadb_stops_the_run_and_costs_no_row() {
    let Some(disk) = SmallDisk::mounted("sync-full-mariadb", 64) else { return };
    let server = MariaDbServer::start(Durability::ProcessOnly).await.unwrap();
    let database = server.database().await.unwrap();
    let owner = std::fs::metadata(server.dir().join("data")).unwrap();
    let folder = disk.0.join("tables");
    std::fs::create_dir(&folder).unwrap();
    std::os::unix::fs::chown(&folder, Some(std::os::unix::fs::MetadataExt::uid(&owner)), None).unwrap();
    let create = format!(
        "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note longtext CHARACTER SET utf8mb4) ENGINE=InnoDB DATA DIRECTORY = '{}'",
        folder.display()
    );
    database.client(&create).await.unwrap();
    // Below 32 MiB, InnoDB keeps no room in a table's file for taking a statement back, and the whole server ends there.
    database.client("INSERT INTO orders SELECT 10000 + seq, 1, repeat('x', 9000) FROM seq_1_to_2500").await.unwrap();
    disk.fill(2 << 20);
    stops_and_goes_on(&World::on(Server::MariaDb, database).await, &disk).await;
    drop(server);
}
