//! Who may call a route: none is served without saying so.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use http::{Method, StatusCode};

use super::Service;
use super::auth::{Place, authenticate};
use super::call::Call;
use super::caller::Caller;
use super::fault::Fault;

type Answer = Pin<Box<dyn Future<Output = Result<Response, Fault>> + Send>>;
type Guarded = Arc<dyn Fn(Arc<Service>, Caller, Call) -> Answer + Send + Sync>;
type Unguarded = Arc<dyn Fn(Arc<Service>) -> Answer + Send + Sync>;

/// Who may call a route. The handler is a part of it: there is no way to hand one over without.
#[derive(Clone)]
pub(super) enum Policy {
    /// Whoever has a token. The handler gets the caller, and only through it sees any row.
    Token(Guarded),
    /// The same, where the token may also stand among the subprotocols of a WebSocket.
    SocketToken(Guarded),
    /// Everybody, as this one caller, without a token.
    As { why: &'static str, caller: Caller, handler: Guarded },
    /// Everybody. The handler gets nothing of the request.
    Open { why: &'static str, handler: Unguarded },
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(_) => f.write_str("Token"),
            Self::SocketToken(_) => f.write_str("SocketToken"),
            Self::As { why, caller, .. } => f.debug_struct("As").field("why", why).field("caller", caller).finish(),
            Self::Open { why, .. } => f.debug_struct("Open").field("why", why).finish(),
        }
    }
}

/// A handler for callers who have proved who they are.
pub(super) fn guarded<F, A>(handler: F) -> Guarded
where
    F: Fn(Arc<Service>, Caller, Call) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Response, Fault>> + Send + 'static,
{
    Arc::new(move |service, caller, call| Box::pin(handler(service, caller, call)))
}

/// A handler for everybody.
pub(super) fn unguarded<F, A>(handler: F) -> Unguarded
where
    F: Fn(Arc<Service>) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Response, Fault>> + Send + 'static,
{
    Arc::new(move |service| Box::pin(handler(service)))
}

/// One method of one path, and who may call it.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
    policy: Policy,
}

impl Route {
    pub(super) fn get(path: &'static str, policy: Policy) -> Self {
        Self { method: Method::GET, path, policy }
    }

    pub(super) fn post(path: &'static str, policy: Policy) -> Self {
        Self { method: Method::POST, path, policy }
    }

    pub(super) fn served(self, service: Arc<Service>) -> MethodRouter {
        let filter = if self.method == Method::POST { MethodFilter::POST } else { MethodFilter::GET };
        let policy = self.policy;
        let wrong =
            || async { Fault::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", "the route has another method") };
        on(filter, move |request: Request<Body>| serve(Arc::clone(&service), policy.clone(), request)).fallback(wrong)
    }
}

/// First who, then how often, and only then what.
async fn serve(service: Arc<Service>, policy: Policy, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let answer = match policy {
        Policy::Open { handler, .. } => match service.strangers.take(&parts) {
            Ok(()) => handler(service).await,
            Err(fault) => Err(fault),
        },
        Policy::Token(handler) => proved(service, Place::Header, handler, Call { parts, body }).await,
        Policy::SocketToken(handler) => proved(service, Place::HeaderOrProtocol, handler, Call { parts, body }).await,
        Policy::As { caller, handler, .. } => admitted(service, caller, handler, Call { parts, body }).await,
    };
    answer.unwrap_or_else(IntoResponse::into_response)
}

async fn proved(service: Arc<Service>, place: Place, handler: Guarded, call: Call) -> Result<Response, Fault> {
    match authenticate(&service, &call.parts, place) {
        Ok(caller) => admitted(service, caller, handler, call).await,
        // Who proves nothing is counted by address, whatever is wrong with the token.
        Err(fault) => Err(service.strangers.take(&call.parts).err().unwrap_or(fault)),
    }
}

async fn admitted(service: Arc<Service>, caller: Caller, handler: Guarded, call: Call) -> Result<Response, Fault> {
    service.quotas.take(caller.principal())?;
    let may_write = call.parts.method == Method::POST;
    let rooms = service.rooms.clone().filter(|_| may_write);
    let answer = handler(service, caller, call).await;
    if let Some(rooms) = rooms {
        rooms.stir();
    }
    answer
}
