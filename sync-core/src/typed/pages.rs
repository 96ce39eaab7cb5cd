//! A source of one's own from one function: the next page after this cursor, or from this position on.

use std::future::Future;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::try_unfold;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Page;
use crate::model::{Batch, Boundary, Cursor, RowScope, StreamSpec};
use crate::source::Reading;
use crate::{BatchStream, Error, ErrorKind, ReadRequest, Result};

/// The format of the cursors written here: the position as JSON, nothing around it.
const FORMAT: u32 = 1;

/// Turns "the next page after this cursor" into [`Source::read`](crate::Source::read).
///
/// `fetch` is given the cursor of the last page, or `None` at the beginning, and answers with the changes that follow
/// (a [`Page`] where some records may be no rows) and the cursor behind them, or with `None` where nothing follows. The cursor must name what breaks ties, too: rows
/// that share a bare timestamp are lost. Where rows may still appear at the last position, whatever their key, read it
/// again: that is [`pages_inclusive`]. [`CursorKind`](crate::source::CursorKind) says which fits. What has no position at all, such as a
/// file that is read as a whole, begins each read at the beginning: `pages(request.from(None), …)`.
///
/// Every page ends where reading may continue. A complete listing
/// ([`Reading::Listing`](crate::source::Reading::Listing)) begins at the beginning whatever the saved cursor is, and
/// counts as complete when `fetch` has answered `None`: offer it only where that means that every row has been seen.
///
/// The batches end with the error of `fetch`, if there is one. A page that leads back to its own cursor is an error
/// (`Limit`), since reading would never end; a request for a range is one too (`Config`).
///
/// ```
/// use std::sync::Arc;
/// use sync_core::source::SourceCapabilities;
/// use sync_core::{BatchStream, Feed, ReadRequest, Result, Source, StreamSpec, pages, typed};
///
/// #[derive(serde::Serialize)]
/// struct Ticket {
///     id: i64,
///     title: String,
/// }
///
/// #[derive(Debug)]
/// struct Desk {
///     stream: Arc<StreamSpec>,
/// }
///
/// impl Desk {
///     async fn after(&self, id: i64) -> Result<Vec<Ticket>> {
///         // Ask the help desk here.
///         Ok((id + 1..=3).map(|id| Ticket { id, title: format!("Ticket {id}") }).take(2).collect())
///     }
/// }
///
/// #[async_trait::async_trait]
/// impl Source for Desk {
///     fn name(&self) -> &str {
///         "desk"
///     }
///
///     async fn feeds(&self) -> Result<Vec<Feed>> {
///         Ok(vec![Feed::one(Arc::clone(&self.stream))])
///     }
///
///     fn read(&self, request: ReadRequest) -> BatchStream<'_> {
///         pages(request, Arc::clone(&self.stream), move |after: Option<i64>| async move {
///             let page = self.after(after.unwrap_or(0)).await?;
///             let Some(last) = page.last().map(|ticket| ticket.id) else { return Ok(None) };
///             Ok(Some((typed::changes(&self.stream, &page), last)))
///         })
///     }
/// }
/// ```
pub fn pages<'a, B, C, F, Next>(request: ReadRequest, stream: impl Into<Arc<StreamSpec>>, fetch: F) -> BatchStream<'a>
where
    B: Into<Page> + 'a,
    C: Serialize + DeserializeOwned + Send + 'a,
    F: FnMut(Option<C>) -> Next + Send + 'a,
    Next: Future<Output = Result<Option<(B, C)>>> + Send + 'a,
{
    let form = Form {
        load: |cursor| cursor.read(FORMAT),
        save: |at| Cursor::new(FORMAT, at),
        endless: "a page leads back to the cursor it was asked for with: hand over only what follows that cursor, and let \
                  it name what breaks ties; a source that reads its last position again needs `pages_inclusive`",
    };
    walk(request, stream.into(), form, fetch)
}

/// Turns "the next page from this position on" into [`Source::read`](crate::Source::read), for a source that reads its
/// last position again ([`CursorKind::Inclusive`](crate::source::CursorKind::Inclusive)): the usual case of rows that say
/// when they were changed, where another row may yet be changed at the very time that was read last.
///
/// `fetch` is given a position and a key, and answers with rows at or after the position, in the order of position and
/// key: without a key all of them, with a key only those that follow it, as in
/// `WHERE (changed_at, id) > (?, ?) ORDER BY changed_at, id`. With the rows it hands over the position and the key of
/// the last of them, or it answers `None` where nothing follows. There is no position at the beginning.
///
/// Only the position is saved. The next run begins at it without a key, so that all rows of the last position come
/// again; the engine recognises those it has, and counts them as unchanged. Everything else is as in [`pages`].
///
/// ```
/// use std::sync::Arc;
/// use sync_core::source::{CursorKind, SourceCapabilities};
/// use sync_core::{BatchStream, Feed, ReadRequest, Result, Source, StreamSpec, pages_inclusive, typed};
///
/// #[derive(Clone, serde::Serialize)]
/// struct Ticket {
///     id: i64,
///     /// Seconds: tickets may share it.
///     changed_at: i64,
/// }
///
/// #[derive(Debug)]
/// struct Desk {
///     stream: Arc<StreamSpec>,
/// }
///
/// impl Desk {
///     async fn changed(&self, since: i64, after: Option<i64>) -> Result<Vec<Ticket>> {
///         // Ask the help desk here.
///         let all = [(1, 10), (2, 20), (3, 20)].map(|(id, changed_at)| Ticket { id, changed_at });
///         let follows = |ticket: &&Ticket| match after {
///             Some(after) => (ticket.changed_at, ticket.id) > (since, after),
///             None => ticket.changed_at >= since,
///         };
///         Ok(all.iter().filter(follows).take(2).cloned().collect())
///     }
/// }
///
/// #[async_trait::async_trait]
/// impl Source for Desk {
///     fn name(&self) -> &str {
///         "desk"
///     }
///
///     async fn feeds(&self) -> Result<Vec<Feed>> {
///         Ok(vec![Feed::one(Arc::clone(&self.stream))])
///     }
///
///     fn read(&self, request: ReadRequest) -> BatchStream<'_> {
///         pages_inclusive(request, Arc::clone(&self.stream), move |since, after| async move {
///             let page = self.changed(since.unwrap_or(0), after).await?;
///             let Some(last) = page.last() else { return Ok(None) };
///             Ok(Some((typed::changes(&self.stream, &page), last.changed_at, last.id)))
///         })
///     }
///
///     fn capabilities(&self) -> SourceCapabilities {
///         SourceCapabilities::replayable(CursorKind::Inclusive)
///     }
/// }
/// ```
pub fn pages_inclusive<'a, B, P, K, F, Next>(
    request: ReadRequest,
    stream: impl Into<Arc<StreamSpec>>,
    mut fetch: F,
) -> BatchStream<'a>
where
    B: Into<Page> + 'a,
    P: Serialize + DeserializeOwned + Send + 'a,
    K: Serialize + Send + 'a,
    F: FnMut(Option<P>, Option<K>) -> Next + Send + 'a,
    Next: Future<Output = Result<Option<(B, P, K)>>> + Send + 'a,
{
    let form = Form {
        load: |cursor| Ok((cursor.read(FORMAT)?, None)),
        save: |(position, _): &(P, Option<K>)| Cursor::new(FORMAT, position),
        endless: "a page leads back to the position and the key it was asked for with: at that position, hand over only \
                  rows that follow the key",
    };
    walk(request, stream.into(), form, move |at: Option<(P, Option<K>)>| {
        let (position, key) = at.unzip();
        let next = fetch(position, key.flatten());
        async move { Ok(next.await?.map(|(page, position, key)| (page, (position, Some(key))))) }
    })
}

/// How the place a page ends at is kept.
struct Form<C> {
    /// The place that a saved cursor stands for.
    load: fn(&Cursor) -> Result<C>,
    /// What is saved of a place.
    save: fn(&C) -> Result<Cursor>,
    /// What is wrong, and the remedy, when a page leads back to its own place.
    endless: &'static str,
}

fn walk<'a, B, C, F, Next>(request: ReadRequest, stream: Arc<StreamSpec>, form: Form<C>, fetch: F) -> BatchStream<'a>
where
    B: Into<Page> + 'a,
    C: Serialize + Send + 'a,
    F: FnMut(Option<C>) -> Next + Send + 'a,
    Next: Future<Output = Result<Option<(B, C)>>> + Send + 'a,
{
    let listing = request.reading == Reading::Listing;
    let walk = Walk { stream, form, fetch, listing, state: State::First(request) };
    try_unfold(walk, |mut walk| async move { Ok(walk.next().await?.map(|batch| (batch, walk))) }).boxed()
}

struct Walk<F, C> {
    stream: Arc<StreamSpec>,
    form: Form<C>,
    fetch: F,
    listing: bool,
    state: State<C>,
}

enum State<C> {
    First(ReadRequest),
    /// Where the last page ended.
    Page(Option<C>),
    Over,
}

impl<C, F> Walk<F, C>
where
    C: Serialize + Send,
    F: Send,
{
    async fn next<B, Next>(&mut self) -> Result<Option<Batch>>
    where
        B: Into<Page>,
        F: FnMut(Option<C>) -> Next,
        Next: Future<Output = Result<Option<(B, C)>>> + Send,
    {
        let after = match std::mem::replace(&mut self.state, State::Over) {
            State::Over => return Ok(None),
            State::First(_) if self.listing => {
                self.state = State::Page(None);
                return Ok(Some(Batch::marker(Boundary::Begins(RowScope::All))));
            }
            State::First(request) => self.begin(request)?,
            State::Page(after) => after,
        };
        let asked = after.as_ref().map(|after| Cursor::new(FORMAT, after)).transpose()?;
        let next = (self.fetch)(after).await?;
        let Some((page, at)) = next.map(|(page, at)| (page.into(), at)) else {
            let end = Boundary::Ends { scope: RowScope::All, complete: true, resume: None };
            return Ok(self.listing.then(|| Batch::marker(end)));
        };
        if asked.is_some_and(|asked| Cursor::new(FORMAT, &at).is_ok_and(|at| at == asked)) {
            let endless = Error::new(ErrorKind::Limit, self.form.endless);
            let remedy = "correct the pages that the source hands over, as the message says, and run again";
            return Err(endless.with_remedy(remedy).with("stream", self.stream.name()));
        }
        let boundary = if self.listing { Boundary::Inside } else { Boundary::Resume((self.form.save)(&at)?) };
        self.state = State::Page(Some(at));
        let Page { changes, rejects, .. } = page.checked(&self.stream)?;
        Ok(Some(Batch { rejects, ..Batch::of(&self.stream, changes, boundary) }))
    }

    /// The place to begin at.
    fn begin(&self, request: ReadRequest) -> Result<Option<C>> {
        if let Reading::Range(_) = request.reading {
            let error = Error::config("this source reads no ranges: read its changes, or a complete listing");
            return Err(error.with("stream", self.stream.name()));
        }
        request.from.as_ref().map(self.form.load).transpose()
    }
}
