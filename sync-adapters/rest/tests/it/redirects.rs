//! Redirects lead nowhere unless their host is allowed, and credentials stay at home.

use secrecy::SecretString;
use serde_json::json;
use sync_core::{ErrorKind, Retry};
use sync_rest::get;

use crate::reading::orders;
use crate::server::{Reply, Server, read};

/// Another origin on loopback.
async fn elsewhere() -> Server {
    Server::start(|_| Reply::json(&json!([{"id": 7}]))).await
}

async fn redirecting(status: u16, target: String) -> Server {
    Server::start(move |_| Reply::status(status).header("location", target.clone())).await
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = elsewhere().await;
    for status in [301, 302, 303, 307, 308] {
        let server = redirecting(status, format!("http://localhost:{}/x", other.port())).await;
        let outcome = read(&server.source(&orders(), get("/orders")), None).await;
        assert_eq!((outcome.error().kind(), outcome.error().retry()), (ErrorKind::Config, Retry::Never));
    }
    assert_eq!(other.count(), 0);
}

#[tokio::test]
async fn an_allowed_redirect_is_followed_without_credentials() {
    let other = elsewhere().await;
    let server = redirecting(307, format!("http://localhost:{}/x?a=1", other.port())).await;
    let rest = server.rest(&orders(), get("/orders")).allow_host("localhost").bearer(SecretString::from("canary-1"));
    let outcome = read(&rest.build().unwrap(), None).await.good();
    assert_eq!(outcome.ids(), [7]);
    assert_eq!(outcome.batches[0].requests, 2);
    assert_eq!(server.seen()[0].header("authorization"), "Bearer canary-1");
    assert_eq!((other.seen()[0].header("authorization"), other.seen()[0].param("a")), ("", Some("1")));
}

#[tokio::test]
async fn an_allowed_host_is_not_reached_in_the_clear() {
    let server = redirecting(302, "http://shop.example/x".to_owned()).await;
    let rest = server.rest(&orders(), get("/orders")).allow_host("shop.example");
    let outcome = read(&rest.build().unwrap(), None).await;
    assert_eq!(outcome.error().kind(), ErrorKind::Config);
}

#[tokio::test]
async fn redirects_in_a_circle_end() {
    let server = Server::start(|_| Reply::status(302).header("location", "/orders")).await;
    let rest = server.rest(&orders(), get("/orders")).allow_host("127.0.0.1");
    let outcome = read(&rest.build().unwrap(), None).await;
    assert_eq!((outcome.error().kind(), outcome.error().retry()), (ErrorKind::Limit, Retry::Never));
    assert_eq!(server.count(), 4);
}

#[tokio::test]
async fn a_redirect_to_another_port_of_an_allowed_host_carries_no_token() {
    let other = elsewhere().await;
    let server = redirecting(302, format!("{}/orders", other.url())).await;
    let rest = server.rest(&orders(), get("/orders")).allow_host("127.0.0.1").bearer(SecretString::from("canary-1"));
    read(&rest.build().unwrap(), None).await;
    assert!(other.count() > 0, "the redirect is followed");
    assert!(other.seen().iter().all(|request| request.header("authorization").is_empty()));
}
