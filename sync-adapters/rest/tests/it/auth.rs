//! Getting in: each kind of credential, tokens fetched once for all, and refresh tokens that rotate.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use sync_core::model::Partition;
use sync_core::source::Reading;
use sync_core::{ErrorKind, Result, Retry};
use sync_rest::{
    AuthConfig, ClientAuthentication, HeaderConfig, HttpTransport, ReqwestTransport, Rest, SecretRef, SocketOptions,
    TokenStore, get,
};

use crate::reading::orders;
use crate::server::{Reply, Request, Server, read, read_as};

fn given(text: &str) -> SecretRef {
    SecretRef::given(SecretString::from(text))
}

async fn request_with(auth: AuthConfig) -> Request {
    let server = Server::start(|_| Reply::json(&json!([{"id": 1}]))).await;
    let source = server.rest(&orders(), get("/orders").query("a", "1")).auth(auth).build().unwrap();
    read(&source, None).await.good();
    server.seen().remove(0)
}

#[tokio::test]
async fn fixed_credentials_go_where_they_are_declared() {
    let bearer = request_with(AuthConfig::Bearer { token: given("t1") }).await;
    assert_eq!(bearer.header("authorization"), "Bearer t1");
    let basic = request_with(AuthConfig::Basic { user: given("me"), password: given("a:b") }).await;
    assert_eq!(basic.header("authorization"), format!("Basic {}", STANDARD.encode("me:a:b")));
    let query = request_with(AuthConfig::Query { name: "api_key".into(), key: given("k&1") }).await;
    assert_eq!((query.param("api_key"), query.param("a")), (Some("k&1"), Some("1")));
    let header = |name: &str, value, prefix: &str| HeaderConfig {
        name: name.into(),
        value: given(value),
        prefix: prefix.into(),
    };
    let headers = vec![header("Authorization", "raw", ""), header("X-Agency", "9", "secret ")];
    let several = request_with(AuthConfig::Headers { headers }).await;
    assert_eq!((several.header("authorization"), several.header("x-agency")), ("raw", "secret 9"));
}

fn client_credentials(server: &Server, client_auth: ClientAuthentication) -> AuthConfig {
    AuthConfig::ClientCredentials {
        token_url: format!("{}/token", server.url()),
        client_id: given("id 1"),
        client_secret: given("se:cret"),
        scope: Some("read".into()),
        client_auth,
    }
}

/// Hands out tokens `t1`, `t2`, …; only the newest is good, and the first one dies after `life` requests.
fn token_server(life: usize, pause: bool) -> impl Fn(&Request) -> Reply + Send + Sync {
    let (issued, served) = (AtomicUsize::new(0), AtomicUsize::new(0));
    move |request| {
        if request.path == "/token" {
            if pause {
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            let n = issued.fetch_add(1, Ordering::SeqCst) + 1;
            return Reply::json(&json!({"access_token": format!("t{n}"), "expires_in": 3600, "token_type": "bearer"}));
        }
        let good = if served.fetch_add(1, Ordering::SeqCst) < life { "Bearer t1" } else { "Bearer t2" };
        if request.header("authorization") != good {
            return Reply::status(401);
        }
        let page = request.number("cursor").unwrap_or(0);
        Reply::json(&json!({"data": [{"id": page}], "next": (page < 2).then_some(page + 1)}))
    }
}

#[tokio::test]
async fn a_token_refused_in_the_middle_of_a_run_is_renewed_and_the_page_replayed() {
    let server = Server::start(token_server(2, false)).await;
    let rest = server.rest(&orders(), get("/orders").records("/data").cursor("/next"));
    let source = rest.auth(client_credentials(&server, ClientAuthentication::BasicHeader)).build().unwrap();
    let outcome = read(&source, None).await.good();
    assert_eq!(outcome.ids(), [0, 1, 2]);
    assert_eq!(outcome.batches[2].requests, 2, "the replay is counted");
    let seen = server.seen();
    let paths: Vec<_> = seen.iter().map(|request| request.path.as_str()).collect();
    assert_eq!(paths, ["/token", "/orders", "/orders", "/orders", "/token", "/orders"]);
    assert_eq!(seen[0].header("authorization"), format!("Basic {}", STANDARD.encode("id+1:se%3Acret")));
    assert_eq!(seen[0].body, "grant_type=client_credentials&scope=read");
}

#[tokio::test]
async fn many_readers_share_one_renewal() {
    let server = Server::start(token_server(4, true)).await;
    let mut endpoint = get("/{account}").records("/data").cursor("/next");
    for name in ["a", "b", "c", "d"] {
        endpoint = endpoint.partition(name, [("account", name)]);
    }
    let mut rate = sync_rest::RateConfig::new(1_000_000, 1.0);
    rate.at_once = Some(8);
    let source = server
        .rest(&orders(), endpoint)
        .rate(rate)
        .auth(client_credentials(&server, ClientAuthentication::Body))
        .build()
        .unwrap();
    let reads = ["a", "b", "c", "d"].map(|name| read_as(&source, Partition::new(name), None, Reading::Changes));
    for outcome in futures::future::join_all(reads).await {
        assert_eq!(outcome.good().ids(), [0, 1, 2]);
    }
    let tokens: Vec<_> = server.seen().into_iter().filter(|request| request.path == "/token").collect();
    assert_eq!(tokens.len(), 2, "one at the start and one for all who were refused");
    assert_eq!(tokens[0].body, "grant_type=client_credentials&scope=read&client_id=id+1&client_secret=se%3Acret");
}

#[tokio::test]
async fn a_user_s_password_gets_tokens_that_many_readers_share() {
    for (client_auth, basic, body) in [
        (ClientAuthentication::BasicHeader, format!("Basic {}", STANDARD.encode("id1:cs")), ""),
        (ClientAuthentication::Body, String::new(), "&client_id=id1&client_secret=cs"),
    ] {
        let server = Server::start(token_server(4, true)).await;
        let mut endpoint = get("/{account}").records("/data").cursor("/next");
        for name in ["a", "b", "c", "d"] {
            endpoint = endpoint.partition(name, [("account", name)]);
        }
        let auth = AuthConfig::Password {
            token_url: format!("{}/token", server.url()),
            client_id: given("id1"),
            client_secret: Some(given("cs")),
            username: given("me@shop.example"),
            password: given("p&ss word"),
            scope: Some("read".into()),
            client_auth,
        };
        let mut rate = sync_rest::RateConfig::new(1_000_000, 1.0);
        rate.at_once = Some(8);
        let source = server.rest(&orders(), endpoint).rate(rate).auth(auth).build().unwrap();
        let reads = ["a", "b", "c", "d"].map(|name| read_as(&source, Partition::new(name), None, Reading::Changes));
        for outcome in futures::future::join_all(reads).await {
            assert_eq!(outcome.good().ids(), [0, 1, 2]);
        }
        let tokens: Vec<_> = server.seen().into_iter().filter(|request| request.path == "/token").collect();
        assert_eq!(tokens.len(), 2, "one at the start and one for all who were refused");
        let grant = "grant_type=password&username=me%40shop.example&password=p%26ss+word&scope=read";
        assert_eq!(
            (tokens[1].header("authorization"), tokens[1].body.clone()),
            (basic.as_str(), format!("{grant}{body}"))
        );
    }
}

#[tokio::test]
async fn credentials_refused_again_after_the_renewal_stop_the_stream() {
    let server = Server::start(|request| match request.path.as_str() {
        "/token" => Reply::json(&json!({"access_token": "t", "expires_in": "3600"})),
        _ => Reply::status(401),
    })
    .await;
    let rest = server.rest(&orders(), get("/orders"));
    let source = rest.auth(client_credentials(&server, ClientAuthentication::Body)).build().unwrap();
    let outcome = read(&source, None).await;
    assert_eq!((outcome.error().kind(), outcome.error().retry()), (ErrorKind::Unauthorized, Retry::Never));
    assert_eq!(server.count(), 4, "token, page, token, page; and then no more");
}

#[tokio::test]
async fn a_token_endpoint_that_refuses_us_is_asked_once() {
    let server = Server::start(|_| Reply::json(&json!({"error": "invalid_client"})).with_status(400)).await;
    let rest = server.rest(&orders(), get("/orders"));
    let source = rest.auth(client_credentials(&server, ClientAuthentication::Body)).build().unwrap();
    for _ in 0..3 {
        let outcome = read(&source, None).await;
        assert_eq!((outcome.error().kind(), outcome.error().retry()), (ErrorKind::Unauthorized, Retry::Never));
    }
    assert_eq!(server.count(), 1, "whoever asks within the same moment gets the same answer");
}

/// Keeps tokens; fails as often as told.
#[derive(Debug, Default)]
struct Keeper {
    kept: Mutex<Option<String>>,
    fails: AtomicUsize,
}

#[async_trait]
impl TokenStore for Keeper {
    async fn load(&self, _name: &str) -> Result<Option<SecretString>> {
        Ok(self.kept.lock().unwrap().clone().map(SecretString::from))
    }

    async fn keep(&self, _name: &str, token: &SecretString) -> Result<()> {
        if self.fails.load(Ordering::SeqCst) > 0 {
            self.fails.fetch_sub(1, Ordering::SeqCst);
            return Err(sync_core::Error::unavailable("the store is down"));
        }
        *self.kept.lock().unwrap() = Some(token.expose_secret().to_owned());
        Ok(())
    }
}

/// Takes each refresh token once: `r0`, then `r1`, …
fn rotating() -> impl Fn(&Request) -> Reply + Send + Sync {
    let used = AtomicUsize::new(0);
    move |request| {
        if request.path != "/token" {
            return Reply::json(&json!([{"id": 1}]));
        }
        let n = used.load(Ordering::SeqCst);
        if !request.body.contains(&format!("refresh_token=r{n}")) {
            return Reply::status(400);
        }
        used.fetch_add(1, Ordering::SeqCst);
        Reply::json(
            &json!({"access_token": format!("t{n}"), "expires_in": 3600, "refresh_token": format!("r{}", n + 1)}),
        )
    }
}

fn refreshing(server: &Server, keeper: &Arc<Keeper>) -> Rest {
    let auth = AuthConfig::RefreshToken {
        token_url: format!("{}/token", server.url()),
        client_id: given("id1"),
        client_secret: None,
        refresh_token: given("r0"),
        scope: None,
        client_auth: ClientAuthentication::Body,
    };
    let store: Arc<dyn TokenStore> = Arc::<Keeper>::clone(keeper);
    server.rest(&orders(), get("/orders")).auth(auth).token_store(store)
}

#[tokio::test]
async fn a_rotated_refresh_token_outlives_the_process() {
    let (server, keeper) = (Server::start(rotating()).await, Arc::new(Keeper::default()));
    for n in 1..=3 {
        // A new source each time: a new process.
        read(&refreshing(&server, &keeper).build().unwrap(), None).await.good();
        assert_eq!(keeper.kept.lock().unwrap().as_deref(), Some(format!("r{n}").as_str()));
    }
}

#[tokio::test]
async fn a_rotated_refresh_token_is_kept_before_anything_else_happens() {
    let (server, keeper) = (Server::start(rotating()).await, Arc::new(Keeper::default()));
    keeper.fails.store(1, Ordering::SeqCst);
    let source = refreshing(&server, &keeper).build().unwrap();
    let first = read(&source, None).await;
    assert_eq!(first.error().retry(), Retry::Backoff);
    read(&source, None).await.good();
    assert_eq!(keeper.kept.lock().unwrap().as_deref(), Some("r1"));
    let tokens = server.seen().iter().filter(|request| request.path == "/token").count();
    assert_eq!(tokens, 1, "the token in hand is stored; no second one is burnt");
}

#[tokio::test]
async fn a_rotation_is_finished_though_the_read_was_dropped() {
    let (server, keeper) = (Server::start(rotating()).await, Arc::new(Keeper::default()));
    // Plain http waits for no certificates: one poll is enough to begin.
    let transport: Arc<dyn HttpTransport> = Arc::new(ReqwestTransport::new(&SocketOptions::default()).unwrap());
    let source = refreshing(&server, &keeper).transport(transport).build().unwrap();
    let begun = read(&source, None);
    tokio::select! {
        biased;
        _ = begun => panic!("faster than one poll"),
        () = std::future::ready(()) => {}
    }
    for _ in 0..100 {
        if keeper.kept.lock().unwrap().is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(keeper.kept.lock().unwrap().as_deref(), Some("r1"));
}

#[tokio::test]
async fn a_short_lived_token_is_renewed_before_it_ends() {
    let server = Server::start(|request| match request.path.as_str() {
        "/token" => Reply::json(&json!({"access_token": "t", "expires_in": 0.4})),
        _ => Reply::json(&json!([{"id": 1}])),
    })
    .await;
    let rest = server.rest(&orders(), get("/orders"));
    let source = rest.auth(client_credentials(&server, ClientAuthentication::Body)).build().unwrap();
    read(&source, None).await.good();
    read(&source, None).await.good();
    let tokens = |server: &Server| server.seen().iter().filter(|request| request.path == "/token").count();
    assert_eq!(tokens(&server), 1);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    read(&source, None).await.good();
    assert_eq!(tokens(&server), 2);
}
