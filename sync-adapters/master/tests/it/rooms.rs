//! Rooms: who is let in, what they hear, and why they are sent out.

mod doors;
mod news;
mod revoked;

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
