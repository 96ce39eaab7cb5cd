//! Paging that never ends, goes round in a circle, or is shorter than it says.

use std::time::Duration;

use serde_json::json;
use sync_core::source::Reading;
use sync_core::{ErrorKind, Retry};
use sync_rest::{Endpoint, get};

use crate::reading::orders;
use crate::server::{Outcome, Reply, Request, Server, read, read_as};

fn by_token() -> Endpoint {
    get("/orders").records("/data").cursor("/next")
}

fn assert_stopped(outcome: &Outcome, seen: &[i64]) {
    assert_eq!(
        (outcome.error().kind(), outcome.error().retry()),
        (ErrorKind::Limit, Retry::Never),
        "{:?}",
        outcome.error()
    );
    assert_eq!(outcome.ids(), seen, "what was seen is handed over first");
    assert!(outcome.cursor().is_some(), "and may be kept");
}

async fn outcome(endpoint: Endpoint, handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Outcome {
    let server = Server::start(handler).await;
    let outcome = read(&server.source(&orders(), endpoint), None).await;
    assert!(server.count() < 10);
    outcome
}

#[tokio::test]
async fn a_next_page_that_is_the_same_page_stops() {
    let stuck = outcome(by_token(), |_| Reply::json(&json!({"data": [{"id": 1}], "next": "a"}))).await;
    assert_stopped(&stuck, &[1]);
    let changing =
        outcome(by_token(), |request| Reply::json(&json!({"data": [{"id": request.number}], "next": "a"}))).await;
    assert_stopped(&changing, &[0, 1]);
    let address = outcome(get("/orders").records("/data").next("/next"), |request| {
        Reply::json(&json!({"data": [{"id": request.number}], "next": "/orders"}))
    })
    .await;
    assert_stopped(&address, &[0]);
}

#[tokio::test]
async fn a_circle_of_pages_stops() {
    let circle = outcome(by_token(), |request| {
        let next = ["a", "b", "c"][request.number % 3];
        Reply::json(&json!({"data": [{"id": request.number}], "next": next}))
    })
    .await;
    assert_stopped(&circle, &[0, 1, 2, 3]);
}

#[tokio::test]
async fn a_source_that_ignores_the_page_number_stops() {
    let ignored = outcome(get("/orders").records("/data").page("page").size("limit", 2), |_| {
        Reply::json(&json!({"data": [{"id": 1}, {"id": 2}]}))
    })
    .await;
    assert_stopped(&ignored, &[1, 2]);
}

fn endless(request: &Request) -> Reply {
    let n = request.number("cursor").unwrap_or(0);
    Reply::json(&json!({"data": [{"id": n * 2}, {"id": n * 2 + 1}], "next": n + 1}))
}

#[tokio::test]
async fn paging_without_end_stops_as_partial_and_goes_on_where_it_stopped() {
    let limits: [fn(&mut sync_rest::LimitsConfig); 2] = [|limits| limits.pages = 3, |limits| limits.rows = 6];
    for limit in limits {
        let server = Server::start(endless).await;
        let source = server.rest(&orders(), by_token()).limits(limit).build().unwrap();
        let first = read(&source, None).await;
        assert_stopped(&first, &[0, 1, 2, 3, 4, 5]);
        assert_eq!(server.count(), 3);
        assert_eq!(first.complete(), None);
    }
    let server =
        Server::start(|request| Reply::silence().pause(Duration::from_millis(150)).then(endless(request).bytes()))
            .await;
    let source = server.rest(&orders(), by_token()).limits(|limits| limits.read_seconds = 0.25).build().unwrap();
    let first = read(&source, None).await;
    assert_stopped(&first, &[0, 1, 2, 3]);
    let second = read(&source, first.cursor()).await;
    assert_eq!(second.ids(), [4, 5, 6, 7], "the next run continues");
}

fn counted(rows: usize, total: usize) -> impl Fn(&Request) -> Reply {
    move |request| {
        let (page, size) = (request.number("page").unwrap_or(1), 2);
        let data: Vec<_> = (1..=rows).skip((page - 1) * size).take(size).map(|id| json!({"id": id})).collect();
        Reply::json(&json!({"data": data, "total": total}))
    }
}

fn numbered() -> Endpoint {
    get("/orders").records("/data").page("page").size("limit", 2).total("/total")
}

#[tokio::test]
async fn a_page_shorter_than_the_total_is_asked_again_and_proves_nothing() {
    let server = Server::start(counted(3, 6)).await;
    let source = server.source(&orders(), numbered());
    let first = read_as(&source, Default::default(), None, Reading::Listing).await;
    assert_eq!((first.error().kind(), first.error().retry()), (ErrorKind::Unavailable, Retry::Backoff));
    assert_eq!((first.ids(), first.complete()), (vec![1, 2], None), "the short page is not handed over");
    let second = read_as(&source, Default::default(), first.cursor(), Reading::Listing).await;
    assert_eq!((second.error().retry(), second.complete()), (Retry::Never, None));
}

#[tokio::test]
async fn a_listing_that_stays_short_begins_again_with_the_next_run() {
    let server = Server::start(counted(3, 6)).await;
    let source = server.source(&orders(), numbered());
    let first = read(&source, None).await;
    let second = read(&source, first.cursor()).await;
    assert_eq!(second.error().retry(), Retry::Never);
    let third = read(&source, second.cursor()).await;
    assert_eq!(third.ids(), [1, 2]);
}

#[tokio::test]
async fn a_token_listing_shorter_than_its_total_is_no_end() {
    let server = Server::start(|_| Reply::json(&json!({"data": [{"id": 1}], "total": 2}))).await;
    let outcome = read(&server.source(&orders(), by_token().total("/total")), None).await;
    assert_eq!((outcome.error().retry(), outcome.ids().len()), (Retry::Backoff, 0));
}

#[tokio::test]
async fn a_total_that_changes_on_the_way_is_no_proof() {
    for (totals, complete) in [([4, 4], true), ([4, 3], false)] {
        let server = Server::start(move |request| {
            let page = request.number("page").unwrap();
            let data = [json!({"id": page * 2}), json!({"id": page * 2 + 1})];
            Reply::json(&json!({"data": data, "total": totals[page - 1]}))
        })
        .await;
        let source = server.source(&orders(), numbered());
        let outcome = read_as(&source, Default::default(), None, Reading::Listing).await.good();
        assert_eq!(outcome.complete(), Some(complete));
    }
}

#[tokio::test]
async fn rows_that_come_twice_do_not_make_up_for_rows_that_never_came() {
    let server = Server::start(|request| {
        let ids = if request.number("page") == Some(1) { [1, 2] } else { [2, 3] };
        Reply::json(&json!({"data": ids.map(|id| json!({"id": id})), "total": 4}))
    })
    .await;
    let source = server.source(&orders(), numbered());
    let outcome = read_as(&source, Default::default(), None, Reading::Listing).await.good();
    assert_eq!(outcome.complete(), Some(false));
}

/// A row changes while pages are read, so that all behind it move up and one slips from page 2 to page 1.
fn shifting(request: &Request) -> Reply {
    let now = chrono::Utc::now().to_rfc3339();
    let before: Vec<_> =
        (1..=4).map(|id| json!({"id": id, "updated_at": format!("2026-01-01T00:00:0{id}Z")})).collect();
    let mut after = before.clone();
    let mut changed = after.remove(0);
    changed["updated_at"] = json!(now);
    after.push(changed);
    let rows = if request.number == 0 { before } else { after };
    let page = request.number("page").unwrap_or(1);
    let data: Vec<_> = rows.into_iter().skip((page - 1) * 2).take(2).collect();
    Reply::json(&json!({"data": data}))
}

#[tokio::test]
async fn a_row_that_slips_between_two_pages_is_found_and_the_next_run_reads_them_again() {
    let server = Server::start(shifting).await;
    let endpoint = get("/orders").records("/data").page("page").size("limit", 2).since("since");
    let source = server.source(&orders(), endpoint);
    let first = read(&source, None).await.good();
    assert_eq!(first.ids(), [1, 2, 4, 1, 2, 3], "the first page is not as it was when it is looked at again");
    let second = read(&source, first.cursor()).await.good();
    assert_eq!(
        server.seen().iter().rev().find(|request| request.param("page") == Some("1")).unwrap().param("since"),
        None
    );
    assert!(second.ids().contains(&3));
}

#[tokio::test]
async fn a_version_from_the_future_does_not_hide_what_comes_before_it() {
    let server = Server::start(|_| {
        Reply::json(&json!({"data": [
            {"id": 1, "updated_at": "2099-01-01T00:00:00Z"},
            {"id": 2, "updated_at": "2026-01-01T00:00:00Z"},
        ]}))
        .header("date", "Sat, 21 Nov 2026 05:00:00 GMT")
    })
    .await;
    let source = server.source(&orders(), get("/orders").records("/data").since("since"));
    let first = read(&source, None).await.good();
    read(&source, first.cursor()).await.good();
    assert_eq!(
        server.seen()[1].param("since"),
        Some("2026-11-21T04:59:00Z"),
        "the source's own time, less the overlap"
    );
}

#[tokio::test]
async fn the_version_asked_for_stays_in_force_until_the_listing_has_ended() {
    // The highest version comes first: whoever advances page by page loses the rest.
    let server = Server::start(|request| {
        let page = request.number("cursor").unwrap_or(0);
        let version = format!("2026-01-0{}T00:00:00Z", 5 - page);
        let next = (page < 2).then_some(page + 1);
        Reply::json(&json!({"data": [{"id": page, "updated_at": version}], "next": next}))
    })
    .await;
    let source = server.source(&orders(), by_token().since("since"));
    let whole = read(&source, None).await.good();
    let sync_core::Boundary::Resume(inside) = whole.batches[0].boundary.clone() else { panic!("{whole:?}") };
    read(&source, Some(inside)).await.good();
    assert!(server.seen().iter().all(|request| request.param("since").is_none()));
    read(&source, whole.cursor()).await.good();
    assert_eq!(server.seen().last().unwrap().param("since"), Some("2026-01-04T23:59:00Z"));
}

#[tokio::test]
async fn rows_added_at_the_end_while_pages_are_read_hold_no_listing_up() {
    let growing = |request: &Request| {
        let (page, total) = (request.number("page").unwrap(), 4 + request.number);
        let data = [page * 2 - 1, page * 2].map(|id| json!({"id": id, "updated_at": "2026-01-01T00:00:00Z"}));
        let data: Vec<_> = data.into_iter().take(if page < 3 { 2 } else { 1 }).collect();
        Reply::json(&json!({"data": data, "total": total.min(5)}))
    };
    for ordered in [true, false] {
        let server = Server::start(growing).await;
        let mut endpoint = numbered().since("since");
        endpoint.ordered_by_key = ordered;
        let source = server.source(&orders(), endpoint);
        let first = read(&source, None).await.good();
        assert_eq!(first.ids(), [1, 2, 3, 4, 5]);
        read(&source, first.cursor()).await.good();
        let again = server.seen().into_iter().rfind(|request| request.param("page") == Some("1")).unwrap();
        assert_eq!(again.param("since"), Some("2025-12-31T23:59:00Z"), "ordered by key: {ordered}");
    }
}

#[tokio::test]
async fn a_row_added_behind_us_is_no_shortage() {
    let server = Server::start(|request| match request.param("cursor") {
        None => Reply::json(&json!({"data": [{"id": 5}, {"id": 6}], "next": "b", "total": 3})),
        Some(_) => Reply::json(&json!({"data": [{"id": 7}], "total": 4})),
    })
    .await;
    let source = server.source(&orders(), by_token().total("/total"));
    let outcome = read_as(&source, Default::default(), None, Reading::Listing).await.good();
    assert_eq!((outcome.ids(), outcome.complete()), (vec![5, 6, 7], Some(false)), "and no proof either");
}

fn by_token_at(pointer: &str) -> sync_rest::Endpoint {
    get("/orders").records("/data").cursor(pointer)
}

#[tokio::test]
async fn a_wrong_pointer_to_the_next_page_is_an_error_that_names_it_and_what_there_is() {
    let handler = |request: &Request| {
        let page = request.number("cursor").unwrap_or(0);
        let next = (page < 2).then_some(page + 1);
        Reply::json(&json!({"data": [{"id": page, "name": "Jane"}], "next": next}))
    };
    for endpoint in [by_token_at("/nxt"), get("/orders").records("/data").next("/nxt"), by_token_at("/meta/next")] {
        let server = Server::start(handler).await;
        let at = endpoint.paging.at.clone().unwrap();
        let source = server.source(&orders(), endpoint.since("since"));
        let outcome = read(&source, None).await;
        assert_eq!((outcome.error().kind(), outcome.error().retry()), (ErrorKind::Config, Retry::Never));
        let text = outcome.error().to_string();
        assert!(text.contains(&at) && text.contains("next: number") && text.contains("absent_at_end"), "{text}");
        assert!(!text.contains("Jane"), "{text}");
        assert!(outcome.batches.is_empty(), "the position does not move");
    }
    let server = Server::start(|_| Reply::json(&json!({"data": [{"id": 1}], "next": "b", "total": 2}))).await;
    let source = server.source(&orders(), by_token_at("/nxt").total("/total"));
    let text = read(&source, None).await.error().to_string();
    assert!(text.contains("fewer rows") && text.contains("nothing at: /nxt"), "{text}");
}

#[tokio::test]
async fn a_last_page_without_the_member_is_the_end_where_that_is_known() {
    let last = |request: &Request| match request.number("cursor") {
        None => Reply::json(&json!({"data": [{"id": 1}, {"id": 2}], "next": 1, "total": 3, "complete": false})),
        Some(_) => Reply::json(&json!({"data": [{"id": 3}], "total": 3, "complete": true})),
    };
    let plain = || get("/orders").records("/data").cursor("/next");
    let mut done = plain();
    done.paging.done = Some("/complete".to_owned());
    for endpoint in [plain(), plain().absent_at_end(), plain().size("limit", 2), plain().total("/total"), done] {
        let server = Server::start(last).await;
        let source = server.source(&orders(), endpoint);
        assert_eq!(read(&source, None).await.good().ids(), [1, 2, 3]);
    }
    for (endpoint, good) in [
        (plain(), false),
        (plain().size("limit", 1), false),
        (plain().size("limit", 2), true),
        (plain().absent_at_end(), true),
    ] {
        let server = Server::start(|_| Reply::json(&json!({"data": [{"id": 1}]}))).await;
        let source = server.source(&orders(), endpoint);
        assert_eq!(read(&source, None).await.error.is_none(), good, "one page that may be full");
    }
}

#[tokio::test]
async fn rows_that_share_a_keyset_value_at_a_page_border_are_not_lost_in_silence() {
    let server = Server::start(|request| {
        let after = request.number("after").unwrap_or(0) as u64;
        let data: Vec<_> = (after + 1..=3).take(2).map(|id| json!({"id": id, "account": "a", "n": id})).collect();
        Reply::json(&json!({"data": data}))
    })
    .await;
    let spec = sync_core::StreamSpec::new("orders").key(["account", "id"]).text("account").int("n");
    let endpoint = || get("/orders").records("/data").size("limit", 2);
    for column in ["n", "id", "account"] {
        let error = server.rest(&spec, endpoint().keyset("after", column)).build().unwrap_err();
        assert!(error.to_string().contains("unique = true"), "{error}");
    }
    assert_eq!(read(&server.source(&spec, endpoint().unique_keyset("after", "n")), None).await.good().ids(), [1, 2, 3]);
    let parts = endpoint().keyset("after", "id").partition("a", [("x", "y")]).partition_column("account");
    assert!(server.rest(&spec, parts).build().is_ok(), "within a partition the rest of the key is the key");
}
