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
    next: Option<String>,
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
        let (mut requests, mut cursor) = (0, None::<String>);
        loop {
            let mut address = format!("{url}/records?limit={PAGE}");
            cursor.take().into_iter().for_each(|cursor| address += &format!("&cursor={cursor}"));
            since.iter().for_each(|since| address += &format!("&updated_since={since}"));
            let body = client.get(address).send().await?.error_for_status()?.bytes().await?;
            requests += 1;
            let answer: Answer<'_> = serde_json::from_slice(&body)?;
            cursor.clone_from(&answer.next);
            pages.send((Page::of(&answer.data), answer.next))?;
            if cursor.is_none() {
                break;
            }
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
    Figures::of(records, began.elapsed(), 0)?.print()
}
