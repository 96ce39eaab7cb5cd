//! What each status means for the run.

use std::time::Duration;

use serde_json::json;
use sync_core::source::Reading;
use sync_core::{ErrorKind, Retry};
use sync_rest::get;

use crate::reading::orders;
use crate::server::{Reply, Server, read, read_as};

async fn answer(status: u16) -> (ErrorKind, Retry, usize) {
    let server = Server::start(move |_| Reply::status(status)).await;
    let outcome = read(&server.source(&orders(), get("/orders").records("/data")), None).await;
    assert!(outcome.batches.is_empty(), "nothing is handed over and no position moves");
    (outcome.error().kind(), outcome.error().retry(), server.count())
}

#[tokio::test]
async fn a_source_in_trouble_is_asked_again_by_the_engine_and_not_by_the_adapter() {
    for status in [408, 425, 500, 502, 503, 504, 507, 529] {
        assert_eq!(answer(status).await, (ErrorKind::Unavailable, Retry::Backoff, 1), "{status}");
    }
    assert_eq!(answer(429).await, (ErrorKind::Throttled, Retry::Backoff, 1));
}

#[tokio::test]
async fn what_the_source_does_not_support_is_not_asked_again() {
    for status in [501, 505] {
        assert_eq!(answer(status).await, (ErrorKind::Unavailable, Retry::Never, 1), "{status}");
    }
}

#[tokio::test]
async fn a_wrong_request_stops_loudly() {
    for status in [400, 404, 405, 422] {
        assert_eq!(answer(status).await, (ErrorKind::Config, Retry::Never, 1), "{status}");
    }
}

#[tokio::test]
async fn a_lost_position_asks_for_a_full_run() {
    assert_eq!(answer(410).await, (ErrorKind::Gone, Retry::Never, 1));
}

#[tokio::test]
async fn refusals_stop() {
    assert_eq!(answer(401).await, (ErrorKind::Unauthorized, Retry::Never, 1), "there is nothing to renew");
    assert_eq!(answer(403).await, (ErrorKind::Forbidden, Retry::Never, 1));
}

#[tokio::test]
async fn a_wait_in_seconds_is_a_floor() {
    for status in [429, 503] {
        let server = Server::start(move |_| Reply::status(status).header("retry-after", "17")).await;
        let outcome = read(&server.source(&orders(), get("/orders")), None).await;
        assert_eq!(outcome.error().retry(), Retry::After(Duration::from_secs(17)));
    }
}

#[tokio::test]
async fn a_wait_until_a_date_is_counted_on_the_clock_of_the_source() {
    // Our own clock is years away from both dates.
    let server = Server::start(|_| {
        Reply::status(429)
            .header("date", "Sun, 06 Nov 1994 08:49:37 GMT")
            .header("retry-after", "Sunday, 06-Nov-94 08:51:07 GMT")
    })
    .await;
    let outcome = read(&server.source(&orders(), get("/orders")), None).await;
    assert_eq!(outcome.error().retry(), Retry::After(Duration::from_secs(90)));
}

#[tokio::test]
async fn not_modified_means_no_changes_and_no_other_position() {
    let server = Server::start(|request| match request.number {
        0 => Reply::json(&json!({"data": [{"id": 1, "updated_at": "2026-01-01T00:00:00Z"}]})),
        _ => Reply::status(304),
    })
    .await;
    let source = server.source(&orders(), get("/orders").records("/data").since("since"));
    let first = read(&source, None).await.good();
    let second = read(&source, first.cursor()).await.good();
    assert_eq!((second.ids().len(), second.cursor()), (0, first.cursor()));
}

#[tokio::test]
async fn no_content_is_no_rows_and_no_proof_of_absence() {
    for reply in [Reply::status(204), Reply::body("application/json", ""), Reply::body("text/plain", " \n")] {
        let server = Server::start(move |_| reply.clone()).await;
        let source = server.source(&orders(), get("/orders").records("/data"));
        let outcome = read_as(&source, Default::default(), None, Reading::Listing).await.good();
        assert_eq!((outcome.ids().len(), outcome.complete()), (0, Some(false)));
    }
}

#[tokio::test]
async fn an_empty_answer_in_the_middle_of_a_listing_moves_no_version() {
    let server = Server::start(|request| match request.param("cursor") {
        None => Reply::json(&json!({"data": [{"id": 1, "updated_at": "2026-01-01T00:00:00Z"}], "next": "b"})),
        Some(_) => Reply::body("application/json", ""),
    })
    .await;
    let source = server.source(&orders(), get("/orders").records("/data").cursor("/next").since("since"));
    let first = read(&source, None).await.good();
    read(&source, first.cursor()).await.good();
    assert_eq!(server.seen()[2].param("since"), None, "the listing was not seen to its end: it begins again");
}
