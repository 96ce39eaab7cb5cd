//! The limit: fetching and writing overlapped, by hand, for exactly this API and this table.

use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Instant;

use serde::Deserialize;

use crate::Result;
use crate::figures::Figures;
use crate::page::{Page, Row};
use crate::records::{Order, record};
use crate::serve::PAGE;
use crate::target::Target;

/// An answer, its texts still in the body.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    data: Vec<Row<'a>>,
}

/// The cursor of the next page, which stands in the last bytes of the body.
fn next_of(body: &[u8]) -> Result<Option<String>> {
    let tail = std::str::from_utf8(&body[body.len().saturating_sub(64)..])?;
    let (_, next) = tail.rsplit_once("\"next\":").ok_or("no next page is named")?;
    Ok(next.strip_prefix('"').and_then(|next| next.split_once('"')).map(|(next, _)| next.to_owned()))
}

/// Brings everything, or what has changed, from the API.
pub(crate) fn run(url: &str, db: &Path, order: Order) -> Result<()> {
    let began = Instant::now();
    let target = Target::open(db)?;
    let since = target.since()?;
    let (pages, inbox) = sync_channel::<(Page, Option<String>)>(8);
    let staged = order == Order::Random && since.is_none();
    let writer = thread::spawn(move || write(target, &inbox, staged));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let requests = runtime.block_on(async {
        let client = reqwest::Client::new();
        let fetch = |cursor: Option<&str>| {
            let mut address = format!("{url}/records?limit={PAGE}");
            cursor.into_iter().for_each(|cursor| address += &format!("&cursor={cursor}"));
            since.iter().for_each(|since| address += &format!("&updated_since={since}"));
            let request = client.get(address);
            tokio::spawn(async move { request.send().await?.error_for_status()?.bytes().await })
        };
        let (mut requests, mut coming) = (0, Some(fetch(None)));
        while let Some(page) = coming.take() {
            let body = page.await??;
            requests += 1;
            // The next page is asked for before this one is parsed: where its address stands is known by hand.
            let next = next_of(&body)?;
            coming = next.as_deref().map(|next| fetch(Some(next)));
            tokio::task::yield_now().await;
            let answer: Answer<'_> = serde_json::from_slice(&body)?;
            pages.send((Page::of(&answer.data), next))?;
        }
        drop(pages);
        Ok::<u64, Box<dyn std::error::Error + Send + Sync>>(requests)
    })?;
    let records = writer.join().map_err(|_| "the writer panicked")??;
    Figures::of(records, began.elapsed(), requests)?.print()
}

/// Writes pages as they come, as many in one transaction as are ready.
///
/// Random keys are staged and sorted once: in the same runs, 50,000 sorted rows a transaction reached half of that at a
/// million records.
fn write(mut target: Target, inbox: &Receiver<(Page, Option<String>)>, staged: bool) -> Result<u64> {
    let (mut records, mut newest) = (0, None::<String>);
    while let Ok((first, mut next)) = inbox.recv() {
        let mut ready = vec![first];
        while ready.len() < 5
            && let Ok((page, after)) = inbox.try_recv()
        {
            ready.push(page);
            next = after;
        }
        records += ready.iter().map(|page| page.rows().count() as u64).sum::<u64>();
        let last = ready.iter().flat_map(Page::rows).map(|row| row.updated_at).max();
        newest = newest.max(last.map(str::to_owned));
        let rows = ready.iter().flat_map(Page::rows);
        if staged {
            target.stage(rows, next.as_deref())?;
        } else {
            let since = if next.is_none() { newest.as_deref() } else { None };
            target.upsert(rows, since, next.as_deref())?;
        }
    }
    if staged {
        target.publish(newest.as_deref())?;
    }
    // The database is closed here, which works the log into the file and flushes it.
    Ok(records)
}

/// The driver alone: the same writes, without network and parsing.
pub(crate) fn bare(records: u64, db: &Path, order: Order) -> Result<()> {
    let mut target = Target::open(db)?;
    let pages: Vec<Page> = (0..records)
        .step_by(5000)
        .map(|from| {
            let records: Vec<_> = (from..(from + 5000).min(records)).map(|place| record(place, order, 0)).collect();
            Page::of(&records.iter().map(Row::from).collect::<Vec<_>>())
        })
        .collect();
    let began = Instant::now();
    for page in &pages {
        match order {
            Order::Key => target.upsert(page.rows(), None, None)?,
            Order::Random => target.stage(page.rows(), None)?,
        }
    }
    if order == Order::Random {
        target.publish(None)?;
    }
    // Closing works the log into the file and flushes it. The programs beside it do so within their time, too.
    drop(target);
    Figures::of(records, began.elapsed(), 0)?.print()
}
