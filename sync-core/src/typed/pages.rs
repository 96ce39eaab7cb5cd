//! A source of one's own from one function: the next page after this cursor.

use std::future::Future;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::try_unfold;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::{Batch, Boundary, Changes, Cursor, RowScope, StreamSpec};
use crate::source::Reading;
use crate::{BatchStream, Error, ErrorKind, ReadRequest, Result};

/// The format of the cursors that [`pages`] writes: the position as JSON, nothing around it.
const FORMAT: u32 = 1;

/// Turns "the next page after this cursor" into [`Source::read`](crate::Source::read).
///
/// `fetch` is given the cursor of the last page, or `None` at the beginning, and answers with the changes that follow
/// and the cursor behind them, or with `None` where nothing follows. The cursor must name what breaks ties, too: rows
/// that share a bare timestamp are lost.
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
///             Ok(Some((typed::changes(&self.stream, &page)?, last)))
///         })
///     }
/// }
/// ```
pub fn pages<'a, C, F, Next>(request: ReadRequest, stream: impl Into<Arc<StreamSpec>>, fetch: F) -> BatchStream<'a>
where
    C: Serialize + DeserializeOwned + Send + 'a,
    F: FnMut(Option<C>) -> Next + Send + 'a,
    Next: Future<Output = Result<Option<(Changes, C)>>> + Send + 'a,
{
    let listing = request.reading == Reading::Listing;
    let walk = Walk { stream: stream.into(), fetch, listing, state: State::First(request) };
    try_unfold(walk, |mut walk| async move { Ok(walk.next().await?.map(|batch| (batch, walk))) }).boxed()
}

struct Walk<F, C> {
    stream: Arc<StreamSpec>,
    fetch: F,
    listing: bool,
    state: State<C>,
}

enum State<C> {
    First(ReadRequest),
    /// The cursor of the last page, for `fetch` and as it was written.
    Page(Option<(C, Cursor)>),
    Over,
}

impl<C, F, Next> Walk<F, C>
where
    C: Serialize + DeserializeOwned + Send,
    F: FnMut(Option<C>) -> Next + Send,
    Next: Future<Output = Result<Option<(Changes, C)>>> + Send,
{
    async fn next(&mut self) -> Result<Option<Batch>> {
        let after = match std::mem::replace(&mut self.state, State::Over) {
            State::Over => return Ok(None),
            State::First(_) if self.listing => {
                self.state = State::Page(None);
                return Ok(Some(Batch::marker(Boundary::Begins(RowScope::All))));
            }
            State::First(request) => self.begin(request)?,
            State::Page(after) => after,
        };
        let (after, last) = after.unzip();
        let Some((changes, cursor)) = (self.fetch)(after).await? else {
            let end = Boundary::Ends { scope: RowScope::All, complete: true, resume: None };
            return Ok(self.listing.then(|| Batch::marker(end)));
        };
        let written = Cursor::new(FORMAT, &cursor)?;
        if last.as_ref() == Some(&written) {
            let error = Error::new(ErrorKind::Limit, "a page leads back to the cursor it was asked for with");
            return Err(error.with("stream", self.stream.name()));
        }
        let boundary = if self.listing { Boundary::Inside } else { Boundary::Resume(written.clone()) };
        self.state = State::Page(Some((cursor, written)));
        Ok(Some(Batch::of(&self.stream, changes, boundary)))
    }

    /// The cursor to begin at.
    fn begin(&self, request: ReadRequest) -> Result<Option<(C, Cursor)>> {
        if let Reading::Range(_) = request.reading {
            let error = Error::config("this source reads no ranges: read its changes, or a complete listing");
            return Err(error.with("stream", self.stream.name()));
        }
        request.from.map(|cursor| Ok((cursor.read(FORMAT)?, cursor))).transpose()
    }
}
