//! The room: knocks until it is let in, listens, and comes back when it was cut off.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use reqwest::Upgraded;
use sync_core::{Error, ErrorKind, Result};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{LiveBranch, pace};
use crate::client::answer::{Answer, Effect};
use crate::client::http_client;
use crate::client::token::Token;
use crate::wire::{Asked, Mark, PROTOCOL, TOKEN_EXPIRED, Told};

/// How long the first message may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// Who was in the room for so long begins with short pauses again.
const SETTLED: Duration = Duration::from_secs(30);
/// The largest message, bytes.
const LARGEST: usize = 64 * 1024;

type Socket = WebSocketStream<Upgraded>;

/// The way to a room.
#[derive(Debug, Clone)]
pub(super) struct Door {
    url: Url,
    client: reqwest::Client,
}

impl Door {
    /// The door of the master at this address.
    pub(super) fn of(base: &Url) -> Result<Self> {
        let url = base.join("api/sync/room").map_err(|cause| Error::config("this is no address").caused_by(cause))?;
        // An upgrade is an affair of HTTP/1.1, and what was upgraded has no deadline.
        let client = http_client()
            .http1_only()
            .build()
            .map_err(|cause| Error::config("the HTTP client cannot be made").caused_by(cause))?;
        Ok(Self { url, client })
    }
}

/// Until it is told to stop.
pub(super) async fn keep(live: &LiveBranch, stop: &CancellationToken) {
    let (mut failures, mut refused) = (0, None);
    while !stop.is_cancelled() {
        let began = live.clock.elapsed();
        let error = match visit(live, &mut refused, stop).await {
            Ok(()) => return live.desk.left(None),
            Err(error) => error,
        };
        tracing::debug!(%error, "sync: not in the room; it is tried again");
        live.desk.left(Some(error.to_string()));
        failures = if live.clock.elapsed() - began >= SETTLED { 1 } else { failures + 1 };
        let pause = pace::floor(&error) + live.pause(failures);
        tokio::select! { biased;
            () = stop.cancelled() => return,
            () = live.clock.sleep(pause) => {}
        }
    }
}

/// In the room, until the stop; the error is why not, or no longer. `refused` is a token that is no longer taken.
async fn visit(live: &LiveBranch, refused: &mut Option<Token>, stop: &CancellationToken) -> Result<()> {
    let entered = tokio::select! { biased;
        () = stop.cancelled() => return Ok(()),
        entered = enter(live, refused) => entered?,
        () = live.clock.sleep(PATIENCE) => return Err(lost("the room is not opened in time")),
    };
    let (mut socket, token) = entered;
    let mut silence = PATIENCE;
    loop {
        let message = tokio::select! { biased;
            () = stop.cancelled() => {
                tokio::select! {
                    () = farewell(&mut socket) => {}
                    () = live.clock.sleep(FAREWELL) => {}
                }
                return Ok(());
            }
            message = socket.next() => message,
            () = live.clock.sleep(silence) => return Err(lost("nothing comes from the room, not even a ping")),
        };
        match message {
            Some(Ok(Message::Text(text))) => {
                if let Some(ping) = hear(live, &mut socket, &text).await? {
                    // One ping may be late, two are not.
                    silence = (ping * 2).max(Duration::from_secs(1));
                }
            }
            Some(Ok(Message::Close(frame))) => {
                let frame = frame.map(|frame| (u16::from(frame.code), frame.reason.to_string()));
                if frame.as_ref().is_some_and(|(code, _)| *code == TOKEN_EXPIRED.code) {
                    *refused = Some(token);
                }
                let (code, reason) = frame.unwrap_or_default();
                return Err(lost("the master has closed the room").with("code", code).with("reason", reason));
            }
            Some(Ok(_)) => {}
            Some(Err(cause)) => return Err(lost("the way to the room is cut").caused_by(cause)),
            None => return Err(lost("the way to the room is cut")),
        }
    }
}

/// What the master says; how often it pings, where it says so.
async fn hear(live: &LiveBranch, socket: &mut Socket, text: &str) -> Result<Option<Duration>> {
    let told = serde_json::from_str(text).map_err(|_| Error::malformed("this is no room of a master"))?;
    match told {
        Told::Welcome { at, ping_ms } => {
            welcome(live, socket, at).await?;
            return Ok(Some(Duration::from_millis(ping_ms)));
        }
        Told::News { decided: true, .. } => live.desk.wake(),
        Told::News { at, .. } => live.desk.news(at),
        Told::Queue { waiting } => live.desk.state.send_modify(|state| state.waiting = Some(waiting)),
        Told::Other => {}
    }
    Ok(None)
}

/// What came while nobody was in the room.
async fn welcome(live: &LiveBranch, socket: &mut Socket, at: Mark) -> Result<()> {
    live.desk.joined();
    // A decision may leave no trace in the feed: who waits for one asks.
    let waits = live.branch.link().await.is_ok_and(|link| !link.waiting.is_empty());
    match live.desk.known() {
        _ if waits => live.desk.wake(),
        None => live.desk.news(at),
        Some(known) if known == at => {}
        Some(known) => {
            let asked = serde_json::to_string(&Asked::Resume { at: known })
                .map_err(|cause| Error::internal("a message cannot be written as JSON").caused_by(cause))?;
            let sent = socket.send(Message::Text(Utf8Bytes::from(asked))).await;
            sent.map_err(|cause| lost("the way to the room is cut").caused_by(cause))?;
        }
    }
    Ok(())
}

/// Through the door, with a token that is taken.
async fn enter(live: &LiveBranch, refused: &mut Option<Token>) -> Result<(Socket, Token)> {
    let tokens = &live.master.tokens;
    let mut token = match refused.take() {
        Some(refused) => tokens.renewed(&refused).await?,
        None => tokens.current().await?,
    };
    let mut renewed = false;
    loop {
        let key = generate_key();
        let request = live
            .door
            .client
            .get(live.door.url.clone())
            .bearer_auth(token.secret())
            .header(CONNECTION, "upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_PROTOCOL, PROTOCOL)
            .header(SEC_WEBSOCKET_KEY, &key);
        let response =
            request.send().await.map_err(|cause| lost("the room cannot be reached").caused_by(cause.without_url()))?;
        match response.status() {
            StatusCode::SWITCHING_PROTOCOLS => {
                check(response.headers(), &key)?;
                let upgraded = response.upgrade().await;
                let upgraded =
                    upgraded.map_err(|cause| lost("the room cannot be entered").caused_by(cause.without_url()))?;
                let config = WebSocketConfig::default()
                    .read_buffer_size(4096)
                    .max_message_size(Some(LARGEST))
                    .max_frame_size(Some(LARGEST));
                return Ok((WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await, token));
            }
            StatusCode::UNAUTHORIZED if !renewed => (token, renewed) = (tokens.renewed(&token).await?, true),
            _ => {
                // What it says is read within limits, as any answer.
                let answer = Answer::read(response, Effect::Reads).await?;
                return Err(match answer.checked(Effect::Reads) {
                    Err(refusal) => refusal,
                    Ok(_) => Error::config("what is at this address is no room"),
                });
            }
        }
    }
}

/// Whether the other side understood what it was asked (RFC 6455, 4.1).
fn check(headers: &HeaderMap, key: &str) -> Result<()> {
    let has = |name, expected: &str| {
        headers
            .get(name)
            .map(HeaderValue::as_bytes)
            .is_some_and(|value| value.eq_ignore_ascii_case(expected.as_bytes()))
    };
    let accepted = headers
        .get(SEC_WEBSOCKET_ACCEPT)
        .is_some_and(|value| value.as_bytes() == derive_accept_key(key.as_bytes()).as_bytes());
    match has(UPGRADE, "websocket") && has(SEC_WEBSOCKET_PROTOCOL, PROTOCOL) && accepted {
        true => Ok(()),
        false => Err(Error::config("what is at this address is no room")),
    }
}

async fn farewell(socket: &mut Socket) {
    if socket.close(None).await.is_ok() {
        while let Some(Ok(_)) = socket.next().await {}
    }
}

fn lost(message: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, message)
}
