//! Whole listings: when they begin, when they end, and what they prove.

use serde_json::json;
use sync_core::model::{Boundary, Disposition, RowScope};
use sync_core::source::{CursorKind, Listing, Reading, RowOrder};
use sync_core::{ErrorKind, Source as _};
use sync_rest::get;

use crate::reading::{orders, tokened};
use crate::server::{Reply, Server, read, read_as};

#[tokio::test]
async fn a_listing_begins_ends_and_asks_for_no_version() {
    let server = Server::start(tokened(250, 100)).await;
    let source = server.source(&orders(), get("/orders").records("/data").cursor("/next").since("updated_since"));
    let outcome = read_as(&source, Default::default(), None, Reading::Listing).await.good();
    assert_eq!(outcome.batches[0].boundary, Boundary::Begins(RowScope::All));
    assert_eq!(outcome.ids().len(), 250);
    let last = &outcome.batches.last().unwrap().boundary;
    assert_eq!(*last, Boundary::Ends { scope: RowScope::All, complete: true, resume: None });
    assert!(server.seen().iter().all(|request| request.param("updated_since").is_none()));
}

#[tokio::test]
async fn a_listing_goes_on_after_an_interruption_without_beginning_again() {
    let server = Server::start(tokened(250, 100)).await;
    let source = server.source(&orders(), get("/orders").records("/data").cursor("/next"));
    let whole = read_as(&source, Default::default(), None, Reading::Listing).await.good();
    let Boundary::Resume(inside) = whole.batches[1].boundary.clone() else { panic!("{whole:?}") };
    let rest = read_as(&source, Default::default(), Some(inside), Reading::Listing).await.good();
    assert!(!rest.batches.iter().any(|batch| matches!(batch.boundary, Boundary::Begins(_))));
    assert_eq!((rest.ids().len(), rest.complete()), (150, Some(true)));
}

#[tokio::test]
async fn a_snapshot_is_a_listing_every_time() {
    let server = Server::start(tokened(3, 100)).await;
    let spec = orders().disposition(Disposition::Snapshot);
    let source = server.source(&spec, get("/orders").records("/data"));
    let first = read(&source, None).await.good();
    let second = read(&source, first.cursor()).await.good();
    for outcome in [first, second] {
        assert_eq!(outcome.batches[0].boundary, Boundary::Begins(RowScope::All));
        assert_eq!((outcome.ids(), outcome.complete()), (vec![1, 2, 3], Some(true)));
    }
}

#[tokio::test]
async fn a_stream_without_versions_is_read_from_the_start_every_time() {
    let server = Server::start(tokened(3, 100)).await;
    let source = server.source(&orders(), get("/orders").records("/data"));
    let first = read(&source, None).await.good();
    assert_eq!(read(&source, first.cursor()).await.good().ids(), [1, 2, 3]);
}

#[tokio::test]
async fn an_empty_list_is_complete_only_when_the_source_says_zero() {
    for (body, complete) in [(json!({"data": []}), false), (json!({"data": [], "total": 0}), true)] {
        let server = Server::start(move |_| Reply::json(&body)).await;
        let source = server.source(&orders(), get("/orders").records("/data").total("/total"));
        let outcome = read_as(&source, Default::default(), None, Reading::Listing).await.good();
        assert_eq!(outcome.complete(), Some(complete));
    }
}

#[tokio::test]
async fn a_record_without_a_readable_key_keeps_a_listing_from_being_complete() {
    for (bad, complete) in [(json!({"id": 2, "n": "x"}), true), (json!({"id": "x"}), false)] {
        let server = Server::start(move |_| Reply::json(&json!([{"id": 1}, bad]))).await;
        let source = server.source(&orders().int("n"), get("/orders"));
        let outcome = read_as(&source, Default::default(), None, Reading::Listing).await.good();
        assert_eq!(outcome.complete(), Some(complete));
    }
}

#[tokio::test]
async fn what_a_source_can_do_is_what_its_weakest_stream_can() {
    let server = Server::start(tokened(3, 100)).await;
    let (since, plain) = (get("/a").since("since").ordered_by_key(), get("/b"));
    let strong = server.source(&orders(), since.clone()).capabilities();
    assert_eq!((strong.cursor, strong.order, strong.listing), (CursorKind::Inclusive, RowOrder::Key, Listing::Rows));
    let other = sync_core::StreamSpec::new("other").key(["id"]);
    let weak = server.rest(&orders(), since).stream(&other, plain).build().unwrap().capabilities();
    assert_eq!((weak.cursor, weak.order, weak.replayable), (CursorKind::None, RowOrder::Unknown, true));
}

#[tokio::test]
async fn a_cursor_of_another_format_asks_for_a_full_run() {
    let server = Server::start(tokened(3, 100)).await;
    let source = server.source(&orders(), get("/orders").records("/data"));
    for cursor in
        [sync_core::Cursor::from_parts(99, "{}"), sync_core::Cursor::from_parts(1, "{\"page\":{\"token\":\"x\"}}")]
    {
        let outcome = read(&source, Some(cursor)).await;
        assert_eq!(outcome.error().kind(), ErrorKind::Gone);
    }
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn a_check_asks_once_and_tells_what_is_wrong() {
    let server = Server::start(|_| Reply::status(403)).await;
    let source = server.source(&orders(), get("/orders"));
    assert_eq!(source.check().await.unwrap_err().kind(), ErrorKind::Forbidden);
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn a_total_is_proven_also_when_an_error_came_between_its_pages() {
    let server = Server::start(|request| {
        if request.number == 1 {
            return Reply::status(503);
        }
        let page = request.number("page").unwrap();
        Reply::json(&json!({"data": [{"id": page * 2}, {"id": page * 2 + 1}], "total": 4}))
    })
    .await;
    let endpoint = get("/orders").records("/data").page("page").size("limit", 2).total("/total");
    let source = server.source(&orders(), endpoint.clone());
    let first = read_as(&source, Default::default(), None, Reading::Listing).await;
    assert_eq!(first.error().kind(), ErrorKind::Unavailable);
    let second = read_as(&source, Default::default(), first.cursor(), Reading::Listing).await.good();
    assert_eq!((second.ids(), second.complete()), (vec![4, 5], Some(true)));
    let stranger = server.source(&orders(), endpoint);
    let third = read_as(&stranger, Default::default(), first.cursor(), Reading::Listing).await.good();
    assert_eq!(third.complete(), Some(false), "a new process has not seen the first page");
}
