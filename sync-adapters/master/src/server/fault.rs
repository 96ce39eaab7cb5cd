//! What a caller is told when something goes wrong: a code, a sentence, and an id to find it in the log. Nothing else.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use sync_core::{Error, ErrorKind, Retry};

use crate::refusal::said;
use crate::wire::Problem;

/// A refusal on its way out.
#[derive(Debug)]
pub(super) struct Fault {
    status: StatusCode,
    code: Cow<'static, str>,
    message: String,
    retry_after: Option<Duration>,
    last_op: Option<u64>,
    op: Option<u64>,
    /// For the log alone.
    cause: Option<Box<str>>,
}

impl Fault {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
            retry_after: None,
            last_op: None,
            op: None,
            cause: None,
        }
    }

    pub(super) fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(super) fn because(mut self, cause: impl ToString) -> Self {
        self.cause = Some(cause.to_string().into());
        self
    }

    pub(super) fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

/// What of an error's context may be told: names that the caller knows anyway, and numbers.
const TOLD: [&str; 5] = ["table", "column", "op", "edits", "most"];

impl From<Error> for Fault {
    /// An error with a code was made for the caller. Of any other, the caller learns its kind.
    fn from(error: Error) -> Self {
        let code = said(&error, "code");
        let status = status(error.kind(), code);
        let is_ours = code.is_some_and(is_known) && !status.is_server_error();
        let (code, mut message) = match (code, is_ours) {
            (Some(code), true) => (Cow::Owned(code.to_owned()), error.message().to_owned()),
            _ => (Cow::Borrowed(error.kind().name()), general(status).to_owned()),
        };
        if is_ours {
            for (name, value) in error.context().filter(|(name, _)| TOLD.contains(name)) {
                message.push_str(&format!("; {name}: {value}"));
            }
        }
        let retry_after = match error.retry() {
            Retry::After(wait) => Some(wait),
            _ if status == StatusCode::SERVICE_UNAVAILABLE => Some(Duration::from_secs(5)),
            _ => None,
        };
        let number = |name: &str| said(&error, name).and_then(|op| op.parse().ok());
        let (last_op, op) = (number("last_op"), number("op").filter(|_| is_ours));
        Self { status, code, message, retry_after, last_op, op, cause: Some(error.to_string().into()) }
    }
}

/// The codes that this crate and the engine give. Any other code is a database's own, and not for callers.
fn is_known(code: &str) -> bool {
    const KNOWN: [&str; 27] = [
        "bad_batch",
        "bad_cursor",
        "bad_numbers",
        "bad_peer",
        "bad_record",
        "bad_row",
        "bad_timestamp",
        "busy",
        "duplicate_column",
        "empty_edit",
        "empty_group",
        "ended",
        "forked",
        "gap",
        "group_too_large",
        "not_waiting",
        "not_yours",
        "server_owned",
        "start_over",
        "unknown_column",
        "unknown_table",
        "wrong_columns",
        "wrong_key",
        "wrong_rows",
        "wrong_type",
        "would_wait",
        "unknown_action",
    ];
    KNOWN.contains(&code)
}

fn status(kind: ErrorKind, code: Option<&str>) -> StatusCode {
    match (kind, code) {
        (_, Some("not_waiting")) => StatusCode::NOT_FOUND,
        (_, Some("bad_cursor" | "bad_peer" | "bad_batch" | "bad_record" | "bad_timestamp" | "unknown_action")) => {
            StatusCode::BAD_REQUEST
        }
        (ErrorKind::Unauthorized, _) => StatusCode::UNAUTHORIZED,
        (ErrorKind::Forbidden, _) => StatusCode::FORBIDDEN,
        (ErrorKind::Gone, _) => StatusCode::GONE,
        (ErrorKind::Throttled, _) => StatusCode::TOO_MANY_REQUESTS,
        (ErrorKind::Conflict, _) => StatusCode::CONFLICT,
        (ErrorKind::Limit, _) => StatusCode::PAYLOAD_TOO_LARGE,
        (ErrorKind::Data, _) | (ErrorKind::Schema, Some(_)) => StatusCode::UNPROCESSABLE_ENTITY,
        (ErrorKind::Unavailable | ErrorKind::Full | ErrorKind::Fenced | ErrorKind::Cancelled, _) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn general(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNPROCESSABLE_ENTITY => "a row is not acceptable: the master's log says why under this id",
        StatusCode::CONFLICT => "another writer was in the way: try again",
        StatusCode::SERVICE_UNAVAILABLE => "the master cannot serve for the moment: try again later",
        StatusCode::TOO_MANY_REQUESTS => "too many requests: wait",
        _ => "the master failed: its log says more under this id",
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let id = uuid::Uuid::new_v4().to_string();
        let (status, code) = (self.status.as_u16(), &*self.code);
        let cause = self.cause.as_deref().unwrap_or(&self.message);
        if self.status.is_server_error() {
            tracing::error!(id, status, code, cause, "sync: a request failed");
        } else {
            tracing::info!(id, status, code, cause, "sync: a request was refused");
        }
        let problem =
            Problem { code: self.code.into_owned(), message: self.message, id, last_op: self.last_op, op: self.op };
        let mut response = (self.status, Json(problem)).into_response();
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after {
            // Rounded up: who comes back then must not be too early.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
