//! What the master answered, and what its refusals mean to a branch.

use std::io::Read as _;
use std::time::Duration;

use flate2::read::GzDecoder;
use http::header::{CONTENT_ENCODING, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use reqwest::RequestBuilder;
use serde::de::DeserializeOwned;
use sync_core::{Error, ErrorKind, Result, Retry};

use crate::wire::Problem;

/// The largest answer, bytes, before and after decompression.
const LARGEST: usize = 64 << 20;

/// The longest that a master may ask to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// Whether a request changes anything at the master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Reads,
    Writes,
}

/// What to do where a position was given to somebody else.
const MOVED: &str = "give the branch a token of the client and branch that it was kept in step for; to make it another's, or where the master's key of cursors was changed, call `Branch::start_over`";

impl Effect {
    /// The request may have arrived.
    fn unsure(self, error: Error) -> Error {
        if self == Self::Writes { error.ambiguous() } else { error }
    }
}

/// An answer that came whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    pub(super) async fn of(request: RequestBuilder, effect: Effect) -> Result<Self> {
        Self::read(request.send().await.map_err(|error| lost(error, effect))?, effect).await
    }

    /// The rest of an answer that has begun.
    pub(super) async fn read(mut response: reqwest::Response, effect: Effect) -> Result<Self> {
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| lost(error, effect))? {
            if body.len() + chunk.len() > LARGEST {
                return Err(effect.unsure(Error::new(ErrorKind::Limit, "the master's answer is too large")));
            }
            body.extend_from_slice(&chunk);
        }
        if headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip") {
            body = unpacked(&body).map_err(|error| effect.unsure(error))?;
        }
        Ok(Self { status, headers, body })
    }

    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|error| {
            // Its text may hold a piece of a row: only the place is told.
            Error::malformed("the master's answer is not what this route gives")
                .with("line", error.line())
                .with("column", error.column())
        })
    }

    /// The same where the master did what it was asked.
    pub(super) fn checked(self, effect: Effect) -> Result<Self> {
        if self.status.is_success() { Ok(self) } else { Err(self.refusal(effect)) }
    }

    fn refusal(&self, effect: Effect) -> Error {
        let status = self.status;
        let Ok(problem) = serde_json::from_slice::<Problem>(&self.body) else {
            // A proxy on the way, or no master at all. Without a code nobody takes it for a word about the edits.
            let error = match status.as_u16() {
                408 | 425 | 429 | 500..=599 => effect.unsure(Error::unavailable("the way to the master is disturbed")),
                401 | 403 => {
                    Error::new(ErrorKind::Unauthorized, "something before the master asks for other credentials")
                }
                300..=399 => Error::config("the master's address redirects: give the one it leads to"),
                _ => Error::config("what is at this address is no master"),
            };
            return error.with_retry(self.advice(error_retry(status))).with("status", status.as_u16());
        };
        let (kind, retry) = meaning(status, &problem.code);
        let mut error = Error::new(kind, problem.message).with_retry(self.advice(retry));
        if let Some(last_op) = problem.last_op {
            error = error.with("last_op", last_op);
        }
        if let Some(op) = problem.op {
            error = error.with("op", op);
        }
        if status.is_server_error() {
            error = effect.unsure(error);
        }
        if problem.code == "bad_cursor" {
            error = error.with_remedy(MOVED);
        }
        error.with("code", problem.code).with("id", problem.id)
    }

    /// The master's own wish is a floor.
    fn advice(&self, retry: Retry) -> Retry {
        let seconds = self.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        match (retry, seconds) {
            (Retry::Backoff, Some(seconds)) => Retry::After(Duration::from_secs(seconds).min(LONGEST_WAIT)),
            (retry, _) => retry,
        }
    }
}

fn error_retry(status: StatusCode) -> Retry {
    match status.as_u16() {
        408 | 425 | 429 | 500..=599 => Retry::Backoff,
        _ => Retry::Never,
    }
}

/// What a refusal is to a branch. A kind that says that the edits themselves are at fault is given only where the code says so,
/// since a host may discard such edits.
fn meaning(status: StatusCode, code: &str) -> (ErrorKind, Retry) {
    match (status.as_u16(), code) {
        (_, "unknown_table" | "unknown_column") => (ErrorKind::Schema, Retry::Never),
        (_, "not_yours" | "server_owned") => (ErrorKind::Forbidden, Retry::Never),
        (_, "not_waiting") | (422, _) => (ErrorKind::Data, Retry::Never),
        (_, "too_large" | "too_many_keys" | "group_too_large") => (ErrorKind::Limit, Retry::Never),
        (401 | 403, _) => (ErrorKind::Unauthorized, Retry::Never),
        (409, "gap" | "forked" | "ended") => (ErrorKind::Conflict, Retry::Never),
        (409, _) => (ErrorKind::Conflict, Retry::Backoff),
        (410, _) => (ErrorKind::Gone, Retry::Never),
        (429, _) => (ErrorKind::Throttled, Retry::Backoff),
        (408 | 500..=599, _) => (ErrorKind::Unavailable, Retry::Backoff),
        _ => (ErrorKind::Config, Retry::Never),
    }
}

/// No answer, or not all of it.
fn lost(error: reqwest::Error, effect: Effect) -> Error {
    let never_left = error.is_connect() || error.is_builder();
    let message =
        if error.is_timeout() { "the master does not answer in time" } else { "the master cannot be reached" };
    // The first cause says why. What is around it repeats the address, which holds a cursor.
    let mut why: &dyn std::error::Error = &error.without_url();
    while let Some(deeper) = why.source() {
        why = deeper;
    }
    let told = Error::unavailable(message).caused_by(why.to_string());
    if never_left { told } else { effect.unsure(told) }
}

fn unpacked(packed: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    let read = GzDecoder::new(packed).take(LARGEST as u64 + 1).read_to_end(&mut body);
    match read {
        Ok(length) if length > LARGEST => Err(Error::new(ErrorKind::Limit, "the master's answer is too large")),
        Ok(_) => Ok(body),
        Err(cause) => Err(Error::unavailable("the master's answer ended early").caused_by(cause)),
    }
}

/// A row in an answer that does not fit the branch's tables. Not a word about the branch's own edits.
pub(super) fn misread(error: Error) -> Error {
    Error::malformed("the master's answer holds what the branch's tables do not: are they declared alike?")
        .caused_by(error)
}
