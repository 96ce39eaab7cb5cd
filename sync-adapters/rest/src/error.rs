//! What the answers of an API mean as errors.

use http::StatusCode;
use sync_core::{Error, ErrorKind, Retry};

/// The meaning of a status that no rule of the declaration classified, from the fault catalogue (RFC 9110 §15).
pub(crate) fn of_status(status: StatusCode) -> Error {
    let error = match status.as_u16() {
        408 | 425 => Error::unavailable("the source answers that the request took too long or came too early"),
        429 => Error::new(ErrorKind::Throttled, "the source asks us to slow down").with_retry(Retry::Backoff),
        501 | 505 => Error::unavailable("the source does not support this request").with_retry(Retry::Never),
        500..=599 => Error::unavailable("the source answers with an error of its own"),
        401 => unauthorized(),
        403 => Error::new(ErrorKind::Forbidden, "the source refuses this request to our account"),
        404 | 405 => Error::config("the source has nothing under this path, or not with this method"),
        410 => Error::new(ErrorKind::Gone, "the source no longer has the position we hold, or the resource itself"),
        400..=499 => Error::config("the source does not accept this request as declared"),
        300..=399 => {
            Error::config("the source redirects; declare the address it names, or allow its host with `allow_host`")
        }
        _ => Error::malformed("the source answers with a status that makes no sense here"),
    };
    error.with("status", status.as_u16())
}

pub(crate) fn unauthorized() -> Error {
    Error::new(ErrorKind::Unauthorized, "the source does not accept our credentials")
}
