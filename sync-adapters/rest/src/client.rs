//! One request: signed, paced, sent, read, judged; renewed and replayed once when the credentials are refused.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::future::{Either, select};
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use sync_core::{Clock, Error, ErrorKind, Result};
use url::Url;

use crate::auth::{Auth, Generation};
use crate::config::RateConfig;
use crate::format::Bodies;
use crate::redact::Redactor;
use crate::rules::{Answered, Excess, Rules, Verdict};
use crate::shape::shape;
use crate::throttle::{Rate, Throttle};
use crate::transport::{BodyLimits, HttpRequest, HttpTransport, Network, check_literal, read_body};
use crate::{http_date, pointer};

const MOST_REDIRECTS: usize = 3;
/// How much of an unexpected answer an error shows.
const SAMPLE: usize = 200;

/// What one source sends its requests with.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) transport: Arc<dyn HttpTransport>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) auth: Auth,
    pub(crate) redactor: Arc<Redactor>,
    pub(crate) throttle: Throttle,
    pub(crate) bucket: Bucket,
    pub(crate) base: Url,
    pub(crate) network: Network,
    pub(crate) allow_hosts: Vec<String>,
    pub(crate) accept_types: Vec<String>,
    pub(crate) messages: Vec<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) most_headers: usize,
    pub(crate) body: BodyLimits,
    pub(crate) deadline: Duration,
}

/// The bucket requests are counted in.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    pub(crate) key: String,
    pub(crate) rate: Option<Rate>,
    pub(crate) at_once: usize,
}

impl Bucket {
    /// A bucket with this rate, under its own key or this one.
    ///
    /// # Errors
    /// `Config`, naming the field.
    pub(crate) fn new(rate: Option<&RateConfig>, key: String, at_once: usize) -> Result<Self> {
        let Some(rate) = rate else { return Ok(Self { key, rate: None, at_once }) };
        if rate.requests == 0 {
            return Err(Error::config("field `rate.requests` is at least 1"));
        }
        let per = Duration::try_from_secs_f64(rate.per_seconds).ok().filter(|per| !per.is_zero());
        let per = per.ok_or_else(|| Error::config("field `rate.per_seconds` is a number of seconds above zero"))?;
        Ok(Self {
            key: rate.key.clone().unwrap_or(key),
            rate: Some(Rate { every: per / rate.requests, burst: rate.burst.max(1) }),
            at_once: rate.at_once.unwrap_or(at_once),
        })
    }
}

/// A request as a stream plans it, without credentials.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Bytes>,
    /// What it is counted in, where that is not the bucket of the whole API.
    pub(crate) bucket: Option<Arc<Bucket>>,
}

/// An answer that means success.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Where it came from at last: relative links start there.
    pub(crate) url: Url,
    /// When the other side sent it; our own time where it does not say.
    pub(crate) sent_at: DateTime<Utc>,
    pub(crate) wire: u64,
    pub(crate) requests: u64,
}

/// Why there is no good answer.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) error: Error,
    /// What a shorter range of dates would have less of.
    pub(crate) excess: Option<Excess>,
    /// Requests and bytes that it took.
    pub(crate) requests: u64,
    pub(crate) wire: u64,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, excess: None, requests: 0, wire: 0 }
    }
}

impl Client {
    /// Sends the request and hands back a good answer.
    ///
    /// # Errors
    /// What the answer means by the rules, with retry advice. Nothing is retried here but a request whose credentials
    /// were refused and could be renewed, once.
    pub(crate) async fn call(&self, call: &Call, rules: &Rules) -> Result<Answer, Refusal> {
        let (answer, generation) = self.once(call).await?;
        let (mut answer, refused) = match self.judge(&answer, rules) {
            Verdict::Ok => return Ok(answer),
            Verdict::Failed(error) => return Err(self.explain(error, &answer).into()),
            Verdict::Excess(excess, error) => return Err(self.excess(excess, error, &answer)),
            Verdict::Renew(error) => (answer, error),
        };
        if !self.auth.renew(generation).await? {
            return Err(self.explain(refused, &answer).into());
        }
        tracing::debug!(
            host = self.base.host_str(),
            "credentials were refused and renewed; the request goes out again"
        );
        let requests = answer.requests;
        answer = self.once(call).await?.0;
        answer.requests += requests;
        match self.judge(&answer, rules) {
            Verdict::Ok => Ok(answer),
            Verdict::Renew(error) | Verdict::Failed(error) => Err(self.explain(error, &answer).into()),
            Verdict::Excess(excess, error) => Err(self.excess(excess, error, &answer)),
        }
    }

    /// Whether an address from the other side may be asked: our own origin, or an allowed host over https.
    ///
    /// # Errors
    /// `Malformed`, naming the host.
    pub(crate) fn check_address(&self, url: &Url) -> Result<()> {
        let listed =
            url.host_str().is_some_and(|host| self.allow_hosts.iter().any(|known| known.eq_ignore_ascii_case(host)));
        if url.origin() == self.base.origin() {
            return Ok(());
        }
        if !listed {
            let host = self.redactor.clean(url.host_str().unwrap_or_default());
            return Err(Error::malformed(
                "the source leads to another host; allow it with `allow_host` if that is right",
            )
            .with("host", host));
        }
        check_literal(url, self.network)
    }

    /// The same address without our own secret in it, fit to be saved.
    ///
    /// # Errors
    /// `Malformed` when a secret stays in it all the same.
    pub(crate) fn without_secret(&self, url: &Url) -> Result<Url> {
        let mut clean = url.clone();
        clean.set_fragment(None);
        let own = self.auth.own_parameters();
        let is_own = |name: &str| own.contains(&name);
        if url.query_pairs().any(|(name, _)| is_own(&name)) {
            let others = url.query_pairs().filter(|(name, _)| !is_own(name));
            let kept: Vec<(String, String)> = others.map(|(n, v)| (n.into_owned(), v.into_owned())).collect();
            clean.set_query(None);
            if !kept.is_empty() {
                clean.query_pairs_mut().extend_pairs(kept);
            }
        }
        match self.redactor.finds(clean.as_str()) {
            true => Err(Error::malformed("the source puts a credential into the address of its next page")),
            false => Ok(clean),
        }
    }

    /// An error for an answer that is not what it should be, with the shape of what came instead.
    pub(crate) fn show(&self, error: Error, answer: &Answer, bodies: &Bodies) -> Error {
        let kind = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("none");
        error
            .with("content-type", self.redactor.sample(kind.as_bytes(), 80))
            .with("shape", self.redactor.clean(&shape(&answer.body, bodies, &self.redactor)))
    }

    fn judge(&self, answer: &Answer, rules: &Rules) -> Verdict {
        let now = self.clock.now().timestamp();
        rules.judge(Answered { status: answer.status, headers: &answer.headers, body: &answer.body, now })
    }

    fn excess(&self, excess: Excess, error: Error, answer: &Answer) -> Refusal {
        let error = self.explain(error, answer);
        Refusal { error, excess: Some(excess), requests: answer.requests, wire: answer.wire }
    }

    /// Adds what the other side says about an error, where the declaration says where it says so.
    fn explain(&self, error: Error, answer: &Answer) -> Error {
        let said = self.messages.iter().find_map(|at| match pointer::pick(&answer.body, at)? {
            serde_json::Value::Null => None,
            serde_json::Value::String(text) => Some(text),
            other => Some(other.to_string()),
        });
        let error = error.with("path", self.redactor.clean(answer.url.path()));
        match said {
            Some(text) => error.with("says", self.redactor.sample(text.as_bytes(), SAMPLE)),
            None => error,
        }
    }

    async fn once(&self, call: &Call) -> Result<(Answer, Generation)> {
        let mut url = call.url.clone();
        let (mut requests, mut wire) = (0, 0);
        loop {
            let (mut answer, generation) = self.exchange(call, &url).await?;
            requests += 1;
            wire += answer.wire;
            let target = self.redirect(call, &answer)?;
            let Some(target) = target else {
                (answer.requests, answer.wire) = (requests, wire);
                return Ok((answer, generation));
            };
            if requests > MOST_REDIRECTS as u64 {
                return Err(
                    Error::new(ErrorKind::Limit, "the source redirects too often").with("limit", MOST_REDIRECTS)
                );
            }
            url = target;
        }
    }

    /// Where an answer sends a GET on to, when that host is allowed.
    fn redirect(&self, call: &Call, answer: &Answer) -> Result<Option<Url>> {
        let follows = matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308) && call.method == Method::GET;
        let target = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok());
        let Some(target) = target.filter(|_| follows).and_then(|text| answer.url.join(text).ok()) else {
            return Ok(None);
        };
        let listed =
            target.host_str().is_some_and(|host| self.allow_hosts.iter().any(|known| known.eq_ignore_ascii_case(host)));
        if !listed {
            return Ok(None);
        }
        check_literal(&target, self.network)?;
        self.without_secret(&target).map(Some)
    }

    /// One request and its whole answer, within the deadline.
    async fn exchange(&self, call: &Call, url: &Url) -> Result<(Answer, Generation)> {
        self.transport.ready(url).await?;
        let bucket = call.bucket.as_deref().unwrap_or(&self.bucket);
        let permit = self.throttle.enter(&bucket.key, bucket.rate, bucket.at_once).await?;
        let mut headers = self.headers.clone();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd"));
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        headers.extend(call.headers.clone());
        let mut request =
            HttpRequest { method: call.method.clone(), url: url.clone(), headers, body: call.body.clone() };
        // Credentials stay with the origin they were made for.
        let generation = match url.origin() == self.base.origin() {
            true => self.auth.sign(&mut request).await?,
            false => 0,
        };
        let begun = self.clock.elapsed();
        let exchange = async {
            let response = self.transport.send(request).await?;
            if response.headers.len() > self.most_headers {
                return Err(Error::new(ErrorKind::Limit, "the response has more headers than allowed")
                    .with("limit", self.most_headers));
            }
            let (status, headers) = (response.status, response.headers);
            let body = read_body(&headers, response.body, self.body).await;
            // What an error's body holds matters less than the error itself.
            let (body, wire) = match body {
                Err(_) if !status.is_success() => (Bytes::new(), 0),
                read => read?,
            };
            Ok((status, headers, body, wire))
        };
        let (status, headers, body, wire) = within(&*self.clock, self.deadline, exchange)
            .await
            .map_err(|error| error.with("path", self.redactor.clean(url.path())))?;
        drop(permit);
        let took = self.clock.elapsed().saturating_sub(begun);
        tracing::debug!(
            host = url.host_str(),
            status = status.as_u16(),
            wire_bytes = wire,
            body_bytes = body.len(),
            took_ms = took.as_millis() as u64,
            "answered"
        );
        let sent_at = http_date::sent_at(&headers).unwrap_or_else(|| self.clock.now());
        Ok((Answer { status, headers, body, url: url.clone(), sent_at, wire, requests: 1 }, generation))
    }
}

/// The outcome of the work, or an error when it takes too long on this clock.
pub(crate) async fn within<T>(
    clock: &dyn Clock,
    most: Duration,
    work: impl Future<Output = Result<T>> + Send,
) -> Result<T> {
    let work = std::pin::pin!(work);
    match select(work, clock.sleep(most)).await {
        Either::Left((outcome, _)) => outcome,
        Either::Right(_) => Err(Error::unavailable("the request took longer than allowed in all")
            .with("limit", format!("{} s", most.as_secs_f64()))),
    }
}
