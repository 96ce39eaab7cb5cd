//! Who may call a route: none is served without saying so. `crate::proof` shows what the compiler says of one that does not.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
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

/// A handler for callers who have proved who they are, or who are known otherwise.
#[derive(Clone)]
pub struct Guarded(Arc<dyn Fn(Arc<Service>, Caller, Call) -> Answer + Send + Sync>);

/// A handler for everybody.
#[derive(Clone)]
pub struct Unguarded(Arc<dyn Fn(Arc<Service>) -> Answer + Send + Sync>);

/// A caller whom the host names: nobody proves anything.
#[derive(Debug, Clone)]
pub struct Known(pub(super) Caller);

/// Who may call a route. The handler is a part of it: there is no way to hand one over without.
#[derive(Debug, Clone)]
pub enum Policy {
    /// Whoever has a token. The handler gets the caller, and only through it sees any row.
    Token(Guarded),
    /// The same, where the token may also stand among the subprotocols of a WebSocket.
    SocketToken(Guarded),
    /// Everybody, as this one caller, without a token.
    As {
        /// Why nobody has to prove anything.
        why: &'static str,
        /// As whom.
        caller: Known,
        /// What is done for them.
        handler: Guarded,
    },
    /// Everybody. The handler gets nothing of the request.
    Open {
        /// Why nobody has to prove anything.
        why: &'static str,
        /// What is done for them.
        handler: Unguarded,
    },
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").finish_non_exhaustive()
    }
}

impl fmt::Debug for Unguarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unguarded").finish_non_exhaustive()
    }
}

impl Policy {
    /// Whether a token is asked for.
    pub(super) fn asks_for_a_token(&self) -> bool {
        matches!(self, Self::Token(_) | Self::SocketToken(_))
    }

    /// What it refuses by itself, whatever the handler does: the status, and what is said.
    pub(super) fn refusals(&self) -> &'static [(StatusCode, &'static str)] {
        const TOO_MANY: (StatusCode, &str) =
            (StatusCode::TOO_MANY_REQUESTS, "`too_many_requests`: wait as long as `Retry-After` says");
        const OF_TOKENS: [(StatusCode, &str); 4] = [
            (StatusCode::BAD_REQUEST, "`bad_act_as`: an id of those in whose name a super-admin acts is none"),
            (StatusCode::UNAUTHORIZED, "`unauthorized`: a valid token is required"),
            (
                StatusCode::FORBIDDEN,
                "`act_as_required`: a super-admin says in whose name; `not_super_admin`: nobody else may",
            ),
            TOO_MANY,
        ];
        match self {
            Self::Token(_) | Self::SocketToken(_) => &OF_TOKENS,
            Self::As { .. } | Self::Open { .. } => &[TOO_MANY],
        }
    }
}

/// A handler for callers who have proved who they are.
pub(super) fn guarded<F, A>(handler: F) -> Guarded
where
    F: Fn(Arc<Service>, Caller, Call) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Response, Fault>> + Send + 'static,
{
    Guarded(Arc::new(move |service, caller, call| Box::pin(handler(service, caller, call))))
}

/// A handler for everybody.
pub(super) fn unguarded<F, A>(handler: F) -> Unguarded
where
    F: Fn(Arc<Service>) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Response, Fault>> + Send + 'static,
{
    Unguarded(Arc::new(move |service| Box::pin(handler(service))))
}

/// One method of one path, and who may call it.
#[derive(Debug, Clone)]
pub struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) policy: Policy,
}

impl Route {
    /// It is asked by GET.
    pub fn get(path: &'static str, policy: Policy) -> Self {
        Self { method: Method::GET, path, policy }
    }

    /// It is asked by POST.
    pub fn post(path: &'static str, policy: Policy) -> Self {
        Self { method: Method::POST, path, policy }
    }

    fn served(self, service: Arc<Service>) -> MethodRouter {
        let filter = if self.method == Method::POST { MethodFilter::POST } else { MethodFilter::GET };
        let policy = self.policy;
        let wrong =
            || async { Fault::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", "the route has another method") };
        on(filter, move |request: Request<Body>| serve(Arc::clone(&service), policy.clone(), request)).fallback(wrong)
    }
}

/// The router of these routes. There is no other way into a router: `clippy.toml` refuses one.
#[expect(clippy::disallowed_methods, reason = "a route comes with its policy")]
pub(super) fn mounted(routes: Vec<Route>, service: &Arc<Service>) -> Router {
    routes.into_iter().fold(Router::new(), |router, route| router.route(route.path, route.served(Arc::clone(service))))
}

/// First who, then how often, and only then what.
async fn serve(service: Arc<Service>, policy: Policy, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let answer = match policy {
        Policy::Open { handler, .. } => match service.strangers.take(&parts) {
            Ok(()) => (handler.0)(service).await,
            Err(fault) => Err(fault),
        },
        Policy::Token(handler) => proved(service, Place::Header, handler, Call { parts, body }).await,
        Policy::SocketToken(handler) => proved(service, Place::HeaderOrProtocol, handler, Call { parts, body }).await,
        Policy::As { caller, handler, .. } => admitted(service, caller.0, handler, Call { parts, body }).await,
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
    let answer = (handler.0)(service, caller, call).await;
    if let Some(rooms) = rooms {
        rooms.stir();
    }
    answer
}
