//! What answers mean: throttles in every guise, failures in the guise of success, and messages worth showing.

use std::time::Duration;

use serde_json::{Value as Json, json};
use sync_core::{ErrorKind, Retry, StreamSpec};
use sync_rest::Rest;

use super::declared;
use crate::server::{Outcome, Reply, Server};

const RULES: &str = r#"
messages = ["/payload/errors/message", "/error_description", "/description", "/Message", "/response/errorMessage", "/error/message", "/errors/0/message", "/message"]

[[rules]]
status = [429]
class = "throttle"
wait = [
    { from = "retry_after" },
    { from = "header", name = "x-ratelimit-reset", unit = "seconds" },
    { from = "header", name = "x-ratelimit-retry-at", unit = "epoch" },
    { from = "body", pointer = "/payload/retry_after", unit = "seconds" },
    { from = "text", regex = "(?i)retry after (\\d+) minute", unit = "minutes" },
    { from = "fixed", seconds = 6 },
]

[[rules]]
status = [503]
pointer = "/error_code"
equals = [4]
class = "throttle"
wait = [{ from = "fixed", seconds = 60 }]

[[rules]]
status = [403]
matches = "(?i)rate limit"
class = "throttle"
wait = [{ from = "fixed", seconds = 61 }]

[[rules]]
status = [200]
pointer = "/response/errorMessage"
matches = "exceeded API rate limit"
class = "throttle"
wait = [{ from = "fixed", seconds = 10 }]

[[rules]]
status = [200]
pointer = "/response/status"
equals = [-1]
class = "failure"

[[rules]]
status = [200]
pointer = "/errors"
class = "bad_request"

[[rules]]
status = [400]
matches = "Invalid API Key"
class = "auth"

[streams.rows]
path = "/rows"
records = ["/rows"]
"#;

async fn read(reply: Reply) -> Outcome {
    let server = Server::start(move |_| reply.clone()).await;
    declared(&server, RULES, StreamSpec::new("rows").key(["id"]), None).await
}

#[tokio::test]
async fn a_throttle_is_known_in_every_guise_with_the_time_to_wait() {
    let json = |status, body: Json| Reply::json(&body).with_status(status);
    let throttles = [
        (Reply::status(429).header("retry-after", "7"), 7),
        (Reply::status(429).header("x-ratelimit-reset", "8"), 8),
        (json(429, json!({"payload": {"retry_after": 9}})), 9),
        (json(429, json!({"message": "Too Many Attempts. Retry after 10 minutes"})), 600),
        (Reply::status(429), 6),
        (json(503, json!({"error_code": 4})), 60),
        (json(403, json!({"message": "Rate limit reached"})), 61),
        (json(200, json!({"response": {"status": -1, "errorMessage": "User has exceeded API rate limit"}})), 10),
    ];
    for (reply, seconds) in throttles {
        let outcome = read(reply).await;
        let error = outcome.error();
        let wanted = (ErrorKind::Throttled, Retry::After(Duration::from_secs(seconds)));
        assert_eq!((error.kind(), error.retry()), wanted, "{error}");
    }
}

#[tokio::test]
async fn what_failed_is_told_by_its_kind_and_in_the_words_of_the_network() {
    let json = |status, body: Json| Reply::json(&body).with_status(status);
    let failures = [
        (json(401, json!({"payload": {"errors": {"message": "no such key"}}})), ErrorKind::Unauthorized, "no such key"),
        (json(400, json!({"message": "Invalid API Key"})), ErrorKind::Unauthorized, "Invalid API Key"),
        (json(403, json!({"message": "contact us to enable"})), ErrorKind::Forbidden, "contact us to enable"),
        (json(400, json!({"description": "Wrong data type"})), ErrorKind::Config, "Wrong data type"),
        (
            json(200, json!({"errors": [{"message": "31 days at most"}], "data": null})),
            ErrorKind::Config,
            "31 days at most",
        ),
        (json(502, json!({})), ErrorKind::Unavailable, "502"),
        (Reply::body("text/html", "<html>log in</html>"), ErrorKind::Malformed, "JSON"),
        (Reply::body("application/json", r#"{"rows": [{"id": 1}"#), ErrorKind::Malformed, "cut"),
    ];
    for (reply, kind, told) in failures {
        let outcome = read(reply).await;
        let error = outcome.error();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(told), "{told}: {error}");
        assert_ne!(outcome.complete(), Some(true), "never an empty answer");
    }
    let failed = read(json(200, json!({"response": {"status": -1, "errorMessage": "no such method"}}))).await;
    assert!(failed.error().to_string().contains("no such method"), "{}", failed.error());
    let nothing = read(Reply::body("application/json", "")).await;
    assert_ne!(nothing.complete(), Some(true), "a body that is not there proves nothing");
    assert!(read(Reply::json(&json!({"rows": [{"id": 1}]}))).await.error.is_none());
}

#[tokio::test]
async fn endpoints_that_are_counted_by_themselves_have_a_rate_of_their_own() {
    let (hourly, fast) = ("{ requests = 1, per_seconds = 3600 }", "{ requests = 1000, per_seconds = 1 }");
    for (api, stream, ends) in [(hourly, fast, true), (fast, hourly, false)] {
        let server = Server::start(|request| match request.number("page") {
            Some(page @ 1..=2) => Reply::json(&json!([{"id": page}])),
            _ => Reply::json(&json!([])),
        })
        .await;
        let toml = format!(
            r#"
                rate = {api}
                [streams.rows]
                path = "/rows"
                rate = {stream}
                paging = {{ style = "page", param = "page", size = 1 }}
            "#
        );
        let read = declared(&server, &toml, StreamSpec::new("rows").key(["id"]), None);
        let ended = tokio::time::timeout(Duration::from_secs(if ends { 20 } else { 1 }), read).await;
        assert_eq!(ended.is_ok(), ends, "{stream} instead of {api}");
        assert_eq!(server.count() == 1, !ends, "{}", server.count());
    }
}

#[test]
fn a_rate_that_is_none_is_refused_by_its_stream_and_field() {
    for (rate, field) in [
        ("{ requests = 0, per_seconds = 1 }", "`rate.requests`"),
        ("{ requests = 1, per_seconds = 0 }", "`rate.per_seconds`"),
    ] {
        let toml = format!("base = \"https://a.example\"\n[streams.rows]\npath = \"/rows\"\nrate = {rate}");
        let error = Rest::from_toml(&toml, [StreamSpec::new("rows").key(["id"])]).unwrap().build().unwrap_err();
        assert!(error.to_string().contains(field) && error.to_string().contains("stream: rows"), "{error}");
    }
}
