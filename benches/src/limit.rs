//! The limit: fetching and writing overlapped, by hand, for exactly this API and this table.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Instant;

use serde::Deserialize;

use crate::Result;
use crate::figures::Figures;
use crate::page::{Page, Row};
use crate::records::{Order, record};
use crate::serve::PAGE;
use crate::target::{self, Target};

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
pub(crate) fn run(url: &str, to: &str, order: Order) -> Result<()> {
    let began = Instant::now();
    let mut target = target::open(to, order)?;
    let (since, page) = target.reached()?;
    let (pages, inbox) = sync_channel::<(Page, Option<String>)>(8);
    let writer = thread::spawn(move || write(&mut *target, &inbox));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let requests = runtime.block_on(async {
        // This API is served over plain http: no certificates need be read.
        let client = reqwest::Client::builder().tls_certs_only([]).build()?;
        let fetch = |cursor: Option<&str>| {
            let mut address = format!("{url}/records?limit={PAGE}");
            cursor.into_iter().for_each(|cursor| address += &format!("&cursor={cursor}"));
            since.iter().for_each(|since| address += &format!("&updated_since={since}"));
            let request = client.get(address);
            tokio::spawn(async move { request.send().await?.error_for_status()?.bytes().await })
        };
        let (mut requests, mut coming) = (0, Some(fetch(page.as_deref())));
        while let Some(page) = coming.take() {
            let body = page.await??;
            requests += 1;
            // The next page is asked for before this one is parsed: where its address stands is known by hand.
            let next = next_of(&body)?;
            coming = next.as_deref().map(|next| fetch(Some(next)));
            tokio::task::yield_now().await;
            let answer: Answer<'_> = sonic_rs::from_slice(&body)?;
            pages.send((Page::of(&answer.data), next))?;
        }
        drop(pages);
        Ok::<u64, Box<dyn std::error::Error + Send + Sync>>(requests)
    })?;
    let records = writer.join().map_err(|_| "the writer panicked")??;
    Figures::of(records, began.elapsed(), requests)?.print()
}

/// Writes pages as they come, as many in one transaction as are ready.
fn write(target: &mut dyn Target, inbox: &Receiver<(Page, Option<String>)>) -> Result<u64> {
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
        target.write(&ready, newest.as_deref(), next.as_deref())?;
    }
    // The database is closed here, which works the log into the file and flushes it.
    Ok(records)
}

/// The driver alone: the same writes, without network and parsing.
pub(crate) fn bare(records: u64, to: &str, order: Order) -> Result<()> {
    let mut target = target::open(to, order)?;
    let pages: Vec<Page> = (0..records)
        .step_by(PAGE as usize)
        .map(|from| {
            let records: Vec<_> = (from..(from + PAGE).min(records)).map(|place| record(place, order, 0)).collect();
            Page::of(&records.iter().map(Row::from).collect::<Vec<_>>())
        })
        .collect();
    let began = Instant::now();
    let mut units = pages.chunks(5).peekable();
    while let Some(unit) = units.next() {
        target.write(unit, None, units.peek().map(|_| "more"))?;
    }
    // Closing works the log into the file and flushes it. The programs beside it do so within their time, too.
    drop(target);
    Figures::of(records, began.elapsed(), 0)?.print()
}
