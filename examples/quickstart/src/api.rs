//! The source: a small paginated HTTP API on a free loopback port.
//!
//! `GET /<table>?limit=&cursor=&updated_since=` answers `{"data": [...], "next": "<cursor>" | null, "total": N}`.
//! Records come by key. `updated_since` (RFC 3339, inclusive) is for tables that have a version column.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chrono::{DateTime, Utc};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::error::{Error, Result};
use crate::table::{Cell, DataSet, Key, Table, token};

/// Records on a page where the request names no limit, and the most it may ask for.
const USUAL_LIMIT: usize = 100;
const HIGHEST_LIMIT: usize = 1000;

/// A running server. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Api {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Api {
    /// Serves a data set on a free port of the loopback interface.
    ///
    /// # Errors
    /// No port can be had.
    pub(crate) async fn serve(data: &DataSet) -> Result<Self> {
        let failed = |error| Error::caused("cannot open a port on the loopback interface", error);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let served = Served { listings: listings(data)? };
        let router = Router::new().route("/{table}", get(answer)).with_state(Arc::new(served));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("the API stopped: {error}");
            }
        });
        Ok(Self { address, server })
    }

    /// Where the API is, without a slash at the end.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[derive(Debug)]
struct Served {
    listings: HashMap<String, Listing>,
}

fn listings(data: &DataSet) -> Result<HashMap<String, Listing>> {
    data.tables.iter().map(|table| Ok((table.name.clone(), Listing::of(table)?))).collect()
}

async fn answer(
    State(served): State<Arc<Served>>,
    Path(table): Path<String>,
    request: std::result::Result<Query<Request>, QueryRejection>,
) -> Response {
    let page =
        served.listings.get(&table).ok_or_else(|| (StatusCode::NOT_FOUND, format!("there is no table {table:?}")));
    let page = page.and_then(|listing| {
        let Query(request) = request.map_err(|error| (StatusCode::BAD_REQUEST, error.body_text()))?;
        listing.page(&request).map_err(|text| (StatusCode::BAD_REQUEST, text))
    });
    match page {
        Ok(page) => Json(page).into_response(),
        Err((status, text)) => (status, Json(serde_json::json!({ "error": text }))).into_response(),
    }
}

/// What a client may ask for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    limit: Option<usize>,
    cursor: Option<String>,
    updated_since: Option<DateTime<Utc>>,
}

/// One page of a listing.
#[derive(Debug, Serialize)]
struct Page<'a> {
    data: Vec<&'a Cell>,
    next: Option<&'a str>,
    total: usize,
}

/// The records of one table by key, ready to be sent.
#[derive(Debug)]
struct Listing {
    key_width: usize,
    versioned: bool,
    records: Vec<Record>,
}

#[derive(Debug)]
struct Record {
    key: Key,
    cursor: String,
    updated: Option<DateTime<Utc>>,
    body: Cell,
}

impl Listing {
    fn of(table: &Table) -> Result<Self> {
        let mut records = table.rows.iter().map(|row| Record::of(table, row)).collect::<Result<Vec<_>>>()?;
        records.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { key_width: table.key_width, versioned: table.version.is_some(), records })
    }

    fn page(&self, request: &Request) -> std::result::Result<Page<'_>, String> {
        let limit = request.limit.unwrap_or(USUAL_LIMIT);
        if !(1..=HIGHEST_LIMIT).contains(&limit) {
            return Err(format!("limit is {limit}: it goes from 1 to {HIGHEST_LIMIT}"));
        }
        if request.updated_since.is_some() && !self.versioned {
            return Err("this table does not say when its records were updated: leave updated_since out".to_owned());
        }
        let wanted = |record: &&Record| request.updated_since.is_none_or(|since| record.updated >= Some(since));
        let total = self.records.iter().filter(wanted).count();
        let mut rest = self.records[self.start(request)?..].iter().filter(wanted);
        let page: Vec<&Record> = rest.by_ref().take(limit).collect();
        let next = rest.next().and(page.last()).map(|last| last.cursor.as_str());
        Ok(Page { data: page.iter().map(|record| &record.body).collect(), next, total })
    }

    /// Where the records after the cursor begin.
    fn start(&self, request: &Request) -> std::result::Result<usize, String> {
        let Some(cursor) = &request.cursor else { return Ok(0) };
        let after = Key::parse(cursor).filter(|key| key.is_of_width(self.key_width));
        let after =
            after.ok_or_else(|| format!("{cursor:?} is no cursor of this table: send `next` of the page before"))?;
        Ok(self.records.partition_point(|record| record.key <= after))
    }
}

impl Record {
    fn of(table: &Table, row: &[Cell]) -> Result<Self> {
        let broken = |what: &str| Error::new(format!("a row of {} has {what}: {}", table.name, table.key_text(row)));
        let key = Key::of(&row[..table.key_width]).ok_or_else(|| broken("no key"))?;
        let updated = table.version.map(|column| serde_json::from_str(row[column].get())).transpose();
        let updated = updated.map_err(|_| broken("no time of its last update"))?;
        let body = serde_json::to_string(&Body { table, row }).map_err(|_| broken("no form as JSON"))?;
        Ok(Self { key, cursor: table.key_text(row), updated, body: token(body) })
    }
}

/// A row as a JSON object.
struct Body<'a> {
    table: &'a Table,
    row: &'a [Cell],
}

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.row.len()))?;
        for (field, cell) in self.table.fields.iter().zip(self.row) {
            map.serialize_entry(field.name(), cell)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use sync_core::model::{Field, Kind};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    /// Five rows, out of order; number n was updated at second n, in two spellings of UTC.
    fn five() -> Table {
        let rows = [3, 1, 5, 2, 4].map(|n| {
            let offset = if n % 2 == 0 { "02:00:0" } else { "00:00:0" };
            let zone = if n % 2 == 0 { "+02:00" } else { "Z" };
            serde_json::from_str(&format!("[{n}, 0.50, \"2026-01-01T{offset}{n}{zone}\"]")).expect("a row")
        });
        Table {
            name: "fives".into(),
            fields: vec![
                Field::new("id", Kind::Int).required(),
                Field::new("price", Kind::Decimal { precision: 3, scale: 2 }).required(),
                Field::new("updated_at", Kind::Timestamp).required(),
            ],
            key_width: 1,
            version: Some(2),
            editable: vec![1],
            rows: rows.to_vec(),
        }
    }

    fn ids(page: &Page<'_>) -> Vec<i64> {
        let id = |body: &&Cell| serde_json::from_str::<serde_json::Value>(body.get()).expect("a record")["id"].as_i64();
        page.data.iter().map(|body| id(body).expect("a number")).collect()
    }

    #[test]
    fn pages_follow_each_other_by_key_until_none_is_left() {
        let listing = Listing::of(&five()).expect("sound rows");
        let mut cursor = None;
        let mut pages = Vec::new();
        loop {
            let page = listing.page(&Request { limit: Some(2), cursor, ..Request::default() }).expect("a page");
            assert_eq!(page.total, 5);
            pages.push(ids(&page));
            let Some(next) = page.next else { break };
            cursor = Some(next.to_owned());
        }
        assert_eq!(pages, [vec![1, 2], vec![3, 4], vec![5]]);
    }

    #[test]
    fn a_full_last_page_has_no_next() {
        let listing = Listing::of(&five()).expect("sound rows");
        let page = listing.page(&Request { limit: Some(5), ..Request::default() }).expect("a page");
        assert_eq!((page.data.len(), page.next), (5, None));
    }

    #[test]
    fn updated_since_includes_its_own_instant_whatever_the_zone() {
        let listing = Listing::of(&five()).expect("sound rows");
        let since = Some("2026-01-01T00:00:03Z".parse().expect("a time"));
        let request = Request { limit: Some(2), updated_since: since, ..Request::default() };
        let page = listing.page(&request).expect("a page");
        assert_eq!((ids(&page), page.next, page.total), (vec![3, 4], Some("[4]"), 3));
    }

    #[test]
    fn updated_since_is_refused_where_no_record_says_when_it_was_updated() {
        let listing = Listing::of(&Table { version: None, ..five() }).expect("sound rows");
        let request = Request { updated_since: Some(Utc::now()), ..Request::default() };
        let refusal = listing.page(&request).expect_err("the table has no version");
        assert!(refusal.contains("leave updated_since out"), "{refusal}");
    }

    #[test]
    fn limits_and_cursors_that_make_no_sense_are_refused() {
        let listing = Listing::of(&five()).expect("sound rows");
        for limit in [0, 1001] {
            assert!(listing.page(&Request { limit: Some(limit), ..Request::default() }).is_err());
        }
        for cursor in ["", "7", "[1,2]", "[null]", "[1.5]", "next"] {
            let request = Request { cursor: Some(cursor.into()), ..Request::default() };
            assert!(listing.page(&request).is_err(), "{cursor:?}");
        }
    }

    async fn get(api: &Api, target: &str) -> (String, String) {
        let mut stream = TcpStream::connect(api.address).await.expect("the API listens");
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("the request is sent");
        let mut response = String::new();
        stream.read_to_string(&mut response).await.expect("an answer");
        let (head, body) = response.split_once("\r\n\r\n").expect("a head and a body");
        (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
    }

    #[tokio::test]
    async fn a_page_goes_out_over_http_as_it_is_documented() {
        let data = DataSet { name: "test".into(), tables: vec![five()] };
        let api = Api::serve(&data).await.expect("a port");
        assert_eq!(api.url(), format!("http://{}", api.address));

        let (status, body) = get(&api, "/fives?limit=1&cursor=%5B1%5D").await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert_eq!(
            body,
            r#"{"data":[{"id":2,"price":0.50,"updated_at":"2026-01-01T02:00:02+02:00"}],"next":"[2]","total":5}"#
        );
        for (target, expected) in [
            ("/sixes", "HTTP/1.1 404 Not Found"),
            ("/fives?limit=many", "HTTP/1.1 400 Bad Request"),
            ("/fives?page=2", "HTTP/1.1 400 Bad Request"),
            ("/fives?updated_since=yesterday", "HTTP/1.1 400 Bad Request"),
        ] {
            let (status, body) = get(&api, target).await;
            assert_eq!(status, expected, "{target}");
            assert!(body.starts_with("{\"error\":"), "{body}");
        }
    }
}
