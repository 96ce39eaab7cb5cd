//! One connection: what it is told, what it may say, and why it ends.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use chrono::Utc;
use serde::Serialize;
use tokio::time::{Instant, interval_at, sleep_until, timeout};

use super::Inner;
use super::seats::{Latest, Seat};
use super::watch::has_news;
use crate::server::Service;
use crate::server::caller::Caller;
use crate::wire::{
    Asked, BAD_MESSAGE, Closing, FAILED, Mark, NO_PONG, STOPPING, TOKEN_EXPIRED, TOKEN_REVOKED, TOO_LARGE, TOO_MANY,
    Told,
};

/// The longest that a connection stays, whatever its token says. Nobody notices: it comes back.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How long a connection that ends may take over it: the word why, and the answer to it.
const FAREWELL: Duration = Duration::from_secs(1);

/// Somebody in a room.
pub(super) struct Member {
    service: Arc<Service>,
    rooms: Arc<Inner>,
    caller: Caller,
    seat: Seat,
    /// Up to where it was told.
    at: Mark,
    decided: u64,
    ticks: u64,
    resumed: bool,
    said: Said,
}

/// How much it has said in this second.
struct Said {
    since: Instant,
    messages: u32,
}

/// How a connection ends.
enum End {
    /// With a word to the other side.
    Close(Closing),
    /// Without: it has left, or takes nothing.
    Gone,
}

impl Member {
    pub(super) fn new(service: Arc<Service>, rooms: Arc<Inner>, caller: Caller, seat: Seat, at: Mark) -> Self {
        let Latest { decided, ticks, .. } = *seat.latest.borrow();
        let said = Said { since: Instant::now(), messages: 0 };
        Self { service, rooms, caller, seat, at, decided, ticks, resumed: false, said }
    }

    /// Until it leaves, or has to.
    pub(super) async fn stay(mut self, mut socket: WebSocket) {
        let who = self.caller.principal();
        tracing::debug!(who, "sync: joined its room");
        match self.attend(&mut socket).await {
            End::Gone => tracing::debug!(who, "sync: left its room"),
            End::Close(Closing { code, reason }) => {
                tracing::debug!(who, code, reason, "sync: was sent out of its room");
                let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
                // Who does not take this either finds the connection cut.
                let _ = timeout(FAREWELL, farewell(&mut socket, frame)).await;
            }
        }
    }

    async fn attend(&mut self, socket: &mut WebSocket) -> End {
        let (ping, pong) = (self.rooms.settings.ping, self.rooms.settings.pong);
        let stay = self.caller.until().map_or(LONGEST, |until| (until - Utc::now()).to_std().unwrap_or_default());
        let expired = Instant::now() + stay.min(LONGEST);
        let mut pings = interval_at(Instant::now() + ping, ping);
        let mut answer_by: Option<Instant> = None;
        let mut revoked = self.service.revoked.watch();
        // It may have been revoked between the question and this.
        revoked.mark_changed();
        let ping_ms = u64::try_from(ping.as_millis()).unwrap_or(u64::MAX);
        if let Err(end) = self.tell(socket, &Told::Welcome { at: self.at, ping_ms }).await {
            return end;
        }
        loop {
            let late = async move {
                match answer_by {
                    Some(moment) => sleep_until(moment).await,
                    None => pending().await,
                }
            };
            let next = tokio::select! { biased;
                () = self.rooms.stop.cancelled() => Err(End::Close(STOPPING)),
                () = sleep_until(expired) => Err(End::Close(TOKEN_EXPIRED)),
                Ok(()) = revoked.changed() => match self.caller.is_revoked(&self.service.revoked) {
                    true => Err(End::Close(TOKEN_REVOKED)),
                    false => Ok(()),
                },
                () = late => Err(End::Close(NO_PONG)),
                message = socket.recv() => match message {
                    Some(Ok(message)) => {
                        if matches!(message, Message::Pong(_)) {
                            answer_by = None;
                        }
                        self.hear(socket, message).await
                    }
                    Some(Err(error)) => Err(unreadable(error)),
                    None => Err(End::Gone),
                },
                _ = pings.tick() => {
                    answer_by.get_or_insert(Instant::now() + pong);
                    self.send(socket, Message::Ping(Default::default())).await
                }
                changed = self.seat.latest.changed() => match changed {
                    Ok(()) => self.pass_on(socket).await,
                    Err(_) => Err(End::Gone),
                },
            };
            if let Err(end) = next {
                return end;
            }
        }
    }

    /// What the room was told since this member was.
    async fn pass_on(&mut self, socket: &mut WebSocket) -> Result<(), End> {
        let Latest { at, decided, ticks, waiting } = *self.seat.latest.borrow_and_update();
        let at = at.filter(|at| !self.at.covers(*at));
        if at.is_some() || decided != self.decided {
            self.at = at.unwrap_or(self.at);
            let news = Told::News { at: self.at, decided: decided != self.decided };
            self.decided = decided;
            self.tell(socket, &news).await?;
        }
        if ticks != self.ticks {
            self.ticks = ticks;
            self.tell(socket, &Told::Queue { waiting }).await?;
        }
        Ok(())
    }

    async fn hear(&mut self, socket: &mut WebSocket, message: Message) -> Result<(), End> {
        self.said.count(self.rooms.settings.messages_per_second)?;
        let text = match message {
            Message::Text(text) => text,
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
            Message::Close(_) => {
                // The answer to it goes out with the next read.
                let _ = timeout(FAREWELL, socket.recv()).await;
                return Err(End::Gone);
            }
            Message::Binary(_) => return Err(End::Close(BAD_MESSAGE)),
        };
        match serde_json::from_str(&text) {
            Ok(Asked::Resume { at }) if !self.resumed => {
                self.resumed = true;
                match has_news(&self.service, &self.caller, at).await {
                    Ok(Some(at)) => self.tell(socket, &Told::News { at, decided: false }).await,
                    Ok(None) => Ok(()),
                    Err(error) => {
                        tracing::warn!(%error, "sync: a room cannot be told of news");
                        Err(End::Close(FAILED))
                    }
                }
            }
            _ => Err(End::Close(BAD_MESSAGE)),
        }
    }

    async fn tell(&self, socket: &mut WebSocket, told: &impl Serialize) -> Result<(), End> {
        let text = serde_json::to_string(told).map_err(|_| End::Close(FAILED))?;
        self.send(socket, Message::Text(text.into())).await
    }

    /// Each message is written through before the next: nothing is kept for who does not read.
    async fn send(&self, socket: &mut WebSocket, message: Message) -> Result<(), End> {
        match timeout(self.rooms.settings.write, socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => {
                tracing::info!(who = self.caller.principal(), "sync: a member does not take what it is sent: dropped");
                Err(End::Gone)
            }
        }
    }
}

impl Said {
    fn count(&mut self, most: u32) -> Result<(), End> {
        if self.since.elapsed() >= Duration::from_secs(1) {
            (self.since, self.messages) = (Instant::now(), 0);
        }
        self.messages += 1;
        if self.messages > most { Err(End::Close(TOO_MANY)) } else { Ok(()) }
    }
}

/// The close frame, and then what the other side still says, up to its own.
async fn farewell(socket: &mut WebSocket, frame: CloseFrame) {
    if socket.send(Message::Close(Some(frame))).await.is_ok() {
        while let Some(Ok(_)) = socket.recv().await {}
    }
}

fn unreadable(error: axum::Error) -> End {
    use tokio_tungstenite::tungstenite::Error::Capacity;
    let cause = error.into_inner().downcast::<tokio_tungstenite::tungstenite::Error>();
    if cause.is_ok_and(|cause| matches!(*cause, Capacity(_))) { End::Close(TOO_LARGE) } else { End::Gone }
}
