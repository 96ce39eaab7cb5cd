//! The real transport: reqwest over rustls.

use std::error::Error as StdError;
use std::io;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::channel::oneshot;
use futures::future::{FutureExt as _, Shared};
use reqwest::redirect::Policy;
use sync_core::{Error, ErrorKind, Result, Retry};
use url::Url;

use super::address::{CheckedResolver, RefusedAddress};
use super::{HttpRequest, HttpResponse, HttpTransport, Network};

/// One more than the client accepts, so that it is the client that tells how many there were.
const HEADERS_READ: usize = 101;

/// How the real transport connects.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SocketOptions {
    /// The longest wait for a connection, TLS included. 10 s.
    pub connect: Duration,
    /// The longest wait for the next bytes. 30 s.
    pub idle: Duration,
    /// Which networks may be reached.
    pub network: Network,
    /// More certificate authorities to trust, PEM. The platform's are always trusted.
    pub authorities: Vec<Vec<u8>>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            network: Network::default(),
            authorities: Vec::new(),
        }
    }
}

/// Requests over real sockets: TLS 1.2 or newer, HTTP/1.1 and HTTP/2, no redirects, no proxy, no retries.
#[derive(Debug, Clone)]
pub struct ReqwestTransport {
    options: SocketOptions,
    /// For plain http, which needs no certificates: they take as long to read as a database takes to open.
    plain: reqwest::Client,
    secure: Arc<OnceLock<Shared<oneshot::Receiver<Made>>>>,
}

/// The client, or why there is none.
type Made = std::result::Result<reqwest::Client, Arc<reqwest::Error>>;

impl ReqwestTransport {
    /// A transport with these options. The platform's certificates are read once something is to go over https, on a thread of
    /// their own: that they are missing is told by the request, as `Config`.
    ///
    /// # Errors
    /// `Config` when a certificate authority cannot be read.
    pub fn new(options: &SocketOptions) -> Result<Self> {
        let plain = builder(options)?.tls_certs_only([]).build();
        let plain = plain.map_err(|cause| Error::config("cannot set up HTTP").caused_by(cause))?;
        Ok(Self { options: options.clone(), plain, secure: Arc::default() })
    }

    /// Begins to read the platform's certificates, for an address that needs them, and waits for nothing.
    pub(crate) fn begin(&self, to: &Url) {
        if to.scheme() == "https" {
            drop(self.secure());
        }
    }

    fn secure(&self) -> Shared<oneshot::Receiver<Made>> {
        let begin = || {
            let (tell, made) = oneshot::channel();
            let options = self.options.clone();
            let make = move || {
                // The host's authorities were read before. Nobody listens any longer where the transport was dropped meanwhile.
                let Ok(builder) = builder(&options) else { return };
                drop(tell.send(builder.build().map_err(Arc::new)));
            };
            // Without a thread nothing is told, and whoever waits hears that.
            drop(thread::Builder::new().name("sync-rest".to_owned()).spawn(make));
            made.shared()
        };
        self.secure.get_or_init(begin).clone()
    }

    async fn client(&self, to: &Url) -> Result<reqwest::Client> {
        if to.scheme() != "https" {
            return Ok(self.plain.clone());
        }
        match self.secure().await {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(cause)) => {
                Err(Error::config("cannot set up TLS; is the package `ca-certificates` installed?").caused_by(cause))
            }
            Err(oneshot::Canceled) => Err(Error::unavailable("no thread can be started to set up TLS")),
        }
    }
}

fn builder(options: &SocketOptions) -> Result<reqwest::ClientBuilder> {
    let mut builder = reqwest::Client::builder()
        .connect_timeout(options.connect)
        .read_timeout(options.idle)
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        // A proxy would connect in our place, past the check of addresses.
        .no_proxy()
        .referer(false)
        // The client decodes and counts; another crate in the host's build may have switched these on.
        .no_gzip()
        .no_zstd()
        .no_brotli()
        .no_deflate()
        .tls_version_min(reqwest::tls::Version::TLS_1_2)
        .http1_max_headers(HEADERS_READ)
        .dns_resolver(CheckedResolver::shared(options.network))
        .user_agent(concat!("sync-rest/", env!("CARGO_PKG_VERSION")));
    for pem in &options.authorities {
        let authority = reqwest::Certificate::from_pem(pem)
            .map_err(|cause| Error::config("a certificate authority is not valid PEM").caused_by(cause))?;
        builder = builder.tls_certs_merge([authority]);
    }
    Ok(builder)
}

#[async_trait]
impl HttpTransport for ReqwestTransport {
    async fn ready(&self, to: &Url) -> Result<()> {
        self.client(to).await.map(drop)
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse> {
        let host = authority(&request.url);
        let client = self.client(&request.url).await?;
        let mut outgoing = client.request(request.method, request.url).headers(request.headers);
        if let Some(body) = request.body {
            outgoing = outgoing.body(body);
        }
        let response = outgoing.send().await.map_err(|cause| failed(cause, &host))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes_stream().map(move |chunk| chunk.map_err(|cause| failed(cause, &host))).boxed();
        Ok(HttpResponse { status, headers, body })
    }
}

/// Host and port: all of an address that an error may show.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// What a failure of the way means, and what to do. Of the cause the innermost one is kept, which names what happened,
/// and no address: the query may hold a secret.
fn failed(cause: reqwest::Error, host: &str) -> Error {
    let cause = cause.without_url();
    let mut chain: Vec<String> = Vec::new();
    let (mut refused, mut closed) = (false, false);
    let mut next: Option<&(dyn StdError + 'static)> = Some(&cause);
    while let Some(error) = next {
        refused |= error.is::<RefusedAddress>();
        closed |=
            error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        chain.push(error.to_string());
        next = error.source();
    }
    let says = |text: &str| chain.iter().any(|link| link.contains(text));
    let error = if refused {
        Error::config(
            "the address is refused: its name leads to a private, link-local or reserved address; allow it with `allow_private_network`",
        )
    } else if says("invalid peer certificate") {
        Error::unavailable(
            "the other side's certificate is not accepted; if it is of an authority of your own, add that with `trust`",
        )
        .with_retry(Retry::Never)
    } else if says("message head is too large") {
        Error::new(ErrorKind::Limit, "the response has more headers than allowed")
    } else if cause.is_timeout() && cause.is_connect() {
        Error::unavailable(
            "no connection in time; is the host reachable from here, and `limits.connect_seconds` long enough?",
        )
    } else if cause.is_timeout() {
        Error::unavailable("no bytes came in time; raise `limits.idle_seconds` if the source takes that long")
    } else if cause.is_connect() && says("dns error") {
        Error::unavailable("the host's name cannot be resolved; check the host in `base`, and name resolution here")
    } else if closed {
        Error::unavailable("the connection is refused; check the port in `base`, and whether the service runs")
    } else if cause.is_connect() {
        Error::unavailable("cannot connect; is the host reachable from here?")
    } else if cause.is_builder() {
        Error::config("the request cannot be built")
    } else {
        Error::unavailable("the connection broke before the response was complete")
    };
    match chain.pop() {
        Some(innermost) => error.with("host", host).caused_by(innermost),
        None => error.with("host", host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn certificates_are_read_for_addresses_that_need_them_and_for_no_others() {
        let transport = ReqwestTransport::new(&SocketOptions::default()).unwrap();
        let address = |address: &str| Url::parse(address).unwrap();
        transport.begin(&address("http://localhost:8080"));
        transport.ready(&address("http://localhost:8080")).await.unwrap();
        assert!(transport.secure.get().is_none());
        transport.begin(&address("https://api.example.com"));
        assert!(transport.secure.get().is_some());
    }
}
