//! The way to the other side: a request in, a response out. A test or a simulation brings its own.

mod address;
mod body;
mod socket;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use http::{HeaderMap, Method, StatusCode};
use sync_core::Result;
use url::Url;

pub use address::Network;
pub(crate) use address::check_literal;
pub(crate) use body::{BodyLimits, read_body};
pub use socket::{ReqwestTransport, SocketOptions};

/// Sends one request and hands back the response as it comes over the wire.
///
/// *No cleverness.* A transport follows no redirect, retries nothing and decodes nothing: the client above it does, and
/// counts. *Truncation.* A body that ends before its announced length, or in the middle of a chunk, ends with an error.
/// *Errors* are `Unavailable` with [`Retry::Backoff`](sync_core::Retry::Backoff) where the way is down or slow, and say
/// [`Retry::Never`](sync_core::Retry::Never) where the other side's certificate is not accepted. They never name the
/// query of the address.
#[async_trait]
pub trait HttpTransport: fmt::Debug + Send + Sync {
    /// Waits until requests can be sent to this address: the time that takes counts towards no limit. Most transports are ready when
    /// they are made.
    ///
    /// # Errors
    /// `Config` when they never can.
    async fn ready(&self, _to: &Url) -> Result<()> {
        Ok(())
    }

    /// Sends the request and returns when the response's head is there.
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse>;
}

/// A request.
pub struct HttpRequest {
    /// GET or POST.
    pub method: Method,
    /// The whole address, query included. It may hold a secret: it is never printed.
    pub url: Url,
    /// The headers. Those that hold a secret are marked sensitive.
    pub headers: HeaderMap,
    /// The body of a POST.
    pub body: Option<Bytes>,
}

impl fmt::Debug for HttpRequest {
    /// Method and path; neither query nor headers nor body, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.method, self.url.host_str().unwrap_or_default(), self.url.path())
    }
}

/// A response.
pub struct HttpResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came over the wire, still compressed where `Content-Encoding` says so.
    pub body: BoxStream<'static, Result<Bytes>>,
}

impl HttpResponse {
    /// A response whose body is at hand.
    pub fn new(status: StatusCode, headers: HeaderMap, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        Self { status, headers, body: Box::pin(futures::stream::once(async move { Ok(body) })) }
    }
}

impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpResponse({})", self.status)
    }
}
