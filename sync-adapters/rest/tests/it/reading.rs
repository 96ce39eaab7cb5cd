//! The plain road: pages, changes, ranges.

use serde_json::json;
use sync_core::StreamSpec;
use sync_rest::get;

use crate::server::{Reply, Server, read};

pub(crate) fn orders() -> StreamSpec {
    StreamSpec::new("orders").key(["id"]).version("updated_at")
}

/// Rows 1 to `count`, one a second, in pages of `size` behind the token that is the first id of the page.
pub(crate) fn tokened(count: usize, size: usize) -> impl Fn(&crate::server::Request) -> Reply {
    move |request| {
        let since = request.param("updated_since").unwrap_or_default().to_owned();
        let rows: Vec<_> = (1..=count)
            .map(|id| json!({"id": id, "updated_at": format!("2026-01-01T00:{:02}:{:02}Z", id / 60, id % 60)}))
            .filter(|row| row["updated_at"].as_str().unwrap() >= since.as_str())
            .collect();
        let from = request.number("cursor").unwrap_or(0);
        let page: Vec<_> = rows.iter().skip(from).take(size).collect();
        let next = (from + size < rows.len()).then(|| (from + size).to_string());
        Reply::json(&json!({"data": page, "next": next}))
    }
}

#[tokio::test]
async fn every_page_comes_once_and_a_run_without_changes_is_one_request() {
    let server = Server::start(tokened(250, 100)).await;
    let source = server.source(&orders(), get("/orders").records("/data").cursor("/next").since("updated_since"));
    let first = read(&source, None).await.good();
    assert_eq!(first.ids(), (1..=250).collect::<Vec<i64>>());
    assert_eq!(server.count(), 3);

    let second = read(&source, first.cursor()).await.good();
    assert_eq!(server.count(), 4, "one request tells that nothing is new");
    assert_eq!(second.ids().first(), Some(&190), "the overlap of a minute is read again");
    assert_eq!(second.cursor(), first.cursor());
}

#[tokio::test]
async fn a_read_continues_at_the_page_after_the_last_boundary() {
    let server = Server::start(tokened(250, 100)).await;
    let source = server.source(&orders(), get("/orders").records("/data").cursor("/next").since("updated_since"));
    let whole = read(&source, None).await.good();
    let sync_core::Boundary::Resume(after_first) = whole.batches[0].boundary.clone() else { panic!("{whole:?}") };
    let rest = read(&source, Some(after_first)).await.good();
    assert_eq!(rest.ids(), (101..=250).collect::<Vec<i64>>());
    assert_eq!(rest.cursor(), whole.cursor(), "the highest version of the first page is not forgotten");
}
