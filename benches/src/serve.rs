//! The API: pages rendered once at the start, so that serving costs as little as it can.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::Result;
use crate::records::{Order, Record, record};

/// Records on a page.
pub(crate) const PAGE: u64 = 1000;

struct Served {
    records: u64,
    order: Order,
    pages: Vec<Bytes>,
    last_updated: String,
    /// The records that were changed, in the order of the listing.
    changed: Mutex<(u32, Vec<Record>)>,
    answered: AtomicU64,
    latency: Duration,
}

#[derive(Debug, Deserialize)]
struct Asked {
    cursor: Option<u64>,
    /// The number of a page, from 1 on, where no cursor is given.
    page: Option<u64>,
    updated_since: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Change {
    percent: u64,
}

/// Serves until killed; the address is the first line of the output.
pub(crate) fn run(records: u64, order: Order, latency: u64) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let served = Arc::new(Served {
            records,
            order,
            pages: (0..records.div_ceil(PAGE)).map(|page| render_page(page, records, order)).collect(),
            last_updated: record(records.saturating_sub(1), order, 0).updated_at.into(),
            changed: Mutex::default(),
            answered: AtomicU64::new(0),
            latency: Duration::from_millis(latency),
        });
        println!("http://{}", listener.local_addr()?);
        let router = Router::new()
            .route("/records", get(answer))
            .route("/mutate", post(mutate))
            .route("/answered", get(answered))
            .with_state(served);
        axum::serve(listener, router).await?;
        Ok(())
    })
}

fn render_page(page: u64, records: u64, order: Order) -> Bytes {
    let places = page * PAGE..((page + 1) * PAGE).min(records);
    let more = places.end < records;
    let rows: Vec<Record> = places.map(|place| record(place, order, 0)).collect();
    render(&rows, more.then_some(page + 1), records)
}

fn render(rows: &[Record], next: Option<u64>, total: u64) -> Bytes {
    let next = next.map_or("null".to_owned(), |next| format!("\"{next}\""));
    let rows = serde_json::to_string(rows).unwrap_or_default();
    format!("{{\"data\":{rows},\"next\":{next},\"total\":{total}}}").into()
}

async fn answer(State(served): State<Arc<Served>>, Query(asked): Query<Asked>) -> Response {
    if !served.latency.is_zero() {
        tokio::time::sleep(served.latency).await;
    }
    served.answered.fetch_add(1, Ordering::Relaxed);
    let page = asked.cursor.or(asked.page.map(|page| page.saturating_sub(1))).unwrap_or(0);
    // All records are younger than the year 2024.
    let body = match asked.updated_since.filter(|since| since.get(..4) >= Some("2024")) {
        None => served.pages.get(page as usize).cloned(),
        Some(since) => Some(since_page(&served, &since, page)),
    };
    match body {
        Some(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Records changed at or after an instant. Only instants at or after the last unchanged record are asked for, or such before all of them.
fn since_page(served: &Served, since: &str, page: u64) -> Bytes {
    let changed = served.changed.lock().unwrap_or_else(PoisonError::into_inner);
    // The client may write the instant with digits after the seconds.
    let since = since.get(..19).unwrap_or(since);
    let mut rows: Vec<Record> =
        changed.1.iter().filter(|record| record.updated_at.get(..19) >= Some(since)).cloned().collect();
    if served.last_updated.get(..19) >= Some(since) {
        rows.push(record(served.records - 1, served.order, 0));
    }
    let total = rows.len() as u64;
    let from = (page * PAGE).min(total) as usize;
    let until = ((page + 1) * PAGE).min(total) as usize;
    render(&rows[from..until], (until < rows.len()).then_some(page + 1), total)
}

async fn answered(State(served): State<Arc<Served>>) -> String {
    served.answered.load(Ordering::Relaxed).to_string()
}

async fn mutate(State(served): State<Arc<Served>>, Query(change): Query<Change>) -> StatusCode {
    let mut changed = served.changed.lock().unwrap_or_else(PoisonError::into_inner);
    changed.0 += 1;
    let (times, step) = (changed.0, (100 / change.percent.clamp(1, 100)) as usize);
    changed.1 = (0..served.records - 1).step_by(step).map(|place| record(place, served.order, times)).collect();
    StatusCode::NO_CONTENT
}
