//! Rooms: who is let in, what they hear, and why they are sent out.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use futures::{SinkExt as _, StreamExt as _};
use http::Request;
use serde_json::{Value as Json, json};
use sync_core::two_way::{Access, Decision, Replica as _};
use sync_master::{RoomSettings, Rooms, Routes};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::support::*;

/// Longer than anything here takes.
const SOON: Duration = Duration::from_secs(5);

/// A router on a port of its own, which tells it from where it is asked.
pub(crate) async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    address
}

/// Settings that never come in a test's way.
pub(crate) fn quiet() -> RoomSettings {
    let mut settings = RoomSettings::default();
    (settings.look, settings.queue) = (Duration::from_secs(3600), Duration::from_secs(3600));
    settings
}

/// A master with rooms.
pub(crate) struct Inn {
    pub(crate) shop: Shop,
    pub(crate) rooms: Rooms,
    address: SocketAddr,
}

impl Inn {
    async fn open(settings: RoomSettings) -> Self {
        Self::with(settings, |routes| routes).await
    }

    async fn with(settings: RoomSettings, change: impl FnOnce(Routes) -> Routes) -> Self {
        let rooms = Rooms::new(settings);
        let shop = Shop::with(|routes| change(routes.with_rooms(rooms.clone()))).await;
        let address = serve(shop.router.clone()).await;
        Self { shop, rooms, address }
    }

    fn request(&self, headers: &[(&'static str, &str)]) -> Request<()> {
        let mut request = format!("ws://{}/api/sync/room", self.address).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        request
    }

    async fn knock(&self, request: Request<()>) -> Result<Guest, (u16, String)> {
        let way = TcpStream::connect(self.address).await.unwrap();
        match client_async(request, way).await {
            Ok((socket, answer)) => {
                let protocol =
                    answer.headers().get("sec-websocket-protocol").map(|value| value.to_str().unwrap().to_owned());
                Ok(Guest { socket, protocol })
            }
            Err(SocketError::Http(answer)) => Err((answer.status().as_u16(), code(answer.body().as_deref()))),
            Err(error) => panic!("{error}"),
        }
    }

    /// Whoever has this token, in the room and welcomed.
    async fn guest(&self, token: &str) -> Guest {
        let authorization = format!("Bearer {token}");
        let mut guest = self.knock(self.request(&[("authorization", &authorization)])).await.unwrap();
        assert_eq!(guest.hear().await["type"], "welcome");
        guest
    }

    async fn refusal(&self, headers: &[(&'static str, &str)]) -> (u16, String) {
        self.knock(self.request(headers)).await.map(|_| "let in").unwrap_err()
    }

    /// Until so many are in the rooms.
    async fn until_members(&self, members: usize) {
        let until = Instant::now() + SOON;
        while self.rooms.members() != members {
            assert!(Instant::now() < until, "{} are in the rooms, not {members}", self.rooms.members());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn code(body: Option<&[u8]>) -> String {
    let body: Option<Json> = body.and_then(|body| serde_json::from_slice(body).ok());
    body.and_then(|body| body["code"].as_str().map(str::to_owned)).unwrap_or_default()
}

struct Guest {
    socket: WebSocketStream<TcpStream>,
    protocol: Option<String>,
}

impl Guest {
    /// The next message; pings are answered on the way.
    async fn hear(&mut self) -> Json {
        loop {
            match timeout(SOON, self.socket.next()).await.expect("a message in time").unwrap().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next message that is not about the queue.
    async fn news(&mut self) -> Json {
        loop {
            let told = self.hear().await;
            if told["type"] != "queue" {
                assert_eq!(told["type"], "news", "{told}");
                return told;
            }
        }
    }

    /// Up to now there was nothing to hear.
    async fn hears_nothing(&mut self) {
        self.socket.send(Message::Ping(vec![1].into())).await.unwrap();
        // It is answered after what was said before it.
        match timeout(SOON, self.socket.next()).await.expect("an answer in time").unwrap().unwrap() {
            Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }

    async fn say(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// Code and reason of the end.
    async fn end(&mut self) -> (u16, String) {
        loop {
            match timeout(SOON, self.socket.next()).await.expect("an end in time") {
                Some(Ok(Message::Close(Some(frame)))) => return (frame.code.into(), frame.reason.to_string()),
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_room_hears_of_what_is_its_own_and_of_nothing_else() {
    let inn = Inn::open(quiet()).await;
    let [a1, a2, b1] = [("A", "1"), ("A", "2"), ("B", "1")].map(|(client, branch)| token(client, branch));
    let (mut of_a1, mut of_a2, mut of_b1) = (inn.guest(&a1).await, inn.guest(&a2).await, inn.guest(&b1).await);
    let before = inn.shop.master.entries().len() as u64;
    // An item is a branch's own, a note its client's.
    inn.shop.post(&a1, "/api/sync/batch-push", &new_item("till", 0, "new", "A", "1")).await.ok();
    assert_eq!(of_a1.news().await["at"]["up_to"], before + 1);
    let note = json!({"peer": "till", "previous": 1, "edits": [{"op": 2, "table": "notes", "hlc": "1.0",
        "after": {"id": "n", "client_id": "A", "text": "of both"}}]});
    inn.shop.post(&a1, "/api/sync/batch-push", &note).await.ok();
    assert_eq!(of_a1.news().await["at"]["up_to"], before + 2);
    assert_eq!(of_a2.news().await["at"]["up_to"], before + 2, "the item was not its own");
    inn.shop.post(&b1, "/api/sync/batch-push", &new_item("till", 0, "new-b", "B", "1")).await.ok();
    assert_eq!(of_b1.news().await["at"]["up_to"], before + 3, "nothing of A's before");
    // And what it is told of, it finds.
    let page = inn.shop.get(&b1, "/api/sync/pull-changes?peer=other&limit=1000").await.ok();
    let second = format!("/api/sync/pull-changes?peer=other&cursor={}", page["cursor"].as_str().unwrap());
    let page = inn.shop.get(&b1, &second).await.ok();
    assert_eq!(page["mark"]["up_to"], before + 3);
}

#[tokio::test]
async fn what_the_masters_own_host_writes_is_found_by_looking() {
    let mut settings = quiet();
    settings.look = Duration::from_millis(20);
    let inn = Inn::open(settings).await;
    let mut guest = inn.guest(&token("A", "1")).await;
    put(&inn.shop.master, "notes", note("n1", "B", "another's")).await;
    put(&inn.shop.master, "items", item("x", "A", "2", "another branch's", 1)).await;
    put(&inn.shop.master, "notes", note("n2", "A", "ours")).await;
    let told = guest.news().await;
    assert_eq!((&told["at"]["up_to"], &told["decided"]), (&json!(inn.shop.master.entries().len()), &json!(false)));
    // A row that leaves the room's scope is news as well: it is gone for it.
    put(&inn.shop.master, "notes", note("n2", "B", "given away")).await;
    assert_eq!(guest.news().await["at"]["up_to"], json!(inn.shop.master.entries().len()));
}

#[tokio::test]
async fn a_decision_is_told_although_it_leaves_no_trace_in_the_feed() {
    let mut settings = quiet();
    settings.queue = Duration::from_millis(50);
    let inn = Inn::open(settings).await;
    let b1 = token("B", "1");
    let mut guest = inn.guest(&b1).await;
    let mut other = inn.guest(&token("A", "1")).await;
    for (number, by_route) in [(0, true), (1, false)] {
        let peer = format!("desk-{number}");
        inn.shop.post(&b1, "/api/sync/batch-push", &contested_note(&peer, "nb", "B", "older")).await.ok();
        while guest.hear().await != json!({"type": "queue", "waiting": 1}) {}
        let before = inn.shop.master.entries().len();
        if by_route {
            let id = inn.shop.get(&b1, "/api/sync/stats").await.ok()["conflicts"][0]["id"].clone();
            let decision = json!({"id": id, "decision": "keep_existing"});
            inn.shop.post(&b1, "/api/sync/resolve-conflict", &decision).await.ok();
        } else {
            let waiting = inn.shop.hub.inbox(&Access::everything()).await.unwrap();
            inn.shop.hub.decide(&waiting[0].id, Decision::KeepExisting, &Access::everything()).await.unwrap();
        }
        assert_eq!(inn.shop.master.entries().len(), before, "no trace");
        assert_eq!(guest.news().await["decided"], true, "by route: {by_route}");
    }
    // All that the other tenant hears is that nothing of its own waits.
    for _ in 0..3 {
        assert_eq!(other.hear().await, json!({"type": "queue", "waiting": 0}));
    }
}

#[tokio::test]
async fn who_comes_back_is_told_whether_it_missed_something() {
    let inn = Inn::open(quiet()).await;
    let a1 = token("A", "1");
    let mut guest = inn.guest(&a1).await;
    inn.shop.post(&a1, "/api/sync/batch-push", &new_item("till", 0, "n1", "A", "1")).await.ok();
    let known = guest.news().await["at"].clone();
    drop(guest);
    inn.until_members(0).await;

    put(&inn.shop.master, "notes", note("n", "B", "another's")).await;
    let mut back = inn.guest(&a1).await;
    back.say(&json!({"type": "resume", "at": known}).to_string()).await;
    // What B wrote was not for it.
    back.hears_nothing().await;
    inn.shop.post(&a1, "/api/sync/batch-push", &new_item("till", 1, "n2", "A", "1")).await.ok();
    let told = back.news().await;
    let entries = inn.shop.master.entries().len();
    assert_eq!(told["at"]["up_to"], entries);
    drop(back);

    put(&inn.shop.master, "notes", note("n", "A", "ours now")).await;
    let mut missed = inn.guest(&a1).await;
    missed.say(&json!({"type": "resume", "at": told["at"]}).to_string()).await;
    assert_eq!(missed.news().await["at"]["up_to"], entries + 1);

    let mut restored = inn.guest(&a1).await;
    let elsewhere = json!({"feed": 77, "up_to": entries + 1});
    restored.say(&json!({"type": "resume", "at": elsewhere}).to_string()).await;
    assert_eq!(restored.news().await["at"]["up_to"], entries + 1, "another life of the feed");
}

#[tokio::test]
async fn when_the_feed_begins_another_life_everybody_is_told() {
    let inn = Inn::open(quiet()).await;
    let mut guests = [inn.guest(&token("A", "1")).await, inn.guest(&token("B", "1")).await];
    let mut tx = inn.shop.master.begin().await.unwrap();
    tx.begin_epoch(77, 1000).await.unwrap();
    tx.commit().await.unwrap();
    inn.rooms.stir();
    for guest in &mut guests {
        assert_eq!(guest.news().await["at"]["feed"], 77);
    }
}

#[tokio::test]
async fn only_who_has_a_token_is_let_in_and_never_by_one_in_the_address() {
    let mut settings = quiet();
    settings.origins = vec!["https://shop.example".to_owned()];
    let inn = Inn::open(settings).await;
    let good = token("A", "1");
    let (bearer, offered) = (format!("Bearer {good}"), format!("sync.v1, bearer.{good}"));

    let mut page = inn.knock(inn.request(&[("sec-websocket-protocol", &offered)])).await.unwrap();
    assert_eq!(page.protocol.as_deref(), Some("sync.v1"), "the token does not come back");
    assert_eq!(page.hear().await["type"], "welcome");
    for origin in [None, Some("https://shop.example")] {
        let mut request = inn.request(&[("authorization", &bearer)]);
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().unwrap());
        }
        assert!(inn.knock(request).await.is_ok(), "{origin:?}");
    }
    for origin in ["https://evil.example", "null", "https://shop.example.evil.example", "http://shop.example"] {
        let refusal = inn.refusal(&[("authorization", &bearer), ("origin", origin)]).await;
        assert_eq!(refusal, (403, "bad_origin".to_owned()), "{origin}");
    }

    let unauthorized = (401, "unauthorized".to_owned());
    let mut expired = claims("A", Some("1"), "branch");
    expired["exp"] = (now() - 6).into();
    let expired = sign(&expired);
    let twice = format!("sync.v1, bearer.{good}, bearer.{good}");
    for headers in [
        vec![],
        vec![("authorization", "Bearer garbage")],
        vec![("authorization", "Bearer garbage"), ("sec-websocket-protocol", offered.as_str())],
        vec![("sec-websocket-protocol", "sync.v1")],
        vec![("sec-websocket-protocol", twice.as_str())],
        vec![("sec-websocket-protocol", &*format!("bearer.{expired}"))],
    ] {
        assert_eq!(inn.refusal(&headers).await, unauthorized, "{headers:?}");
    }
    for query in ["token", "access_token", "bearer"] {
        let mut request = inn.request(&[]);
        *request.uri_mut() = format!("ws://{}/api/sync/room?{query}={good}", inn.address).parse().unwrap();
        assert_eq!(inn.knock(request).await.map(|_| "let in").unwrap_err(), unauthorized);
    }
    // The other routes take no token from there.
    let request = Request::get("/api/sync/stats").header("sec-websocket-protocol", &offered);
    assert_eq!(inn.shop.ask(request.body(axum::body::Body::empty()).unwrap()).await.refusal(), unauthorized);
    // And a room is no page.
    assert_eq!(inn.shop.get(&good, "/api/sync/room").await.refusal(), (426, "not_websocket".to_owned()));
}

#[tokio::test]
async fn a_super_admin_is_in_a_tenants_room_only_by_saying_so() {
    let inn = Inn::open(quiet()).await;
    let bearer = format!("Bearer {}", super_admin());
    assert_eq!(inn.refusal(&[("authorization", &bearer)]).await, (403, "act_as_required".to_owned()));
    let acting = [("authorization", &*bearer), ("x-act-as-client", "B"), ("x-act-as-branch", "1")];
    let mut admin = inn.knock(inn.request(&acting)).await.unwrap();
    assert_eq!(admin.hear().await["type"], "welcome");
    inn.shop.post(&token("A", "1"), "/api/sync/batch-push", &new_item("till", 0, "a", "A", "1")).await.ok();
    inn.shop.post(&token("B", "1"), "/api/sync/batch-push", &new_item("till", 0, "b", "B", "1")).await.ok();
    assert_eq!(admin.news().await["at"]["up_to"], inn.shop.master.entries().len(), "of B alone");
    let branch = format!("Bearer {}", token("A", "1"));
    let foreign = [("authorization", &*branch), ("x-act-as-client", "B")];
    assert_eq!(inn.refusal(&foreign).await, (403, "not_super_admin".to_owned()));
}

#[tokio::test]
async fn without_rooms_there_is_no_door() {
    let shop = Shop::open().await;
    assert_eq!(shop.get(&token("A", "1"), "/api/sync/room").await.status, 404);
}

#[tokio::test]
async fn who_answers_pings_stays_and_who_does_not_is_dropped() {
    let mut settings = quiet();
    (settings.ping, settings.pong) = (Duration::from_millis(100), Duration::from_millis(200));
    let inn = Inn::open(settings).await;
    let mut awake = inn.guest(&token("A", "1")).await;
    let asleep = inn.guest(&token("A", "1")).await;
    let began = Instant::now();
    let awake = tokio::spawn(async move {
        // Reading answers them.
        let heard = timeout(Duration::from_millis(900), awake.end()).await;
        (awake, heard.is_err())
    });
    // Not reading, it answers nothing.
    inn.until_members(1).await;
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(300), "{took:?}");
    let mut unread = Vec::new();
    asleep.socket.into_inner().read_to_end(&mut unread).await.unwrap();
    let end = [&4408_u16.to_be_bytes(), b"no_pong".as_slice()].concat();
    assert!(unread.ends_with(&end), "{unread:?}");
    let (_awake, stayed) = awake.await.unwrap();
    assert!(stayed);
    assert_eq!(inn.rooms.members(), 1);
}

#[tokio::test]
async fn a_room_is_left_when_the_token_expires() {
    let inn = Inn::open(quiet()).await;
    let mut claims = claims("A", Some("1"), "branch");
    // Five seconds are given to clocks that are apart: one or two are left.
    claims["exp"] = (now() - 3).into();
    let mut guest = inn.guest(&sign(&claims)).await;
    let began = Instant::now();
    assert_eq!(guest.end().await, (4401, "token_expired".to_owned()));
    assert!(began.elapsed() <= Duration::from_millis(2500));
    inn.until_members(0).await;
}

#[tokio::test]
async fn whoever_says_too_much_or_nonsense_is_sent_out() {
    let mut settings = quiet();
    settings.messages_per_second = 5;
    let inn = Inn::open(settings).await;
    let resume = json!({"type": "resume", "at": {"feed": 0, "up_to": 0}}).to_string();
    let large = format!(r#"{{"type": "resume", "padding": "{}"}}"#, "x".repeat(5000));
    let bad = |code: u16, reason: &str| (code, reason.to_owned());
    for (says, end) in [
        (vec![Message::text("nonsense")], bad(4400, "bad_message")),
        (vec![Message::text(r#"{"type": "join", "room": "B"}"#)], bad(4400, "bad_message")),
        (vec![Message::text(resume.clone()), Message::text(resume)], bad(4400, "bad_message")),
        (vec![Message::binary(vec![1, 2, 3])], bad(4400, "bad_message")),
        (vec![Message::text(large)], bad(1009, "too_large")),
        (vec![Message::Ping(vec![7].into()); 6], bad(4429, "too_many_messages")),
    ] {
        let mut guest = inn.guest(&token("A", "1")).await;
        let what = format!("{:?}", says[0]).chars().take(60).collect::<String>();
        for message in says {
            // It may be out already.
            let _ = guest.socket.send(message).await;
        }
        assert_eq!(guest.end().await, end, "{what}");
        inn.until_members(0).await;
    }
    // As many as are allowed are no harm.
    let mut guest = inn.guest(&token("A", "1")).await;
    for _ in 0..5 {
        guest.socket.send(Message::Ping(vec![7].into())).await.unwrap();
    }
    inn.shop.post(&token("A", "1"), "/api/sync/batch-push", &new_item("till", 0, "a", "A", "1")).await.ok();
    let heard = loop {
        match timeout(SOON, guest.socket.next()).await.unwrap().unwrap().unwrap() {
            Message::Pong(_) => {}
            other => break other,
        }
    };
    assert!(heard.is_text(), "{heard:?}");
}

#[tokio::test]
async fn rooms_are_full_at_their_limits_and_have_room_again_when_somebody_leaves() {
    let mut settings = quiet();
    (settings.members, settings.members_per_client) = (3, 2);
    let inn = Inn::open(settings).await;
    let bearer = |client, branch| format!("Bearer {}", token(client, branch));
    let (a1, b1) = (bearer("A", "1"), bearer("B", "1"));
    let one = inn.guest(&token("A", "1")).await;
    let _two = inn.guest(&token("A", "2")).await;
    let knock = |who: &str| inn.request(&[("authorization", who)]);
    assert_eq!(inn.refusal(&[("authorization", &a1)]).await, (429, "too_many_members".to_owned()));
    let _three = inn.guest(&token("B", "1")).await;
    assert_eq!(inn.refusal(&[("authorization", &b1)]).await, (503, "full".to_owned()));
    drop(one);
    inn.until_members(2).await;
    assert!(inn.knock(knock(&a1)).await.is_ok());
}

#[tokio::test]
async fn a_master_that_stops_tells_everybody_and_lets_nobody_in() {
    let inn = Inn::open(quiet()).await;
    let mut guests = [inn.guest(&token("A", "1")).await, inn.guest(&token("B", "1")).await];
    let ends = tokio::spawn(async move {
        let mut ends = Vec::new();
        for guest in &mut guests {
            ends.push(guest.end().await);
        }
        ends
    });
    assert!(inn.rooms.close().await, "all have left");
    assert_eq!(inn.rooms.members(), 0);
    assert_eq!(ends.await.unwrap(), vec![(1001, "stopping".to_owned()); 2]);
    let bearer = format!("Bearer {}", token("A", "1"));
    assert_eq!(inn.refusal(&[("authorization", &bearer)]).await, (503, "stopping".to_owned()));
}

#[tokio::test]
async fn a_member_that_takes_nothing_holds_nobody_up_and_is_dropped() {
    let mut settings = quiet();
    (settings.ping, settings.pong) = (Duration::from_millis(300), Duration::from_millis(300));
    let inn = Inn::open(settings).await;
    let _stalled = inn.guest(&token("A", "1")).await;
    let mut reading = inn.guest(&token("A", "1")).await;
    for number in 0..50 {
        put(&inn.shop.master, "notes", note(&format!("n{number}"), "A", "news")).await;
        inn.rooms.stir();
    }
    while reading.news().await["at"]["up_to"] != 5 + 50 {}
    let reading = tokio::spawn(async move { reading.end().await });
    inn.until_members(1).await;
    assert!(!reading.is_finished(), "who reads stays");
}

#[tokio::test]
async fn an_address_that_proves_nothing_is_held_back_and_who_has_a_token_is_not() {
    let inn = Inn::with(quiet(), |routes| routes.strangers_per_minute(3.try_into().unwrap())).await;
    let client = reqwest::Client::new();
    let ask = async |path: &str, token: &str| {
        let request = client.get(format!("http://{}/api/sync/{path}", inn.address)).bearer_auth(token);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.headers().contains_key("retry-after"))
    };
    assert_eq!(ask("openapi.json", "").await, (200, false));
    assert_eq!(ask("stats", "forged").await, (401, false));
    assert_eq!(inn.refusal(&[]).await.0, 401);
    for path in ["stats", "openapi.json", "room", "pull-changes"] {
        assert_eq!(ask(path, "forged").await, (429, true), "{path}");
    }
    assert_eq!(ask("stats", &token("A", "1")).await, (200, false), "its neighbour");
    inn.guest(&token("A", "1")).await;
}
