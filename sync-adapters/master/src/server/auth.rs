//! From a request to a caller: the token, the role, and in whose name.

use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderMap, SEC_WEBSOCKET_PROTOCOL};
use http::request::Parts;

use super::Service;
use super::audit::ActedAs;
use super::caller::{Caller, is_id};
use super::fault::Fault;
use super::keys::{Claims, Id};
use crate::wire::TOKEN;

/// With whose client id a super-admin acts.
pub(super) const ACT_AS_CLIENT: &str = "x-act-as-client";
/// And with whose branch id.
pub(super) const ACT_AS_BRANCH: &str = "x-act-as-branch";

/// The role that may act in a tenant's name.
const SUPER_ADMIN: &str = "super-admin";

/// Where a token may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In `Authorization`.
    Header,
    /// There, or among the subprotocols that are offered: a page in a browser cannot set headers of a WebSocket.
    HeaderOrProtocol,
}

/// Who is asking.
///
/// # Errors
/// 401 whatever is wrong with the token, in the same words; 403 where the role does not allow it.
pub(super) fn authenticate(service: &Service, parts: &Parts, place: Place) -> Result<Caller, Fault> {
    let token = match place {
        Place::HeaderOrProtocol if !parts.headers.contains_key(AUTHORIZATION) => offered(&parts.headers)?,
        _ => bearer(&parts.headers)?,
    };
    let claims = service.keys.verify(token).map_err(|why| unauthorized().because(why))?;
    if service.revoked.has(&claims) {
        return Err(unauthorized().because("the token was revoked"));
    }
    let client = one(&parts.headers, ACT_AS_CLIENT)?;
    let branch = one(&parts.headers, ACT_AS_BRANCH)?;
    if claims.role.as_deref() == Some(SUPER_ADMIN) {
        return act_as(service, parts, claims, client, branch);
    }
    if client.is_some() || branch.is_some() {
        return Err(Fault::new(StatusCode::FORBIDDEN, "not_super_admin", "only a super-admin acts in a tenant's name"));
    }
    let client = claims.client_id.as_ref().map(Id::to_string).filter(|id| is_id(id));
    let client = client.ok_or_else(|| unauthorized().because("the token has no client_id"))?;
    let branch = match claims.branch_id.as_ref().map(Id::to_string) {
        Some(id) if !is_id(&id) => return Err(unauthorized().because("the token's branch_id is none")),
        branch => branch,
    };
    let access = service.scope.access(&client, branch.as_deref());
    let access = access.ok_or_else(|| unauthorized().because("an id of the token does not fit its scope column"))?;
    Ok(Caller::new(claims.sub.clone(), client, branch, access).proved_by(claims))
}

fn act_as(
    service: &Service,
    parts: &Parts,
    claims: Claims,
    client: Option<&str>,
    branch: Option<&str>,
) -> Result<Caller, Fault> {
    let Some(client) = client else {
        let message = "a super-admin says in whose name: x-act-as-client, and x-act-as-branch";
        return Err(Fault::new(StatusCode::FORBIDDEN, "act_as_required", message));
    };
    let bad = || Fault::bad_request("bad_act_as", "this is not the id of a client or a branch");
    if !is_id(client) || branch.is_some_and(|branch| !is_id(branch)) {
        return Err(bad());
    }
    let access = service.scope.access(client, branch).ok_or_else(bad)?;
    service.audit.record(&ActedAs::new(&claims.sub, client, branch, parts));
    let caller = Caller::new(claims.sub.clone(), client.to_owned(), branch.map(str::to_owned), access);
    Ok(caller.proved_by(claims))
}

fn bearer(headers: &HeaderMap) -> Result<&str, Fault> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else { return Err(unauthorized()) };
    let value = value.to_str().map_err(|_| unauthorized())?;
    let (scheme, token) = value.split_once(' ').ok_or_else(unauthorized)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim()) } else { Err(unauthorized()) }
}

/// The one token among the subprotocols.
fn offered(headers: &HeaderMap) -> Result<&str, Fault> {
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let mut tokens = offered.flat_map(|list| list.split(',')).filter_map(|one| one.trim().strip_prefix(TOKEN));
    match (tokens.next(), tokens.next()) {
        (Some(token), None) => Ok(token),
        _ => Err(unauthorized()),
    }
}

fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Fault> {
    let mut all = headers.get_all(name).iter();
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            value.to_str().map(Some).map_err(|_| Fault::bad_request("bad_act_as", "an id is visible ASCII"))
        }
        _ => Err(Fault::bad_request("bad_act_as", "in whose name is said once")),
    }
}

fn unauthorized() -> Fault {
    Fault::new(StatusCode::UNAUTHORIZED, "unauthorized", "a valid token is required")
}
