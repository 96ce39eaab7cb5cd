//! A small HTTP/1.1 server that answers what a test tells it to, faults included: bytes, pauses, resets.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::TryStreamExt as _;
use serde_json::Value as Json;
use sync_core::model::{Batch, Boundary, Partition};
use sync_core::source::Reading;
use sync_core::{Cursor, Error, Feed, ReadRequest, Source, StreamSpec, Value};
use sync_rest::{Endpoint, Rest, RestSource};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
    /// How many requests came before it.
    pub(crate) number: usize,
}

impl Request {
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn number(&self, name: &str) -> Option<usize> {
        self.param(name)?.parse().ok()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

#[derive(Debug, Clone)]
enum Part {
    Bytes(Vec<u8>),
    Pause(Duration),
    Reset,
    Close,
}

/// What the server does with a request.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    raw: Option<Vec<Part>>,
}

impl Reply {
    pub(crate) fn json(body: &Json) -> Self {
        Self::body("application/json", body.to_string())
    }

    pub(crate) fn body(kind: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, headers: vec![("content-type".into(), kind.into())], body: body.into(), raw: None }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self { status, ..Self::json(&serde_json::json!({"error": "as told"})) }
    }

    pub(crate) fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// These bytes and nothing else.
    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { status: 0, headers: Vec::new(), body: Vec::new(), raw: Some(vec![Part::Bytes(bytes.into())]) }
    }

    pub(crate) fn silence() -> Self {
        Self { raw: Some(Vec::new()), ..Self::raw("") }
    }

    pub(crate) fn then(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.raw.get_or_insert_default().push(Part::Bytes(bytes.into()));
        self
    }

    pub(crate) fn pause(mut self, pause: Duration) -> Self {
        self.raw.get_or_insert_default().push(Part::Pause(pause));
        self
    }

    /// The connection is reset.
    pub(crate) fn reset(mut self) -> Self {
        self.raw.get_or_insert_default().push(Part::Reset);
        self
    }

    /// The connection is closed in order.
    pub(crate) fn close(mut self) -> Self {
        self.raw.get_or_insert_default().push(Part::Close);
        self
    }

    /// The answer's bytes, for a raw answer that sends them late.
    pub(crate) fn bytes(self) -> Vec<u8> {
        let parts = self.parts().into_iter();
        parts.flat_map(|part| if let Part::Bytes(bytes) = part { bytes } else { Vec::new() }).collect()
    }

    fn parts(self) -> Vec<Part> {
        if let Some(raw) = self.raw {
            return raw;
        }
        let mut head = format!("HTTP/1.1 {} As Told\r\n", self.status);
        if self.status != 204 && self.status != 304 {
            head += &format!("content-length: {}\r\n", self.body.len());
        }
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("date")) {
            head += &format!("date: {}\r\n", chrono::Utc::now().format("%a, %d %b %Y %H:%M:%S GMT"));
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        let mut bytes = head.into_bytes();
        if self.status != 204 && self.status != 304 {
            bytes.extend(self.body);
        }
        vec![Part::Bytes(bytes)]
    }
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

/// A server on loopback, and what it was asked.
#[derive(Clone)]
pub(crate) struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub(crate) async fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen(None, handler).await
    }

    pub(crate) async fn start_tls(
        acceptor: tokio_rustls::TlsAcceptor,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::listen(Some(acceptor), handler).await
    }

    async fn listen(
        tls: Option<tokio_rustls::TlsAcceptor>,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let (seen, handler): (_, Arc<Handler>) = (Arc::clone(&server.seen), Arc::new(handler));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (seen, handler, tls) = (Arc::clone(&seen), Arc::clone(&handler), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(socket, seen, handler).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(socket).await {
                                serve_stream(stream, seen, handler).await;
                            }
                        }
                    }
                });
            }
        });
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Every request so far.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// A source over this server with one stream.
    pub(crate) fn source(&self, spec: &StreamSpec, endpoint: Endpoint) -> RestSource {
        self.rest(spec, endpoint).build().unwrap()
    }

    pub(crate) fn rest(&self, spec: &StreamSpec, endpoint: Endpoint) -> Rest {
        Rest::at(self.url()).stream(spec, endpoint)
    }
}

/// Serves one connection. True when it is to be reset.
async fn serve_stream<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    seen: Arc<Mutex<Vec<Request>>>,
    handler: Arc<Handler>,
) -> bool {
    let mut buffer = Vec::new();
    while let Some(mut request) = read_request(&mut stream, &mut buffer).await {
        let number = {
            let mut seen = seen.lock().unwrap();
            request.number = seen.len();
            seen.push(request.clone());
            request.number
        };
        request.number = number;
        for part in handler(&request).parts() {
            let sent = match part {
                Part::Bytes(bytes) => stream.write_all(&bytes).await,
                Part::Pause(pause) => {
                    tokio::time::sleep(pause).await;
                    Ok(())
                }
                Part::Close => {
                    let _ = stream.shutdown().await;
                    return false;
                }
                Part::Reset => {
                    let _ = stream.flush().await;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    return true;
                }
            };
            if sent.is_err() {
                return false;
            }
        }
        let _ = stream.flush().await;
    }
    false
}

async fn serve(mut socket: TcpStream, seen: Arc<Mutex<Vec<Request>>>, handler: Arc<Handler>) {
    if serve_stream(&mut socket, seen, handler).await {
        // Without lingering, closing sends a reset instead of an orderly end.
        #[allow(deprecated)]
        let _ = socket.set_linger(Some(Duration::ZERO));
    }
}

async fn read_request<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> Option<Request> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer[..head_end].to_vec()).ok()?;
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    while buffer.len() < head_end + 4 + length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = String::from_utf8_lossy(&buffer[head_end + 4..head_end + 4 + length]).into_owned();
    buffer.drain(..head_end + 4 + length);
    let url = url::Url::parse(&format!("http://x{target}")).ok()?;
    let query = url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    Some(Request { method, path: url.path().to_owned(), query, headers, body, number: 0 })
}

/// What one read brought.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) batches: Vec<Batch>,
    pub(crate) error: Option<Error>,
}

impl Outcome {
    /// The values of a column over all batches.
    pub(crate) fn column(&self, name: &str) -> Vec<Value> {
        let runs = self.batches.iter().flat_map(|batch| &batch.runs);
        runs.flat_map(|run| {
            run.changes.rows().iter().map(|row| row.named(name).unwrap().to_owned()).collect::<Vec<_>>()
        })
        .collect()
    }

    pub(crate) fn ids(&self) -> Vec<i64> {
        let ids = self.column("id").into_iter().map(|value| match value {
            Value::Int(id) => id,
            other => panic!("{other} is no id"),
        });
        ids.collect()
    }

    /// The last position one may continue from.
    pub(crate) fn cursor(&self) -> Option<Cursor> {
        self.batches.iter().rev().find_map(|batch| match &batch.boundary {
            Boundary::Resume(cursor) | Boundary::Ends { resume: Some(cursor), .. } => Some(cursor.clone()),
            _ => None,
        })
    }

    /// Whether the listing ended, and as complete.
    pub(crate) fn complete(&self) -> Option<bool> {
        self.batches.iter().find_map(|batch| match batch.boundary {
            Boundary::Ends { complete, .. } => Some(complete),
            _ => None,
        })
    }

    pub(crate) fn error(&self) -> &Error {
        self.error.as_ref().expect("the read fails")
    }

    /// The read, which must not have failed.
    pub(crate) fn good(self) -> Self {
        assert!(self.error.is_none(), "{:?}", self.error);
        self
    }
}

/// Reads changes of the source's only stream from a position to the end.
pub(crate) async fn read(source: &RestSource, from: Option<Cursor>) -> Outcome {
    read_as(source, Partition::default(), from, Reading::Changes).await
}

pub(crate) async fn read_as(
    source: &RestSource,
    partition: Partition,
    from: Option<Cursor>,
    reading: Reading,
) -> Outcome {
    let feed: Feed = source.feeds().await.unwrap().remove(0);
    let request = ReadRequest::new(feed, partition).from(from).reading(reading);
    let mut stream = source.read(request);
    let mut batches = Vec::new();
    loop {
        match stream.try_next().await {
            Ok(Some(batch)) => batches.push(batch),
            Ok(None) => return Outcome { batches, error: None },
            Err(error) => return Outcome { batches, error: Some(error) },
        }
    }
}
