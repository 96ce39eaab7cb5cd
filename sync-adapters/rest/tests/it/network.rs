//! The way to the other side: names, ports, certificates, addresses.

use std::sync::Arc;

use secrecy::SecretString;
use serde_json::json;
use sync_core::{ErrorKind, Retry};
use sync_rest::{AuthConfig, Rest, RestSource, SecretRef, get};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::reading::orders;
use crate::server::{Reply, Server, read};

/// A source with a secret in its query.
fn with_key(base: String) -> RestSource {
    let key = SecretRef::given(SecretString::from("canary-4711"));
    let rest = Rest::at(base).auth(AuthConfig::Query { name: "key".into(), key });
    rest.stream(&orders(), get("/orders")).build().unwrap()
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_tried_again() {
    let source = with_key("https://nowhere.invalid".to_owned());
    let outcome = read(&source, None).await;
    assert_eq!((outcome.error().kind(), outcome.error().retry()), (ErrorKind::Unavailable, Retry::Backoff));
    let text = outcome.error().to_string();
    assert!(text.contains("name cannot be resolved; check") && text.contains("nowhere.invalid:443"), "{text}");
    assert!(!text.contains("canary"), "{text}");
}

#[tokio::test]
async fn a_refused_connection_is_tried_again() {
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let source = with_key(format!("http://127.0.0.1:{port}"));
    let outcome = read(&source, None).await;
    assert_eq!((outcome.error().kind(), outcome.error().retry()), (ErrorKind::Unavailable, Retry::Backoff));
    let text = outcome.error().to_string();
    assert!(text.contains("refused; check the port") && text.contains(&format!("127.0.0.1:{port}")), "{text}");
    assert!(text.contains("Connection refused"), "the innermost cause: {text}");
    assert!(!text.contains("canary"), "{text}");
}

#[tokio::test]
async fn a_connection_that_is_never_accepted_runs_out_of_time() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // Nobody accepts, and these fill the queue: the next one is not answered at all.
    let queue = futures::future::join_all((0..4).map(|_| {
        let connect = tokio::net::TcpStream::connect(address);
        tokio::time::timeout(std::time::Duration::from_millis(200), connect)
    }));
    let _queue = queue.await;
    let rest = Rest::at(format!("http://{address}")).stream(&orders(), get("/orders"));
    let source = rest.limits(|limits| limits.connect_seconds = 0.3).build().unwrap();
    let begun = std::time::Instant::now();
    let outcome = read(&source, None).await;
    assert_eq!((outcome.error().kind(), outcome.error().retry()), (ErrorKind::Unavailable, Retry::Backoff));
    assert!(outcome.error().message().starts_with("no connection in time"), "{}", outcome.error());
    assert!(begun.elapsed() < std::time::Duration::from_secs(5));
}

async fn tls_server() -> (Server, String) {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = Server::start_tls(acceptor, |_| Reply::json(&json!([{"id": 1}]))).await;
    (server, signed.cert.pem())
}

#[tokio::test]
async fn a_certificate_nobody_vouches_for_stops_the_stream() {
    let (server, _) = tls_server().await;
    let base = format!("https://localhost:{}", server.port());
    let source = Rest::at(base).stream(&orders(), get("/orders")).build().unwrap();
    let outcome = read(&source, None).await;
    assert_eq!((outcome.error().kind(), outcome.error().retry()), (ErrorKind::Unavailable, Retry::Never));
    assert!(outcome.error().message().contains("certificate"), "{}", outcome.error());
    assert_eq!(server.count(), 0, "nothing was sent");
}

#[tokio::test]
async fn a_certificate_of_a_trusted_authority_is_accepted() {
    let (server, pem) = tls_server().await;
    let base = format!("https://localhost:{}", server.port());
    let source = Rest::at(base).trust(pem).stream(&orders(), get("/orders")).build().unwrap();
    assert_eq!(read(&source, None).await.good().ids(), [1]);
}

#[test]
fn private_and_metadata_addresses_are_refused_before_anything_is_sent() {
    for base in [
        "https://10.0.0.8",
        "https://169.254.169.254",
        "https://[fd00::1]",
        "http://shop.example",
        "https://[::ffff:10.0.0.1]",
    ] {
        let error = Rest::at(base).stream(&orders(), get("/orders")).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{base}");
    }
    assert!(Rest::at("https://10.0.0.8").allow_private_network().stream(&orders(), get("/orders")).build().is_ok());
}

#[tokio::test]
async fn a_name_that_leads_to_loopback_is_refused_when_it_is_resolved() {
    // Every resolver answers this name with a loopback address (RFC 6761 §6.3), but it is not `localhost` itself.
    let source = Rest::at("https://rebound.localhost").stream(&orders(), get("/orders")).build().unwrap();
    let outcome = read(&source, None).await;
    let refused = outcome.error().kind() == ErrorKind::Config && outcome.error().retry() == Retry::Never;
    let unknown =
        outcome.error().kind() == ErrorKind::Unavailable && outcome.error().message().contains("cannot be resolved");
    assert!(refused || unknown, "{:?}", outcome.error());
}
