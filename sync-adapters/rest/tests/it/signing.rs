//! Signed requests, against a server that signs what it got by itself and compares.

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::SecretString;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use sync_core::ErrorKind;
use sync_rest::Rest;

use crate::reading::orders;
use crate::server::{Outcome, Reply, Request, Server, read};

const KEY: &str = "s3cr3t key";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hmac(text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// The query as it was sent, without one parameter.
fn query_without(request: &Request, left_out: &str) -> String {
    let pairs = request.query.iter().filter(|(name, _)| name != left_out);
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn answer(request: &Request, expected: &str, got: &str) -> Reply {
    if expected != got {
        return Reply::status(401);
    }
    let page = request.number("page").unwrap_or(1);
    Reply::json(&json!({"data": [{"id": page}], "pages": 3}))
}

fn signed(server: &Server, auth: &str, stream: &str) -> Rest {
    let toml = format!("base = {:?}\n[auth]\ntype = \"signed\"\nsecret = \"host:key\"\n{auth}\n{stream}", server.url());
    let rest = Rest::from_toml(&toml, [orders()]).unwrap();
    rest.secret("key", SecretString::from(KEY)).secret("id", SecretString::from("id-1"))
}

async fn read_signed(server: &Server, auth: &str, stream: &str) -> Outcome {
    read(&signed(server, auth, stream).build().unwrap(), None).await
}

const PAGES: &str = r#"
    [streams.orders]
    path = "/v1/{account}/orders/"
    query = { status = "new & old" }
    records = ["/data"]
    paging = { style = "page", param = "page", pages = "/pages" }
    partitions = [{ name = "", variables = { account = "a b" } }]
"#;

#[tokio::test]
async fn method_path_query_and_time_are_signed_for_every_page() {
    let server = Server::start(|request| {
        let time = request.header("x-timestamp");
        let text = format!(
            "{}\n{}\n{}\n{time}\nid-1",
            request.method,
            request.path,
            query_without(request, "nothing of it is left out")
        );
        let age = chrono::Utc::now().timestamp() - time.parse::<i64>().unwrap();
        assert!((0..60).contains(&age), "{time}");
        answer(request, &format!("HMAC id-1:{}", hex(&hmac(&text))), request.header("authorization"))
    })
    .await;
    let auth = r#"
        key_id = "host:id"
        signs = "{method}\n{path}\n{query}\n{timestamp}\n{key_id}"
        send = [
            { header = "X-Timestamp", value = "{timestamp}" },
            { header = "Authorization", value = "HMAC {key_id}:{signature}" },
        ]
    "#;
    let outcome = read_signed(&server, auth, PAGES).await.good();
    assert_eq!(outcome.ids(), [1, 2, 3]);
    assert_eq!(server.seen()[0].path, "/v1/a%20b/orders/");
    let signatures: std::collections::HashSet<_> =
        server.seen().iter().map(|request| request.header("authorization").to_owned()).collect();
    assert_eq!(signatures.len(), 3, "each page has its own");
}

#[tokio::test]
async fn a_signature_in_the_query_covers_the_other_parameters_and_stays_in_no_cursor() {
    let server = Server::start(|request| {
        let text = query_without(request, "sig");
        let expected = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, hmac(&text));
        if request.param("sig") != Some(expected.as_str()) || !text.contains("key=id-1&ts=") {
            return Reply::status(401);
        }
        let page = request.number("page").unwrap_or(1);
        // Like many an API, it builds the next address from the one it was asked under.
        let next = (page < 3).then(|| format!("/orders?page={}&{text}&sig=old", page + 1));
        Reply::json(&json!({"data": [{"id": page}], "next": next}))
    })
    .await;
    let auth = r#"
        key_id = "host:id"
        encoding = "base64"
        timestamp = "%Y%m%dT%H%M%SZ"
        signs = "{query}"
        send = [
            { query = "sig", value = "{signature}" },
            { query = "key", value = "{key_id}" },
            { query = "ts", value = "{timestamp}" },
        ]
    "#;
    let stream =
        "[streams.orders]\npath = \"/orders\"\nrecords = [\"/data\"]\npaging = { style = \"next\", at = \"/next\" }";
    let outcome = read_signed(&server, auth, stream).await.good();
    assert_eq!(outcome.ids(), [1, 2, 3]);
    for request in server.seen() {
        assert_eq!(request.query.iter().filter(|(name, _)| name == "sig" || name == "ts").count(), 2, "once each");
    }
    for batch in &outcome.batches {
        let told = format!("{:?}", batch.boundary);
        assert!(!["sig=", "ts=", "key=", "id-1"].iter().any(|trace| told.contains(trace)), "{told}");
    }
}

#[tokio::test]
async fn a_body_is_signed_by_its_hash_and_pairs_in_their_order() {
    let server = Server::start(|request| {
        let body = hex(&Sha256::digest(request.body.as_bytes()));
        let host = request.header("host");
        let text = format!("POST {host} a=1&b=2&b=3 {body}");
        answer(request, &hex(&hmac(&text)), request.header("x-signature"))
    })
    .await;
    let auth = r#"
        signs = "{method} {host} {sorted_query} {body_sha256}"
        send = [{ header = "X-Signature", value = "{signature}" }]
    "#;
    let stream = r#"
        [streams.orders]
        path = "/report"
        method = "POST"
        query = { b = ["3", "2"], a = "1" }
        body = { json = { account = "x", from = "2026-01-01" } }
        records = ["/data"]
    "#;
    assert_eq!(read_signed(&server, auth, stream).await.good().ids(), [1]);
}

/// As ShareASale has it: the hash of token, time, action and key, with the time as in a `Date` header.
#[tokio::test]
async fn a_plain_hash_over_a_text_with_the_key() {
    let server = Server::start(|request| {
        let time = request.header("x-date").to_owned();
        assert!(chrono::DateTime::parse_from_rfc2822(&time).is_ok(), "{time}");
        let expected = hex(&Sha256::digest(format!("id-1:{time}:activity:{KEY}")));
        answer(request, &expected, request.header("x-authentication"))
    })
    .await;
    let auth = r#"
        key_id = "host:id"
        algorithm = "sha256"
        timestamp = "%a, %d %b %Y %H:%M:%S GMT"
        signs = "{key_id}:{timestamp}:{query_action}:{secret}"
        send = [
            { header = "X-Date", value = "{timestamp}" },
            { header = "X-Authentication", value = "{signature}" },
        ]
    "#;
    let stream =
        "[streams.orders]\npath = \"/x.cfm\"\nquery = { action = \"activity\", token = \"t\" }\nrecords = [\"/data\"]";
    assert_eq!(read_signed(&server, auth, stream).await.good().ids(), [1]);
    let other = "[streams.orders]\npath = \"/x.cfm\"\nrecords = [\"/data\"]";
    let outcome = read_signed(&server, auth, other).await;
    assert_eq!(outcome.error().kind(), ErrorKind::Config);
    assert!(outcome.error().to_string().contains("action"), "{}", outcome.error());
    assert_eq!(server.count(), 1, "what cannot be signed is not sent");
}

#[tokio::test]
async fn a_nonce_and_the_hash_of_the_body_are_sent_as_they_are_signed_and_no_nonce_comes_twice() {
    let server = Server::start(|request| {
        let (nonce, digest) = (request.header("x-nonce"), request.header("content-digest"));
        assert!(nonce.len() == 32 && nonce.bytes().all(|byte| byte.is_ascii_hexdigit()), "{nonce}");
        let of_body =
            base64::Engine::encode(&base64::engine::general_purpose::STANDARD, Sha256::digest(request.body.as_bytes()));
        assert_eq!(digest, format!("sha-256=:{of_body}:"));
        if request.number == 1 {
            return Reply::status(429).header("retry-after", "0");
        }
        answer(request, &hex(&hmac(&format!("{nonce}\n{of_body}"))), request.header("x-signature"))
    })
    .await;
    let auth = r#"
        signs = "{nonce}\n{body_sha256_base64}"
        send = [
            { header = "X-Nonce", value = "{nonce}" },
            { header = "Content-Digest", value = "sha-256=:{body_sha256_base64}:" },
            { header = "X-Signature", value = "{signature}" },
        ]
    "#;
    let stream = r#"
        [streams.orders]
        path = "/report"
        method = "POST"
        body = { json = { page = "{page}" } }
        records = ["/data"]
        paging = { style = "page", pages = "/pages" }
    "#;
    read_signed(&server, auth, stream).await;
    let nonces: Vec<_> = server.seen().iter().map(|request| request.header("x-nonce").to_owned()).collect();
    let different: std::collections::HashSet<_> = nonces.iter().collect();
    assert!(nonces.len() >= 2 && different.len() == nonces.len(), "{nonces:?}");
}

#[tokio::test]
async fn a_signature_that_is_refused_is_not_sent_again() {
    let server = Server::start(|_| Reply::status(401)).await;
    let auth = "signs = \"{path}\"\nsend = [{ header = \"x-s\", value = \"{signature}\" }]";
    let outcome = read_signed(&server, auth, "[streams.orders]\npath = \"/o\"").await;
    assert_eq!((outcome.error().kind(), server.count()), (ErrorKind::Unauthorized, 1));
}

#[test]
fn a_signature_that_cannot_be_made_is_refused_by_the_field() {
    let cases = [
        ("signs = \"{nonsense}\"\nsend = [{ header = \"x-s\", value = \"{signature}\" }]", "`auth.signs`"),
        ("signs = \"nothing\"\nsend = [{ header = \"x-s\", value = \"{signature}\" }]", "`auth.signs`"),
        ("signs = \"{secret}\"\nsend = [{ header = \"x-s\", value = \"{signature}\" }]", "`auth.signs`"),
        ("signs = \"{key_id}\"\nsend = [{ header = \"x-s\", value = \"{signature}\" }]", "`auth.key_id`"),
        (
            "algorithm = \"sha256\"\nsigns = \"{path}\"\nsend = [{ header = \"x-s\", value = \"{signature}\" }]",
            "{secret}",
        ),
        ("signs = \"{path}\"\nsend = []", "`auth.send`"),
        ("signs = \"{path}\"\nsend = [{ header = \"x-s\", value = \"{timestamp}\" }]", "`auth.send`"),
        ("signs = \"{path}\"\nsend = [{ header = \"x-s\", value = \"{signature}{path}\" }]", "{path}"),
        ("signs = \"{path}\"\nsend = [{ header = \"x s\", value = \"{signature}\" }]", "x s"),
        ("signs = \"{path}\"\nsend = [{ header = \"a\", query = \"b\", value = \"{signature}\" }]", "`auth.send`"),
        (
            "timestamp = \"now\"\nsigns = \"{path}\"\nsend = [{ header = \"a\", value = \"{signature}\" }]",
            "auth.timestamp",
        ),
    ];
    for (auth, named) in cases {
        let toml = format!(
            "base = \"https://shop.example\"\n[auth]\ntype = \"signed\"\nsecret = \"host:key\"\n{auth}\n[streams.orders]\npath = \"/o\""
        );
        let rest = Rest::from_toml(&toml, [orders()]).unwrap().secret("key", SecretString::from(KEY));
        let error = rest.build().expect_err(auth);
        assert_eq!(error.kind(), ErrorKind::Config, "{auth}");
        assert!(error.to_string().contains(named), "{named} is not named: {error}");
    }
}
