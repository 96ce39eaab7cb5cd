//! The source suite of the testkit, over a table behind an API.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use sync_core::{Error, Key, Result};
use sync_rest::{Endpoint, ParentConfig, RestSource, get};
use sync_testkit::source::{Act, Hand, conformance, with_hand};

use crate::reading::orders;
use crate::server::{Reply, Request, Server};

/// Rows with their ids and versions, in the order of their ids.
#[derive(Clone)]
struct Table(Arc<Mutex<Vec<Row>>>);

type Row = (i64, DateTime<Utc>);

impl Table {
    /// 35 rows from id 100 on, two of each version, ten minutes apart.
    fn new() -> Self {
        let start: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
        Self(Arc::new(Mutex::new((0..35).map(|n| (100 + n, start + TimeDelta::minutes(n / 2 * 10))).collect())))
    }

    fn page(&self, request: &Request) -> Reply {
        let since: Option<DateTime<Utc>> = request.param("since").map(|text| text.parse().unwrap());
        let after = request.number("cursor").unwrap_or(0) as i64;
        let rows = self.0.lock().unwrap();
        let listed: Vec<_> = rows.iter().filter(|(_, at)| since.is_none_or(|since| *at >= since)).collect();
        let page: Vec<_> = listed.iter().filter(|(id, _)| *id > after).take(10).collect();
        let last = page.last().map(|(id, _)| *id).filter(|last| listed.iter().any(|(id, _)| id > last));
        let data: Vec<_> = page.iter().map(|(id, at)| json!({"id": id, "updated_at": at.to_rfc3339()})).collect();
        Reply::json(&json!({"data": data, "next": last, "total": listed.len()}))
    }
}

#[async_trait]
impl Hand for Table {
    async fn act(&self, act: Act) -> Result<Option<(String, Key)>> {
        let mut rows = self.0.lock().unwrap();
        let highest = rows.iter().map(|(_, at)| *at).max().unwrap();
        let (id, newest) = (rows.last().unwrap().0 + 1, highest + TimeDelta::seconds(1));
        let id = match act {
            Act::Add => {
                rows.push((id, newest));
                id
            }
            Act::TieAbove => {
                rows.push((id, highest));
                id
            }
            Act::TieBelow => {
                let id = rows[0].0 - 1;
                rows.insert(0, (id, highest));
                id
            }
            Act::Change => {
                rows[4].1 = newest;
                rows[4].0
            }
            Act::Remove => rows.remove(7).0,
            _ => return Ok(None),
        };
        Ok(Some(("orders".to_owned(), Key::new([id]))))
    }
}

async fn assert_conforms(endpoint: Endpoint, skipped_at_most: usize) {
    let report = conformance(async |_| {
        let table = Table::new();
        let serving = table.clone();
        let server = Server::start(move |request| match request.path.as_str() {
            "/accounts" => Reply::json(&json!([{"id": 7}])),
            _ => serving.page(request),
        })
        .await;
        let source: RestSource = server.source(&orders(), endpoint.clone());
        Ok::<_, Error>(with_hand(source, table))
    })
    .await;
    report.assert();
    assert!(report.skipped().len() <= skipped_at_most, "{:?}", report.skipped());
}

#[tokio::test]
async fn a_source_with_versions_keeps_the_contract() {
    assert_conforms(get("/orders").records("/data").cursor("/next").total("/total").since("since").ordered_by_key(), 5)
        .await;
}

#[tokio::test]
async fn a_source_without_versions_keeps_the_contract() {
    assert_conforms(get("/orders").records("/data").cursor("/next").ordered_by_key(), 14).await;
}

#[tokio::test]
async fn a_source_whose_partitions_are_listed_keeps_the_contract() {
    let orders = get("/{account}/orders").records("/data").cursor("/next").total("/total").since("since");
    let accounts = ParentConfig::new("/accounts", "/id").variable("account", "/id");
    assert_conforms(orders.ordered_by_key().partitions_from(accounts), 4).await;
}
