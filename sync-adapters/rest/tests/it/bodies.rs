//! Bodies that are cut, too slow, too large, or not what they say.

use std::io::Write as _;
use std::time::Duration;

use serde_json::json;
use sync_core::{ErrorKind, Retry};
use sync_rest::{Endpoint, get};

use crate::reading::orders;
use crate::server::{Outcome, Reply, Server, read};

fn endpoint() -> Endpoint {
    get("/orders").records("/data").cursor("/next")
}

/// A good first page, then this.
async fn second_page(reply: Reply) -> (Outcome, Server) {
    let server = Server::start(move |request| match request.param("cursor") {
        None => Reply::json(&json!({"data": [{"id": 1}], "next": "b"})),
        Some(_) => reply.clone(),
    })
    .await;
    let source = server
        .rest(&orders(), endpoint())
        .limits(|limits| {
            limits.idle_seconds = 0.3;
            limits.request_seconds = 1.0;
            limits.body_bytes = 4 << 20;
        })
        .build()
        .unwrap();
    (read(&source, None).await, server)
}

/// The second page is lost as a whole, the first one stays, and reading may go on behind it.
async fn assert_page_is_discarded(reply: Reply) {
    let (outcome, server) = second_page(reply).await;
    assert_eq!(outcome.ids(), [1]);
    assert_eq!((outcome.error().kind(), outcome.error().retry()), (ErrorKind::Unavailable, Retry::Backoff));
    assert_eq!(server.count(), 2, "the adapter does not try again by itself");
    assert!(outcome.cursor().unwrap().body().contains("\"b\""), "the next read asks for the lost page");
}

const PAGE: &str = r#"{"data":[{"id":2},{"id":3}]}"#;

fn head(extra: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{extra}\r\n\r\n")
}

#[tokio::test]
async fn a_body_shorter_than_its_length_is_discarded() {
    // What came is valid JSON: only the length tells.
    assert_page_is_discarded(Reply::raw(head("content-length: 99")).then(PAGE).close()).await;
}

#[tokio::test]
async fn a_body_cut_between_chunks_is_discarded() {
    let chunk = format!("{:x}\r\n{PAGE}\r\n", PAGE.len());
    assert_page_is_discarded(Reply::raw(head("transfer-encoding: chunked")).then(chunk).close()).await;
}

#[tokio::test]
async fn a_body_cut_inside_a_chunk_is_discarded() {
    assert_page_is_discarded(Reply::raw(head("transfer-encoding: chunked")).then(format!("ff\r\n{PAGE}")).close())
        .await;
}

#[tokio::test]
async fn a_connection_reset_inside_a_body_is_discarded() {
    assert_page_is_discarded(Reply::raw(head("content-length: 99")).then(PAGE).reset()).await;
}

#[tokio::test]
async fn a_connection_closed_before_the_answer_is_tried_again() {
    assert_page_is_discarded(Reply::silence().close()).await;
}

#[tokio::test]
async fn a_compressed_body_cut_short_is_discarded() {
    let mut wire = gzip(PAGE.as_bytes());
    wire.truncate(wire.len() - 6);
    let reply = Reply::body("application/json", wire).header("content-encoding", "gzip");
    assert_page_is_discarded(reply).await;
}

#[tokio::test]
async fn a_body_that_stops_coming_runs_out_of_time() {
    let reply = Reply::raw(head("content-length: 99")).then(PAGE).pause(Duration::from_secs(5));
    assert_page_is_discarded(reply).await;
}

#[tokio::test]
async fn a_server_that_never_answers_runs_out_of_time() {
    assert_page_is_discarded(Reply::silence().pause(Duration::from_secs(5))).await;
}

#[tokio::test]
async fn a_body_that_drips_runs_out_of_time_in_all() {
    let mut reply = Reply::raw(head("content-length: 99"));
    for _ in 0..40 {
        reply = reply.then(" ").pause(Duration::from_millis(100));
    }
    let begun = std::time::Instant::now();
    assert_page_is_discarded(reply).await;
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn gzip_and_zstd_are_read() {
    for (encoding, wire) in [("gzip", gzip(PAGE.as_bytes())), ("zstd", zstd::encode_all(PAGE.as_bytes(), 3).unwrap())] {
        let reply = Reply::body("application/json", wire.clone()).header("content-encoding", encoding);
        let (outcome, server) = second_page(reply).await;
        let outcome = outcome.good();
        assert_eq!(outcome.ids(), [1, 2, 3]);
        assert_eq!(outcome.batches[1].wire_bytes, wire.len() as u64, "bytes on the wire, not after it");
        assert_eq!(server.seen()[0].header("accept-encoding"), "gzip, zstd");
    }
}

#[tokio::test]
async fn a_bomb_stops_the_stream() {
    let zeros = vec![b' '; 64 << 20];
    for (encoding, wire) in [("gzip", gzip(&zeros)), ("zstd", zstd::encode_all(&zeros[..], 3).unwrap())] {
        let (outcome, _) =
            second_page(Reply::body("application/json", wire).header("content-encoding", encoding)).await;
        assert_eq!((outcome.error().kind(), outcome.error().retry()), (ErrorKind::Limit, Retry::Never), "{encoding}");
        assert_eq!(outcome.ids(), [1]);
    }
}

#[tokio::test]
async fn a_body_may_be_as_large_as_the_limit_and_not_a_byte_larger() {
    let body = |length: usize| format!("{PAGE}{}", " ".repeat(length - PAGE.len()));
    let (outcome, _) = second_page(Reply::body("application/json", body(4 << 20))).await;
    assert_eq!(outcome.good().ids(), [1, 2, 3]);
    let (outcome, _) = second_page(Reply::body("application/json", body((4 << 20) + 1))).await;
    assert_eq!((outcome.error().kind(), outcome.error().retry()), (ErrorKind::Limit, Retry::Never));
}

#[tokio::test]
async fn two_encodings_are_refused() {
    let twice = gzip(&gzip(PAGE.as_bytes()));
    for encoding in ["gzip, gzip", "gzip"] {
        let (outcome, _) =
            second_page(Reply::body("application/json", twice.clone()).header("content-encoding", encoding)).await;
        assert_eq!((outcome.error().kind(), outcome.error().retry()), (ErrorKind::Malformed, Retry::Never));
    }
}

#[tokio::test]
async fn a_hundred_headers_are_taken_and_one_more_is_refused() {
    for (count, taken) in [(100, true), (101, false), (300, false)] {
        let mut head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n".to_owned();
        head += &format!("content-length: {}\r\n", PAGE.len());
        (2..count).for_each(|n| head += &format!("x-{n}: 1\r\n"));
        let (outcome, _) = second_page(Reply::raw(format!("{head}\r\n{PAGE}"))).await;
        match taken {
            true => assert_eq!(outcome.good().ids(), [1, 2, 3]),
            false => assert_eq!(
                (outcome.error().kind(), outcome.error().retry()),
                (ErrorKind::Limit, Retry::Never),
                "{count}"
            ),
        }
    }
}

#[tokio::test]
async fn a_page_for_people_is_asked_for_once_more_and_then_never() {
    let html = format!("<html><title>Are you human?</title>{}</html>", "x".repeat(500));
    let kinds = [("text/html", html.as_str()), ("application/json", html.as_str()), ("text/html", PAGE)];
    for (kind, body) in kinds {
        let (kind, body) = (kind.to_owned(), body.to_owned());
        let server = Server::start(move |_| Reply::body(&kind, body.clone())).await;
        let source = server.source(&orders(), endpoint());
        for retry in [Retry::Backoff, Retry::Never, Retry::Backoff] {
            let outcome = read(&source, None).await;
            assert_eq!((outcome.error().kind(), outcome.error().retry()), (ErrorKind::Malformed, retry));
            let (_, sample) = outcome.error().context().find(|(name, _)| *name == "shape").unwrap();
            assert!(!sample.is_empty() && !sample.contains("human") && sample.len() <= 200, "{sample}");
        }
    }
}

#[tokio::test]
async fn a_good_page_between_two_bad_ones_starts_the_count_again() {
    let server = Server::start(|request| match request.number {
        1 => Reply::json(&json!({"data": [{"id": 1}], "next": null})),
        _ => Reply::body("text/html", "<html>"),
    })
    .await;
    let source = server.source(&orders(), endpoint());
    assert_eq!(read(&source, None).await.error().retry(), Retry::Backoff);
    read(&source, None).await.good();
    assert_eq!(read(&source, None).await.error().retry(), Retry::Backoff);
}

pub(crate) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}
