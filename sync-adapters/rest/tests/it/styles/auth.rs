//! Ways to get in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sync_core::StreamSpec;

use super::declared;
use crate::server::{Reply, Request, Server};

const OFFERS: &str = "[streams.offers]\npath = \"/offers\"\n";

fn offers() -> StreamSpec {
    StreamSpec::new("offers").key(["id"])
}

async fn requests(auth: &str, answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Vec<Request> {
    let server = Server::start(answer).await;
    declared(&server, &format!("auth = {auth}\n{OFFERS}"), offers(), None).await.good();
    server.seen()
}

fn rows(_: &Request) -> Reply {
    Reply::json(&json!([{"id": 1}]))
}

#[tokio::test]
async fn a_key_goes_into_headers_as_they_want_it_or_into_the_query() {
    let basic = format!("Basic {}", STANDARD.encode("key-1:key-1"));
    let cases = [
        (r#"{ type = "headers", headers = [{ name = "Authorization", value = "host:key" }] }"#, "key-1"),
        (
            r#"{ type = "headers", headers = [{ name = "Authorization", value = "host:key", prefix = "secret " }] }"#,
            "secret key-1",
        ),
        (r#"{ type = "bearer", token = "host:key" }"#, "Bearer key-1"),
        (r#"{ type = "basic", user = "host:key", password = "host:key" }"#, &basic),
    ];
    for (auth, wanted) in cases {
        assert_eq!(requests(auth, rows).await[0].header("authorization"), wanted, "{auth}");
    }
    let several = r#"{ type = "headers", headers = [{ name = "apikey", value = "host:key" }, { name = "x-agency-id", value = "host:key" }] }"#;
    let request = &requests(several, rows).await[0];
    assert_eq!((request.header("apikey"), request.header("x-agency-id")), ("key-1", "key-1"));
    let request = &requests(r#"{ type = "query", name = "api_key", key = "host:key" }"#, rows).await[0];
    assert_eq!((request.param("api_key"), request.header("authorization")), (Some("key-1"), ""));
}

fn tokens(request: &Request) -> Reply {
    match request.path.as_str() {
        "/token" => Reply::json(&json!({"access_token": format!("t{}", request.number), "expires_in": 3600})),
        _ => rows(request),
    }
}

#[tokio::test]
async fn a_token_comes_from_every_grant_and_goes_out_as_bearer() {
    let basic = format!("Basic {}", STANDARD.encode("key-1:key-1"));
    let client = r#"token_url = "SERVER/token", client_id = "host:key", client_secret = "host:key""#;
    let cases = [
        (r#"type = "client_credentials", scope = "4711""#, basic.as_str(), "grant_type=client_credentials&scope=4711"),
        (
            r#"type = "client_credentials", client_auth = "body""#,
            "",
            "client_id=key-1&client_secret=key-1&grant_type=client_credentials",
        ),
        (
            r#"type = "refresh_token", refresh_token = "host:key""#,
            &basic,
            "grant_type=refresh_token&refresh_token=key-1",
        ),
        (
            r#"type = "password", username = "host:key", password = "host:key""#,
            &basic,
            "grant_type=password&password=key-1&username=key-1",
        ),
    ];
    for (grant, header, form) in cases {
        let seen = requests(&format!("{{ {grant}, {client} }}"), tokens).await;
        assert_eq!((seen[0].path.as_str(), seen[0].header("authorization")), ("/token", header), "{grant}");
        let mut pairs: Vec<_> = seen[0].body.split('&').collect();
        pairs.sort_unstable();
        assert_eq!(pairs.join("&"), form, "{grant}");
        assert_eq!(seen[1].header("authorization"), "Bearer t0", "{grant}");
    }
}

#[tokio::test]
async fn a_token_that_is_refused_by_status_or_by_a_code_in_the_body_is_renewed_once() {
    for status in [401, 400] {
        let server = Server::start(move |request| match (request.path.as_str(), request.header("authorization")) {
            ("/token", _) => tokens(request),
            (_, "Bearer t0") => Reply::json(&json!({"error_code": 1})).with_status(status),
            _ => rows(request),
        })
        .await;
        let toml = format!(
            r#"
                auth = {{ type = "client_credentials", token_url = "SERVER/token", client_id = "host:key", client_secret = "host:key" }}
                rules = [{{ status = [400], pointer = "/error_code", equals = [0, 1], class = "auth" }}]
                {OFFERS}
            "#
        );
        assert_eq!(declared(&server, &toml, offers(), None).await.good().ids(), [1], "{status}");
        let paths: Vec<_> = server.seen().into_iter().map(|request| request.path).collect();
        assert_eq!(paths, ["/token", "/offers", "/token", "/offers"], "{status}");
    }
}

#[tokio::test]
async fn a_request_is_signed_over_key_time_nonce_and_action() {
    let auth = r#"{ type = "signed", key_id = "host:key", secret = "host:key", signs = "{key_id}:{timestamp}:{nonce}:{query_action}", send = [
        { query = "action", value = "activity" },
        { header = "x-date", value = "{timestamp}" },
        { header = "x-nonce", value = "{nonce}" },
        { header = "x-authentication", value = "{key_id} {signature}" },
    ] }"#;
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let request = &requests(auth, rows).await[0];
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"key-1").unwrap();
    mac.update(format!("key-1:{}:{}:activity", request.header("x-date"), request.header("x-nonce")).as_bytes());
    let wanted: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(request.header("x-authentication"), format!("key-1 {wanted}"));
}
