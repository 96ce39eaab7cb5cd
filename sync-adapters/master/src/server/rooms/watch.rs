//! Looks at the feed while anybody is in a room, and tells each room of what is its own.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use sync_core::Result;
use sync_core::two_way::{Access, Entry, Head, Tables};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use super::Inner;
use crate::server::Service;
use crate::server::caller::Caller;
use crate::server::resolve::theirs;
use crate::wire::Mark;

/// Where more than so many entries came at once, all rooms are told, and nothing is looked through.
const MANY: u64 = 10_000;
/// How many entries are looked through at a time.
const PAGE: usize = 500;

impl From<Head> for Mark {
    fn from(head: Head) -> Self {
        Self { feed: head.epoch, up_to: head.seq }
    }
}

/// Until the last member has left.
pub(super) async fn watch(service: Arc<Service>, rooms: Arc<Inner>) {
    let (look, queue) = (rooms.settings.look, rooms.settings.queue);
    let mut ticks = interval_at(Instant::now() + queue, queue);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        let tick = tokio::select! { biased;
            () = rooms.stop.cancelled() => return,
            _ = ticks.tick() => true,
            () = rooms.stirred.notified() => false,
            () = sleep(look) => false,
        };
        {
            let mut table = rooms.seats.table();
            if table.rooms.is_empty() {
                table.watched = false;
                return;
            }
        }
        let looked = async {
            news(&service, &rooms).await?;
            if tick { depths(&service, &rooms).await } else { Ok(()) }
        };
        let looked: Result<()> = looked.await;
        match &looked {
            Err(error) if !failing => tracing::warn!(%error, "sync: rooms cannot be told of news; it is tried again"),
            Ok(()) if failing => tracing::info!("sync: rooms are told of news again"),
            _ => {}
        }
        failing = looked.is_err();
    }
}

/// Tells each room of what came since the last look.
async fn news(service: &Service, rooms: &Inner) -> Result<()> {
    let head = service.hub.replica().sequence().await?;
    let (seen, open) = {
        let table = rooms.seats.table();
        let access = |room: &super::seats::Room| room.caller.access().clone();
        let open: Vec<(String, Access)> = table.rooms.iter().map(|(name, room)| (name.clone(), access(room))).collect();
        (table.seen, open)
    };
    if seen.is_some_and(|seen| seen.epoch == head.epoch && seen.seq == head.seq) {
        return Ok(());
    }
    let concerned = match seen.filter(|seen| can_look_through(seen, &head)) {
        Some(seen) => concerned(service, open, seen.seq).await?,
        None => open.into_iter().map(|(name, _)| name).collect(),
    };
    let mut table = rooms.seats.table();
    table.seen = Some(head);
    for (name, room) in &table.rooms {
        if concerned.contains(name) {
            room.latest.send_modify(|latest| latest.at = Some(head.into()));
        }
    }
    Ok(())
}

fn can_look_through(seen: &Head, head: &Head) -> bool {
    seen.epoch == head.epoch && seen.seq <= head.seq && head.seq - seen.seq <= MANY && seen.seq >= head.trimmed
}

/// Of these rooms, those that an entry after this place is for.
async fn concerned(service: &Service, mut open: Vec<(String, Access)>, mut after: u64) -> Result<HashSet<String>> {
    let mut concerned = HashSet::new();
    let mut tx = service.hub.replica().look().await?;
    let tables = service.hub.replica().tables();
    while !open.is_empty() {
        let entries = tx.feed(after, PAGE).await?;
        let Some(last) = entries.last() else { break };
        after = last.seq;
        open.retain(|(name, access)| {
            let is_theirs = entries.iter().any(|entry| is_for(entry, access, tables));
            if is_theirs {
                concerned.insert(name.clone());
            }
            !is_theirs
        });
    }
    Ok(concerned)
}

/// Whether a pull would show it.
fn is_for(entry: &Entry, access: &Access, tables: &Tables) -> bool {
    let Some(table) = tables.get(&entry.table) else { return false };
    [&entry.before, &entry.after].into_iter().flatten().any(|row| access.holds(table, row))
}

/// Whether somebody who has read up to there has something to pull.
pub(super) async fn has_news(service: &Service, caller: &Caller, known: Mark) -> Result<Option<Mark>> {
    let head = service.hub.replica().sequence().await?;
    if known == head.into() {
        return Ok(None);
    }
    let seen = Head { epoch: known.feed, seq: known.up_to, ..Head::default() };
    let is_new = !can_look_through(&seen, &head) || {
        let open = vec![(String::new(), caller.access().clone())];
        !concerned(service, open, seen.seq).await?.is_empty()
    };
    Ok(is_new.then(|| head.into()))
}

/// Tells each room how many of its groups wait, and that some were decided where they wait no longer.
async fn depths(service: &Service, rooms: &Inner) -> Result<()> {
    let callers: Vec<(String, Caller)> =
        rooms.seats.table().rooms.iter().map(|(name, room)| (name.clone(), room.caller.clone())).collect();
    let all = service.hub.inbox(&Access::everything()).await?;
    for (name, caller) in callers {
        // Most often nothing waits, and nobody's rows need be looked at.
        let any = all.iter().any(|group| caller.owns(&group.peer));
        let waiting = if any { waiting(service, &caller).await? } else { BTreeSet::new() };
        let mut table = rooms.seats.table();
        let Some(room) = table.rooms.get_mut(&name) else { continue };
        let left = room.waiting.as_ref().is_some_and(|known| !known.is_subset(&waiting));
        room.latest.send_modify(|latest| {
            latest.decided += u64::from(left);
            latest.ticks += 1;
            latest.waiting = waiting.len();
        });
        room.waiting = Some(waiting);
    }
    Ok(())
}

/// What waits in this caller's name, by id.
pub(super) async fn waiting(service: &Service, caller: &Caller) -> Result<BTreeSet<String>> {
    Ok(theirs(service, caller).await?.into_iter().map(|group| group.id).collect())
}
