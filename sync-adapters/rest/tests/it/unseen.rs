//! Columns that are declared and never come are told of.

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::json;
use sync_core::source::Reading;
use sync_core::{Cursor, StreamSpec};
use sync_rest::get;

use crate::server::{Reply, Server, read_as};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What is logged of reads, one after the other, each from where the last one ended.
async fn logged(server: &Server, reads: usize, reading: Reading) -> String {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let spec = StreamSpec::new("orders").key(["id"]).text("custmer").text("note").version("updated_at");
    let source = server.source(&spec, get("/orders").records("/data").cursor("/next").since("since"));
    let mut cursor: Option<Cursor> = None;
    for _ in 0..reads {
        cursor = read_as(&source, Default::default(), cursor, reading.clone()).await.good().cursor();
    }
    String::from_utf8(log.0.lock().unwrap().clone()).unwrap()
}

async fn server() -> Server {
    Server::start(|request| {
        let row = |id: u64, note: Option<&str>| json!({"id": id, "customer": "Jane", "note": note, "updated_at": "2026-01-01T00:00:00Z"});
        match request.number("cursor") {
            None => Reply::json(&json!({"data": [row(1, None)], "next": 2})),
            Some(_) => Reply::json(&json!({"data": [row(2, Some("late"))], "next": null})),
        }
    })
    .await
}

#[tokio::test]
async fn a_column_that_no_record_of_a_listing_has_is_told_of_once() {
    let log = logged(&server().await, 1, Reading::Listing).await;
    assert_eq!(log.matches("no record has a value").count(), 1, "{log}");
    assert!(
        log.contains("custmer") && log.contains("orders") && !log.contains("note") && !log.contains("Jane"),
        "{log}"
    );
}

#[tokio::test]
async fn a_run_of_changes_does_not_complain_of_what_it_does_not_bring() {
    let log = logged(&server().await, 3, Reading::Changes).await;
    assert_eq!(log.matches("no record has a value").count(), 1, "the first run lists everything: {log}");
}
