//! For many checks of the replica suite a replica that is broken in one way, which that check must reject.

use async_trait::async_trait;
use sync_core::memory::MemoryReplica;
use sync_core::model::Origin;
use sync_core::two_way::{Book, Entry, Head, Held, Outline, Replica, RowWrite, Stamp, Table, Tables, Transaction};
use sync_core::{Error, Key, Result, Value};
use sync_testkit::replica::{self, Subject};

/// What is broken, and the checks that must see it.
const TWINS: &[(Bug, &[&str])] = &[
    (Bug::LosesDeletes, &["every_change_stands_in_the_feed_once", "a_deleted_row_is_held"]),
    (Bug::ForgetsTheRowBefore, &["every_change_stands_in_the_feed_once", "changes_of_a_row_stand_in_order"]),
    (Bug::TellsEntriesApart, &["a_transaction_stands_together", "a_write_is_a_group_of_its_own"]),
    (Bug::CutsGroups, &["a_page_ends_behind_a_group"]),
    (Bug::OutlinesBackwards, &["an_outline_is_the_feed_without_its_rows"]),
    (Bug::BeginsAnewEachTime, &["nothing_appears_below_a_reader"]),
    (Bug::ForgetsTheStamp, &["a_write_keeps_its_stamp", "many_writes_are_as_each_alone"]),
    (Bug::CountsAllAsUpstream, &["what_the_host_writes_is_its_own", "what_comes_after_a_write_is_the_hosts"]),
    (Bug::SkipsWhatIsThere, &["a_row_that_is_there_already_is_not_written", "many_writes_are_as_each_alone"]),
    (Bug::KeepsWhatCameBefore, &["a_refused_row_takes_all_with_it", "what_is_refused_leaves_nothing"]),
    (Bug::SkipsUnknownDeletes, &["a_delete_of_an_unknown_row_is_noted"]),
    (Bug::WritesBackwards, &["writes_are_made_in_order", "many_writes_are_as_each_alone"]),
    (Bug::CommitsWhatIsDropped, &["a_dropped_transaction_is_rolled_back", "books_are_rolled_back"]),
    (
        Bug::NamesNoCode,
        &[
            "a_unique_value_is_refused_at_its_row",
            "a_missing_parent_is_refused_at_its_row",
            "a_parent_that_is_needed_is_not_deleted",
        ],
    ),
    (Bug::ParentsFirst, &["rows_in_the_way_come_behind_what_hangs_on_them"]),
    (Bug::PendingIsEverything, &["pending_names_what_was_written_here"]),
    (Bug::PendingIsTheFeed, &["pending_names_what_the_feed_does_not_hold_yet"]),
    (Bug::LooksAgain, &["a_look_sees_one_moment"]),
    (Bug::ScansFromTheStart, &["a_scan_goes_by_key"]),
    (Bug::HasNoNonce, &["the_head_names_the_last_entry"]),
    (Bug::TrimsNothing, &["what_is_trimmed_is_forgotten"]),
    (Bug::CountsAnew, &["a_new_life_goes_on_counting"]),
    (Bug::ListsEverything, &["books_hold_what_was_put"]),
    (Bug::PutsTheFirstAlone, &["many_things_are_put_into_a_book"]),
];

#[tokio::test]
async fn every_broken_replica_is_rejected_by_its_check() {
    for (bug, checks) in TWINS {
        let report = replica::conformance(async |_, tables, clock| {
            let shops =
                MemoryReplica::new("here", tables, clock).unique("shops", &["code"]).parent("tills", "shop", "shops");
            Ok::<_, Error>(Subject::new(Broken { bug: *bug, sound: shops.clone() }, shops))
        });
        let report = report.await;
        for check in *checks {
            assert!(report.broken().contains(check), "{bug:?} was not seen by {check}\n{report}");
        }
    }
}

#[test]
fn the_twins_name_checks_that_there_are() {
    let unknown = |check: &&&str| !replica::names().contains(*check);
    assert_eq!(TWINS.iter().flat_map(|(_, checks)| *checks).find(unknown), None);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    LosesDeletes,
    ForgetsTheRowBefore,
    TellsEntriesApart,
    CutsGroups,
    OutlinesBackwards,
    BeginsAnewEachTime,
    ForgetsTheStamp,
    CountsAllAsUpstream,
    SkipsWhatIsThere,
    SkipsUnknownDeletes,
    WritesBackwards,
    CommitsWhatIsDropped,
    NamesNoCode,
    ParentsFirst,
    PendingIsEverything,
    PendingIsTheFeed,
    LooksAgain,
    ScansFromTheStart,
    HasNoNonce,
    TrimsNothing,
    CountsAnew,
    ListsEverything,
    PutsTheFirstAlone,
    KeepsWhatCameBefore,
}

#[derive(Debug)]
struct Broken {
    bug: Bug,
    sound: MemoryReplica,
}

#[derive(Debug)]
struct BrokenTransaction {
    bug: Bug,
    sound: Option<Box<dyn Transaction>>,
    replica: MemoryReplica,
}

#[async_trait]
impl Replica for Broken {
    fn name(&self) -> &Origin {
        self.sound.name()
    }

    fn tables(&self) -> &Tables {
        self.sound.tables()
    }

    async fn begin(&self) -> Result<Box<dyn Transaction>> {
        let sound = Some(self.sound.begin().await?);
        Ok(Box::new(BrokenTransaction { bug: self.bug, sound, replica: self.sound.clone() }))
    }

    async fn look(&self) -> Result<Box<dyn Transaction>> {
        let sound = Some(self.sound.look().await?);
        Ok(Box::new(BrokenTransaction { bug: self.bug, sound, replica: self.sound.clone() }))
    }

    async fn sequence(&self) -> Result<Head> {
        self.sound.sequence().await
    }
}

impl Drop for BrokenTransaction {
    fn drop(&mut self) {
        if let (Bug::CommitsWhatIsDropped, Some(sound)) = (self.bug, self.sound.take()) {
            futures::executor::block_on(sound.commit()).unwrap();
        }
    }
}

impl BrokenTransaction {
    fn has(&self, bug: Bug) -> bool {
        self.bug == bug
    }

    async fn sound(&mut self) -> Result<&mut Box<dyn Transaction>> {
        if self.has(Bug::LooksAgain) {
            self.sound = Some(self.replica.look().await?);
        }
        Ok(self.sound.as_mut().unwrap())
    }
}

#[async_trait]
impl Transaction for BrokenTransaction {
    async fn rows(&mut self, table: &Table, keys: &[Key]) -> Result<Vec<Held>> {
        let mut rows = self.sound().await?.rows(table, keys).await?;
        for held in rows.iter_mut().filter(|held| held.row.is_none() && self.bug == Bug::LosesDeletes) {
            held.stamp = None;
        }
        Ok(rows)
    }

    async fn write(&mut self, writes: &[RowWrite]) -> Result<Vec<u64>> {
        let mut writes = writes.to_vec();
        if self.has(Bug::WritesBackwards) {
            writes.reverse();
        }
        for write in &mut writes {
            let held = self.sound().await?.rows(&write.table, std::slice::from_ref(&write.key)).await?.remove(0);
            if self.has(Bug::ForgetsTheStamp) {
                write.origin = "here".into();
            }
            if self.has(Bug::SkipsWhatIsThere) && held.row == write.row {
                write.seen = 0;
            }
            if self.has(Bug::SkipsUnknownDeletes) && held.stamp.is_none() && write.row.is_none() {
                return Ok(vec![0]);
            }
        }
        let done = self.sound().await?.write(&writes).await;
        if let (Bug::KeepsWhatCameBefore, Err(error)) = (self.bug, &done)
            && let Some(at) = error.row()
        {
            drop(self.sound.take());
            let mut tx = self.replica.begin().await?;
            tx.write(&writes[..at.row]).await?;
            tx.commit().await?;
            self.sound = Some(self.replica.begin().await?);
        }
        done.map_err(|error| if self.bug == Bug::NamesNoCode { Error::data("refused") } else { error })
    }

    async fn clashing(&mut self, write: &RowWrite) -> Result<Vec<(String, Key)>> {
        let mut clashing = self.sound().await?.clashing(write).await?;
        if self.has(Bug::ParentsFirst) {
            clashing.reverse();
        }
        Ok(clashing)
    }

    async fn scan(
        &mut self,
        table: &Table,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<(Key, Stamp, Vec<Value>)>> {
        let after = after.filter(|_| self.bug != Bug::ScansFromTheStart);
        self.sound().await?.scan(table, after, limit).await
    }

    async fn feed(&mut self, after: u64, limit: usize) -> Result<Vec<Entry>> {
        let mut entries = self.sound().await?.feed(after, limit).await?;
        match self.bug {
            Bug::LosesDeletes => entries.retain(|entry| entry.after.is_some()),
            Bug::ForgetsTheRowBefore => entries.iter_mut().for_each(|entry| entry.before = None),
            Bug::TellsEntriesApart => entries.iter_mut().for_each(|entry| entry.group = entry.seq),
            Bug::CutsGroups => entries.truncate(limit),
            Bug::BeginsAnewEachTime => entries.reverse(),
            Bug::CountsAllAsUpstream => entries.iter_mut().for_each(|entry| entry.upstream = true),
            _ => {}
        }
        Ok(entries)
    }

    async fn outline(&mut self, after: u64, limit: usize) -> Result<Vec<Outline>> {
        let mut outline = self.sound().await?.outline(after, limit).await?;
        if self.has(Bug::OutlinesBackwards) {
            outline.reverse();
        }
        Ok(outline)
    }

    async fn pending(&mut self, table: &Table, keys: &[Key], above: u64) -> Result<Vec<Entry>> {
        let mut pending = self.sound().await?.pending(table, keys, above).await?;
        match self.bug {
            Bug::PendingIsTheFeed => pending.retain(|entry| entry.seq > 0),
            Bug::PendingIsEverything => pending = self.sound().await?.feed(above, usize::MAX).await?,
            _ => {}
        }
        Ok(pending)
    }

    async fn head(&mut self) -> Result<Head> {
        self.sound().await?.head().await
    }

    async fn nonce(&mut self, seq: u64) -> Result<Option<u64>> {
        if self.has(Bug::HasNoNonce) {
            return Ok(None);
        }
        self.sound().await?.nonce(seq).await
    }

    async fn begin_epoch(&mut self, epoch: u64, rev: u64) -> Result<()> {
        let rev = if self.has(Bug::CountsAnew) { 0 } else { rev };
        self.sound().await?.begin_epoch(epoch, rev).await
    }

    async fn trim(&mut self, up_to: u64) -> Result<u64> {
        if self.has(Bug::TrimsNothing) {
            return Ok(0);
        }
        self.sound().await?.trim(up_to).await
    }

    async fn get(&mut self, book: Book, id: &str) -> Result<Option<Vec<u8>>> {
        self.sound().await?.get(book, id).await
    }

    async fn put(&mut self, book: Book, id: &str, body: Option<Vec<u8>>) -> Result<()> {
        self.sound().await?.put(book, id, body).await
    }

    async fn put_all(&mut self, book: Book, mut bodies: Vec<(String, Vec<u8>)>) -> Result<()> {
        if self.has(Bug::PutsTheFirstAlone) {
            bodies.truncate(1);
        }
        self.sound().await?.put_all(book, bodies).await
    }

    async fn list(&mut self, book: Book, prefix: &str, after: &str, limit: usize) -> Result<Vec<(String, Vec<u8>)>> {
        let prefix = if self.has(Bug::ListsEverything) { "" } else { prefix };
        self.sound().await?.list(book, prefix, after, limit).await
    }

    async fn commit(mut self: Box<Self>) -> Result<()> {
        match self.sound.take() {
            Some(sound) => sound.commit().await,
            None => Ok(()),
        }
    }
}
