//! No secret leaves by any door: errors, debug output, logs, cursors, dead letters, in any form.

use std::io::Write;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::SecretString;
use serde_json::json;
use sync_core::Source as _;
use sync_rest::{
    Algorithm, AuthConfig, ClientAuthentication, HeaderConfig, HttpTransport, ReqwestTransport, SecretRef,
    SigningConfig, SocketOptions, get,
};

use crate::reading::orders;
use crate::server::{Reply, Request, Server, read};

const CANARIES: [&str; 16] = [
    "cnry-01/bearer+tok~en",
    "cnry-02/raw key&val=ue",
    "cnry-03/second?header",
    "cnry-04/prefixed#head",
    "cnry-05/basic%user",
    "cnry-06/basic:pass word",
    "cnry-07/query key&=+%",
    "cnry-08/client;id",
    "cnry-09/client secret!",
    "cnry-10/refresh|token",
    "cnry-11/issued-access",
    "cnry-12/rotated$refresh",
    "cnry-13/user name@",
    "cnry-14/pass&word",
    "cnry-15/key*id",
    "cnry-16/signing key",
];

/// Every form a secret may be written in.
fn forms(secret: &str) -> Vec<String> {
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let every: String = secret.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let encoded = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
    let form: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    vec![
        secret.to_owned(),
        hex.to_uppercase(),
        hex,
        every.to_uppercase(),
        every,
        encoded.to_lowercase(),
        encoded,
        form,
        STANDARD.encode(secret),
        URL_SAFE.encode(secret),
        STANDARD.encode(format!("x{secret}")),
        STANDARD.encode(format!("xy{secret}")),
    ]
}

/// What must not be found: every form, without the ends that base64 shares with what stands beside the secret; and a
/// part that would be enough to tell.
fn traces(secret: &str) -> Vec<String> {
    let mut traces = forms(secret);
    for form in traces.iter_mut().skip(8) {
        let bare = form.trim_end_matches('=');
        *form = bare[3..bare.len() - 4].to_owned();
    }
    traces.push(secret[..8].to_owned());
    traces
}

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

/// The faults, each of them repeating these secrets in all forms, as a hostile server would.
fn faults(known: &[usize]) -> Vec<Reply> {
    let echo = known.iter().flat_map(|index| forms(CANARIES[index - 1])).collect::<Vec<_>>().join(" ");
    let quoted =
        json!({"error": echo, "message": echo, "data": [{"id": 1, "n": echo, "updated_at": echo}], "next": null});
    let in_address: String = utf8_percent_encode(&echo, NON_ALPHANUMERIC).to_string();
    let link = |address: &str| json!({"data": [{"id": 1}], "next": address});
    let mut faults: Vec<Reply> = [400, 401, 403, 404, 408, 410, 418, 422, 429, 500, 501, 503]
        .map(|status| Reply::json(&quoted).with_status(status))
        .into();
    faults.extend([
        Reply::json(&quoted),
        Reply::body("text/html", format!("<html>{echo}")),
        Reply::body("text/html", echo.clone()),
        Reply::body(&format!("text/{}", in_address), "x"),
        Reply::body("application/json", format!("{{\"data\": {echo}")),
        Reply::json(&link(&format!("/orders?next={in_address}"))),
        Reply::json(&link(&format!("https://elsewhere.example/{in_address}"))),
        Reply::json(&link(&format!("http://[{echo}"))),
        Reply::status(302).header("location", format!("/x?{in_address}")),
        Reply::status(302).header("location", format!("http://127.0.0.1:1/{in_address}")),
        Reply::json(&quoted).header("content-encoding", "br"),
        Reply::json(&quoted).header("content-encoding", "gzip"),
        Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nx").close(),
        Reply::raw(format!("{echo}\r\n\r\n")).close(),
        Reply::silence().reset(),
    ]);
    faults
}

fn given(index: usize) -> SecretRef {
    SecretRef::given(SecretString::from(CANARIES[index - 1]))
}

/// Each way to get in, with the secrets it holds, and those it is given when the token endpoint works.
fn auths(base: &str) -> Vec<(AuthConfig, Vec<usize>, Vec<usize>)> {
    let header = |name: &str, index, prefix: &str| HeaderConfig {
        name: name.into(),
        value: given(index),
        prefix: prefix.into(),
    };
    let token_url = format!("{base}/token");
    let ways = [ClientAuthentication::BasicHeader, ClientAuthentication::Body];
    let mut auths = vec![
        (AuthConfig::Bearer { token: given(1) }, vec![1], vec![]),
        (
            AuthConfig::Headers {
                headers: vec![
                    header("authorization", 2, ""),
                    header("x-second", 3, ""),
                    header("x-third", 4, "secret "),
                ],
            },
            vec![2, 3, 4],
            vec![],
        ),
        (AuthConfig::Basic { user: given(5), password: given(6) }, vec![5, 6], vec![]),
        (AuthConfig::Query { name: "api_key".into(), key: given(7) }, vec![7], vec![]),
    ];
    for client_auth in ways {
        let (client_id, client_secret) = (given(8), given(9));
        let grant = AuthConfig::ClientCredentials {
            token_url: token_url.clone(),
            client_id,
            client_secret,
            scope: None,
            client_auth,
        };
        auths.push((grant, vec![8, 9], vec![11]));
        let grant = AuthConfig::RefreshToken {
            token_url: token_url.clone(),
            client_id: given(8),
            client_secret: Some(given(9)),
            refresh_token: given(10),
            scope: None,
            client_auth,
        };
        auths.push((grant, vec![8, 9, 10], vec![11, 12]));
    }
    let grant = AuthConfig::Password {
        token_url,
        client_id: given(8),
        client_secret: Some(given(9)),
        username: given(13),
        password: given(14),
        scope: None,
        client_auth: ClientAuthentication::Body,
    };
    auths.push((grant, vec![8, 9, 13, 14], vec![11]));
    let mut signed = SigningConfig::new(given(16), "{query}{secret}{key_id}{timestamp}")
        .query("key", "{key_id}")
        .header("x-signature", "{key_id}:{signature}");
    signed.key_id = Some(given(15));
    signed.algorithm = Algorithm::Sha256;
    auths.push((AuthConfig::Signed(signed), vec![15, 16], vec![]));
    auths
}

/// A server whose token endpoint works, and everything else is this fault.
fn faulty(fault: Reply, token_works: bool) -> impl Fn(&Request) -> Reply + Send + Sync {
    move |request| match request.path.as_str() {
        "/token" if token_works => {
            Reply::json(&json!({"access_token": CANARIES[10], "refresh_token": CANARIES[11], "expires_in": 3600}))
        }
        _ => fault.clone(),
    }
}

/// All that a source says about itself and a run.
async fn everything_told(server: &Server, auth: AuthConfig, transport: Arc<dyn HttpTransport>) -> String {
    let endpoint = get("/orders").records("/data").next("/next").since("since");
    let rest = server
        .rest(&orders().int("n"), endpoint)
        .auth(auth.clone())
        .allow_host("127.0.0.1")
        .message_at("/message")
        .transport(transport);
    let mut told = format!("{rest:?}{auth:?}");
    let source = rest.build().unwrap();
    let checked = source.check().await;
    let outcome = read(&source, None).await;
    told += &format!("{checked:?}{source:?}{:?}{:?}", outcome.error, outcome.batches);
    told += &outcome.error.as_ref().map_or(String::new(), ToString::to_string);
    told += &outcome.cursor().map_or(String::new(), |cursor| cursor.to_string());
    for reject in outcome.batches.iter().flat_map(|batch| &batch.rejects) {
        told += &format!("{} {}", reject.reason, String::from_utf8_lossy(&reject.body));
    }
    told
}

#[tokio::test]
async fn no_secret_is_told_to_anybody_but_the_source() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(Mutex::new(writer))
        .try_init()
        .unwrap();
    // One for all: setting up TLS takes longer than a run.
    let transport: Arc<dyn HttpTransport> = Arc::new(ReqwestTransport::new(&SocketOptions::default()).unwrap());
    let mut told = String::new();
    let mut runs = 0;
    let mut covered = std::collections::BTreeSet::new();
    for index in 0..auths("").len() {
        for token_works in [true, false] {
            let (_, mut known, issued) = auths("").remove(index);
            known.extend(issued.into_iter().filter(|_| token_works));
            covered.extend(known.clone());
            for fault in faults(&known) {
                let server = Server::start(faulty(fault, token_works)).await;
                let (auth, ..) = auths(&server.url()).remove(index);
                told += &everything_told(&server, auth, Arc::clone(&transport)).await;
                runs += 1;
            }
        }
    }
    assert_eq!(covered.len(), CANARIES.len());
    assert!(runs > 200);
    let logged = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(logged.contains("answered"), "the log is heard");
    for secret in CANARIES {
        for form in traces(secret) {
            for (place, text) in [("errors, debug output, cursors or dead letters", &told), ("the log", &logged)] {
                if let Some(at) = text.find(&form) {
                    let around: String =
                        text[..at].chars().rev().take(300).collect::<Vec<_>>().into_iter().rev().collect();
                    panic!("{form:?} of {secret} stands in {place}, after: {around}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_key_in_the_query_is_sent_with_every_page_and_saved_with_none() {
    let server = Server::start(|request| {
        let page = request.number("page").unwrap_or(1);
        let next = (page < 3).then(|| {
            format!(
                "/orders?api_key={}&page={}",
                request.param("api_key").unwrap().replace(' ', "%20").replace('&', "%26").replace('+', "%2B"),
                page + 1
            )
        });
        Reply::json(&json!({"data": [{"id": page}], "next": next}))
    })
    .await;
    let auth = AuthConfig::Query { name: "api_key".into(), key: SecretRef::given(SecretString::from("k 1&+z")) };
    let source = server.rest(&orders(), get("/orders").records("/data").next("/next")).auth(auth).build().unwrap();
    let outcome = read(&source, None).await.good();
    assert_eq!(outcome.ids(), [1, 2, 3]);
    for request in server.seen() {
        let keys: Vec<_> = request.query.iter().filter(|(name, _)| name == "api_key").collect();
        assert_eq!(keys.len(), 1, "once");
        assert_eq!(keys[0].1, "k 1&+z");
    }
    for batch in &outcome.batches {
        assert!(!format!("{:?}", batch.boundary).contains("api_key"));
    }
}

/// A secret as it stands in JSON that was written with care: PHP escapes the slash, others everything.
const ESCAPED: &str = "sk/live+4f/9Q2\"x7";

fn escapes() -> [String; 2] {
    let php = ESCAPED.replace('"', "\\\"").replace('/', "\\/");
    [php, ESCAPED.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect()]
}

fn escaped_source(server: &Server) -> sync_rest::RestSource {
    let spec = orders().int("n");
    server.rest(&spec, get("/orders").records("/data")).bearer(SecretString::from(ESCAPED)).build().unwrap()
}

#[tokio::test]
async fn a_secret_with_json_escapes_is_not_shown_in_an_error() {
    for escaped in escapes() {
        let name = escaped.clone();
        let bodies = [
            format!("{{\"message\":\"no such token: {escaped}\"}}"),
            format!("{{\"{name}\":1}}"),
            format!("{{\"data\":[{{\"id\":1,\"{name}\": nul}}]}}"),
        ];
        for body in bodies {
            let server = Server::start(move |_| Reply::body("application/json", body.clone())).await;
            let outcome = read(&escaped_source(&server), None).await;
            let error = format!("{} {:?}", outcome.error(), outcome.error());
            assert!(!["9Q2", "0Q0", "live", "u0039", "u0000"].iter().any(|part| error.contains(part)), "{error}");
        }
    }
}

#[tokio::test]
async fn a_secret_with_json_escapes_is_not_kept_among_the_dead_letters() {
    for escaped in escapes() {
        let body = format!("{{\"data\":[{{\"id\":1,\"n\":\"{escaped}\"}},{{\"id\":2,\"n\":2}}]}}");
        let server = Server::start(move |_| Reply::body("application/json", body.clone())).await;
        let outcome = read(&escaped_source(&server), None).await.good();
        assert_eq!(outcome.ids(), [2]);
        let reject = &outcome.batches[0].rejects[0];
        let kept = format!("{} {}", String::from_utf8_lossy(&reject.body), reject.reason);
        assert!(!kept.contains("9Q2") && !kept.contains("u0039") && kept.contains("[redacted]"), "{kept}");
    }
}
