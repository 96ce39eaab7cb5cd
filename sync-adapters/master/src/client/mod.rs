//! The branch's side: a master behind HTTP.

mod answer;
mod body;
mod live;
mod token;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::{Method, StatusCode};
use sync_core::two_way::{Found, Group, Lookup, Master, Page, Position, Pull, Push, Pushed, Tables};
use sync_core::{Error, ErrorKind, Result};
use url::Url;

use self::answer::{Answer, Effect};
pub use self::live::{LiveBranch, LiveSettings, LiveState};
use self::token::Tokened;
pub use self::token::Tokens;
use crate::refusal::refuse;
use crate::wire::{BatchPush, BatchPushed, Codecs, FoundBody, GroupBody, LookupBody, Mark, PageBody, is_peer};

/// A master behind HTTP: what [`Routes`](crate::Routes) serve, for a [`Branch`](sync_core::two_way::Branch).
///
/// It asks once and waits at most 30 seconds; trying again is the affair of whoever syncs. Only a token that is no longer taken is
/// renewed, once, and the request sent again. Redirects are not followed: a token goes where it was meant to go.
///
/// A replica has one name, under which its database was opened; over HTTP that is 1 to 64 visible ASCII characters.
///
/// *Errors.* `Config` where the replica's name is another, before anybody is asked. With the master's code and id in the context, and its kind. `Unauthorized` where the token is refused twice; `Throttled`
/// and `Unavailable` with the time that the master asks to wait; [ambiguous](sync_core::Error::is_ambiguous) where a push may have
/// arrived although its answer did not.
#[derive(Debug, Clone)]
pub struct HttpMaster {
    base: Url,
    codecs: Codecs,
    tokens: Arc<Tokened>,
    client: reqwest::Client,
    batch_edits: usize,
    batch_bytes: usize,
    /// Which of many waiting edits the next pull asks after.
    asked: Arc<AtomicUsize>,
    /// How far the last page read.
    mark: Arc<Mutex<Option<Mark>>>,
}

/// How many waiting edits one pull asks after; the next one asks after those that follow. Proxies take addresses of 8 KiB.
const ASKED: usize = 100;

/// What goes into an address, bytes: the `http` crate takes no longer one.
const LONGEST_URL: usize = 65_000;

/// How many rows one request asks for by their keys: no more than a master's pages have rows.
const KEYS: usize = 500;

impl HttpMaster {
    /// The master at this address, whose routes stand under `/api/sync/`. The tables are those of the branch.
    ///
    /// # Errors
    /// `Config` when the address is none, or not `https` although it leads off this machine.
    pub fn at(base: &str, tables: &Tables, tokens: impl Tokens + 'static) -> Result<Self> {
        let base = address(base)?;
        let client = http_client()
            .timeout(Duration::from_secs(30))
            .build()
            .map_err(|cause| Error::config("the HTTP client cannot be made").caused_by(cause))?;
        Ok(Self {
            base,
            codecs: Codecs::new(tables)?,
            tokens: Arc::new(Tokened::new(tokens)),
            client,
            batch_edits: 50,
            batch_bytes: 900 * 1024,
            asked: Arc::default(),
            mark: Arc::default(),
        })
    }

    /// How much goes into one request, where the master's limits are others: edits of several groups, and bytes before
    /// compression. A group is never cut.
    #[must_use]
    pub fn batches(mut self, edits: usize, bytes: usize) -> Self {
        (self.batch_edits, self.batch_bytes) = (edits.max(1), bytes);
        self
    }

    /// Groups in requests that the master takes: each is one group, or small.
    fn batched(&self, groups: &[Group]) -> Result<Vec<Vec<GroupBody>>> {
        let (mut batches, mut edits, mut bytes) = (Vec::<Vec<GroupBody>>::new(), 0, 0);
        for group in groups {
            let body = GroupBody::of(group, &self.codecs)?;
            let size = body::json(&body)?.len() + 1;
            edits += group.edits.len();
            bytes += size;
            match batches.last_mut() {
                Some(batch) if edits <= self.batch_edits && bytes <= self.batch_bytes => batch.push(body),
                _ => {
                    (edits, bytes) = (group.edits.len(), size);
                    batches.push(vec![body]);
                }
            }
        }
        Ok(batches)
    }

    /// How far the last page read, where it was none of a first load.
    fn mark(&self) -> Option<Mark> {
        *self.mark.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn url(&self, route: &str) -> Result<Url> {
        self.base
            .join(&format!("api/sync/{route}"))
            .map_err(|cause| Error::config("this is no address").caused_by(cause))
    }

    /// Asks, and says of what went wrong which master it was.
    async fn ask(&self, method: Method, url: Url, body: Option<Vec<u8>>, effect: Effect) -> Result<Answer> {
        self.ask_with_token(method, url, body, effect).await.map_err(|error| error.with("master", &self.base))
    }

    /// Asks, and once more with a new token where the first is no longer taken.
    async fn ask_with_token(&self, method: Method, url: Url, body: Option<Vec<u8>>, effect: Effect) -> Result<Answer> {
        let (mut token, mut renewed) = (self.tokens.current().await?, false);
        loop {
            let mut request = self.client.request(method.clone(), url.clone()).bearer_auth(token.secret());
            request = request.header(http::header::ACCEPT_ENCODING, "gzip");
            if let Some(body) = &body {
                request = body::with(request, body)?;
            }
            let answer = Answer::of(request, effect).await?;
            if answer.status != StatusCode::UNAUTHORIZED || renewed {
                return answer.checked(effect);
            }
            (token, renewed) = (self.tokens.renewed(&token).await?, true);
        }
    }

    fn pull_url(&self, pull: &Pull) -> Result<Url> {
        let mut url = self.url("pull-changes")?;
        let mut query = url.query_pairs_mut();
        query.append_pair("peer", &pull.peer.name).append_pair("life", &pull.peer.life.to_string());
        match &pull.from {
            None => {}
            Some(Position::Opaque { cursor, .. }) => {
                query.append_pair("cursor", cursor);
            }
            Some(_) => {
                return Err(Error::config("the branch's position is of a master in its own process, not of this one"));
            }
        }
        query.append_pair("answered", &pull.answered.to_string()).append_pair("limit", &pull.limit.to_string());
        if pull.alone {
            query.append_pair("alone", "true");
        }
        if !pull.waiting.is_empty() {
            let from = self.asked.fetch_add(ASKED, Ordering::Relaxed) % pull.waiting.len();
            let turned = pull.waiting[from..].iter().chain(&pull.waiting[..from]).take(ASKED);
            let waiting: Vec<String> = turned.map(|(life, op)| format!("{life}.{op}")).collect();
            query.append_pair("waiting", &waiting.join(","));
        }
        drop(query);
        if url.as_str().len() > LONGEST_URL {
            return Err(Error::new(
                ErrorKind::Limit,
                "the page before ended on a key that is too long for an address: over HTTP, keys have up to 40,000 bytes",
            )
            .with_remedy("shorten the key at the master, or read it with the hub in its own process"));
        }
        Ok(url)
    }
}

/// Whether a replica of this name can speak over HTTP: nobody is asked where it cannot.
fn named(name: &str) -> Result<()> {
    const REMEDY: &str = "open the replica under such a name; a database that was opened under another keeps that one until the \
                          replica's `remove` has taken the books of sync out of it";
    if is_peer(name) {
        return Ok(());
    }
    let message = "over HTTP the name of a replica is 1 to 64 visible ASCII characters, without blanks";
    let shown: String = name.chars().take(80).collect();
    Err(refuse(ErrorKind::Config, "bad_peer", message).with("name", format!("{shown:?}")).with_remedy(REMEDY))
}

/// The address of a master, as a folder.
fn address(base: &str) -> Result<Url> {
    let mut base = Url::parse(base).map_err(|cause| Error::config("this is no address").caused_by(cause))?;
    let is_local = match base.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    if base.scheme() != "https" && !(base.scheme() == "http" && is_local) {
        return Err(Error::config("a master is reached over https; plain http only on this machine"));
    }
    if !base.username().is_empty() || base.password().is_some() {
        return Err(Error::config("the address of a master holds no user and no password: it takes tokens"));
    }
    if !base.path().ends_with('/') {
        base.set_path(&format!("{}/", base.path()));
    }
    Ok(base)
}

/// What every request to a master has in common.
fn http_client() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(10))
        .redirect(reqwest::redirect::Policy::none())
        // Bodies are decoded here, within limits, whatever features another crate turns on.
        .no_gzip()
        .no_zstd()
        .no_brotli()
        .no_deflate()
}

#[async_trait]
impl Master for HttpMaster {
    async fn push(&self, push: &Push) -> Result<Pushed> {
        named(&push.peer.name)?;
        let mut pushed = Pushed { last_op: 0, results: Vec::new() };
        for groups in self.batched(&push.groups)? {
            let body = BatchPush {
                peer: push.peer.name.clone(),
                life: push.peer.life,
                known_as: push.known_as.clone(),
                in_parts: push.in_parts,
                groups: Some(groups),
                previous: 0,
                edits: None,
            };
            let url = self.url("batch-push")?;
            let answer = self.ask(Method::POST, url, Some(body::json(&body)?), Effect::Writes).await?;
            let answered: BatchPushed = answer.json()?;
            pushed.last_op = answered.last_op;
            for result in answered.results {
                pushed.results.push(result.read(&self.codecs).map_err(answer::misread)?);
            }
        }
        Ok(pushed)
    }

    async fn pull(&self, pull: &Pull) -> Result<Page> {
        named(&pull.peer.name)?;
        let answer = self.ask(Method::GET, self.pull_url(pull)?, None, Effect::Reads).await?;
        let page: PageBody = answer.json()?;
        let PageBody { changes, cursor, mark, more, load, loading, last_op, decided, clock, known_as } = page;
        let items = changes.into_iter().map(|change| change.read(&self.codecs)).collect::<Result<_>>();
        let decided = decided.into_iter().map(|result| result.read(&self.codecs)).collect::<Result<_>>();
        *self.mark.lock().unwrap_or_else(PoisonError::into_inner) = mark;
        Ok(Page {
            items: items.map_err(answer::misread)?,
            next: Position::Opaque { cursor, loading },
            more,
            load,
            last_op,
            decided: decided.map_err(answer::misread)?,
            clock,
            known_as,
        })
    }

    async fn look_up(&self, lookup: &Lookup) -> Result<Vec<Found>> {
        let codec = self.codecs.of(&lookup.table)?;
        let mut found = Vec::with_capacity(lookup.keys.len());
        let (mut rest, mut at_most) = (lookup.keys.as_slice(), KEYS);
        while !rest.is_empty() {
            let (keys, others) = rest.split_at(rest.len().min(at_most));
            let part = Lookup { keys: keys.to_vec(), ..lookup.clone() };
            let body = body::json(&LookupBody::of(&part, &self.codecs)?)?;
            let answer = match self.ask(Method::POST, self.url("rows")?, Some(body), Effect::Reads).await {
                // The master takes or gives less at once.
                Err(error) if error.kind() == ErrorKind::Limit && keys.len() > 1 => {
                    at_most = keys.len() / 2;
                    continue;
                }
                answer => answer?,
            };
            rest = others;
            let answered: FoundBody = answer.json()?;
            if answered.rows.len() != keys.len() {
                return Err(answer::misread(Error::malformed(
                    "the master answered for other keys than it was asked for",
                )));
            }
            let rows = answered.rows.into_iter().map(|row| row.read(codec)).collect::<Result<Vec<_>>>();
            found.extend(rows.map_err(answer::misread)?);
        }
        Ok(found)
    }
}
