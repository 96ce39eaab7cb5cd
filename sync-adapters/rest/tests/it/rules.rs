//! Declared rules: what networks say in their own way.

use std::time::Duration;

use serde_json::json;
use sync_core::{ErrorKind, Retry};
use sync_rest::{ApiConfig, Rest};

use crate::reading::orders;
use crate::server::{Reply, Server, read};

const RULES: &str = r#"
messages = ["/payload/errors/message", "/error_description", "/response/errorMessage"]

[[rules]]
status = [503]
pointer = "/error_code"
equals = [4]
class = "throttle"
wait = [{ from = "fixed", seconds = 60 }]

[[rules]]
status = [429]
matches = "(?i)retry after \\d+ minute"
class = "throttle"
wait = [
    { from = "retry_after" },
    { from = "header", name = "x-ratelimit-reset", unit = "epoch" },
    { from = "body", pointer = "/payload/retry_after", unit = "seconds" },
    { from = "text", regex = "(?i)retry after (\\d+) minute", unit = "minutes" },
]

[[rules]]
status = [403]
headers = { "x-throttled" = "^yes$" }
class = "throttle"

[[rules]]
pointer = "/response/status"
equals = [-1]
matches = "-1"
class = "throttle"
wait = [{ from = "fixed", seconds = 10 }]

[[rules]]
status = [400]
matches = "Invalid API Key"
class = "auth"

[[rules]]
pointer = "/errors"
class = "failure"

[[rules]]
status = [404]
pointer = "/code"
equals = ["no_rows"]
class = "ok"

[[rules]]
status = [418]
class = "gone"

[[rules]]
status = [419]
class = "transient"

[[rules]]
status = [420]
class = "bad_request"

[[rules]]
status = [421]
class = "permission"

[streams.orders]
path = "/orders"
records = ["/data"]
"#;

async fn meaning(reply: Reply) -> Result<Vec<i64>, (ErrorKind, Retry)> {
    let server = Server::start(move |_| reply.clone()).await;
    let config = ApiConfig::from_toml(&format!("base = {:?}\n{RULES}", server.url())).unwrap();
    let source = Rest::from_config(config, [orders()]).unwrap().build().unwrap();
    let outcome = read(&source, None).await;
    match &outcome.error {
        Some(error) => Err((error.kind(), error.retry())),
        None => Ok(outcome.ids()),
    }
}

fn throttled(seconds: u64) -> Result<Vec<i64>, (ErrorKind, Retry)> {
    Err((ErrorKind::Throttled, Retry::After(Duration::from_secs(seconds))))
}

#[tokio::test]
async fn a_throttle_may_hide_behind_any_status() {
    assert_eq!(meaning(Reply::json(&json!({"error_code": 4})).with_status(503)).await, throttled(60));
    assert_eq!(
        meaning(Reply::json(&json!({"error_code": 5})).with_status(503)).await,
        Err((ErrorKind::Unavailable, Retry::Backoff))
    );
    assert_eq!(meaning(Reply::json(&json!({"response": {"status": -1}}))).await, throttled(10));
    let by_header = Reply::status(403).header("x-throttled", "yes");
    assert_eq!(meaning(by_header).await, Err((ErrorKind::Throttled, Retry::Backoff)));
}

#[tokio::test]
async fn the_wait_comes_from_the_first_place_that_has_one() {
    let said = |more: serde_json::Value| {
        let mut body = json!({"payload": {"errors": {"message": "Too Many Attempts. Retry after 10 minutes"}}});
        body["payload"]["retry_after"] = more;
        Reply::json(&body).with_status(429)
    };
    assert_eq!(meaning(said(json!(null)).header("retry-after", "3")).await, throttled(3));
    let reset =
        said(json!(null)).header("date", "Sun, 06 Nov 1994 08:49:37 GMT").header("x-ratelimit-reset", "784111877");
    assert_eq!(meaning(reset).await, throttled(100));
    assert_eq!(meaning(said(json!("45"))).await, throttled(45));
    assert_eq!(meaning(said(json!(null))).await, throttled(600));
}

#[tokio::test]
async fn each_class_has_its_meaning() {
    assert_eq!(
        meaning(Reply::body("text/plain", "Invalid API Key").with_status(400)).await,
        Err((ErrorKind::Unauthorized, Retry::Never))
    );
    assert_eq!(
        meaning(Reply::json(&json!({"errors": ["no"], "data": null}))).await,
        Err((ErrorKind::Malformed, Retry::Never))
    );
    assert_eq!(meaning(Reply::json(&json!({"errors": [], "data": [{"id": 1}]}))).await, Ok(vec![1]));
    assert_eq!(meaning(Reply::json(&json!({"code": "no_rows", "data": []})).with_status(404)).await, Ok(vec![]));
    assert_eq!(meaning(Reply::status(418)).await, Err((ErrorKind::Gone, Retry::Never)));
    assert_eq!(meaning(Reply::status(419)).await, Err((ErrorKind::Unavailable, Retry::Backoff)));
    assert_eq!(meaning(Reply::status(420)).await, Err((ErrorKind::Config, Retry::Never)));
    assert_eq!(meaning(Reply::status(421)).await, Err((ErrorKind::Forbidden, Retry::Never)));
}

#[tokio::test]
async fn an_error_says_what_the_source_said() {
    let server =
        Server::start(|_| Reply::json(&json!({"error_description": "date_start: wrong format"})).with_status(400))
            .await;
    let config = ApiConfig::from_toml(&format!("base = {:?}\n{RULES}", server.url())).unwrap();
    let source = Rest::from_config(config, [orders()]).unwrap().build().unwrap();
    let outcome = read(&source, None).await;
    assert!(outcome.error().to_string().contains("says: date_start: wrong format"), "{}", outcome.error());
}
