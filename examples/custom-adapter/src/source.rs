//! A source of one's own: the tickets of a help desk.

use std::sync::Arc;

use async_trait::async_trait;
use sync_core::source::{CursorKind, SourceCapabilities};
use sync_core::{BatchStream, Feed, ReadRequest, Result, Source, StreamSpec, pages_inclusive, typed};

use crate::Desk;

/// Reads the tickets of a desk.
#[derive(Debug)]
pub struct Tickets {
    desk: Desk,
    stream: Arc<StreamSpec>,
}

impl Tickets {
    /// The tickets of this desk.
    pub fn of(desk: Desk) -> Self {
        let stream = StreamSpec::new("tickets").key(["id"]).int("changed_at").version("changed_at");
        Self { desk, stream: Arc::new(stream.text("title").bool("closed")) }
    }
}

#[async_trait]
impl Source for Tickets {
    fn name(&self) -> &str {
        "help desk"
    }

    async fn feeds(&self) -> Result<Vec<Feed>> {
        Ok(vec![Feed::one(Arc::clone(&self.stream))])
    }

    /// The cursor is the minute of the last ticket read. Another ticket may yet be changed in that minute, so the next read
    /// begins with all of that minute again.
    fn read(&self, request: ReadRequest) -> BatchStream<'_> {
        pages_inclusive(request, Arc::clone(&self.stream), move |since, after| async move {
            let page = self.desk.changed(since.unwrap_or(0), after);
            let Some(last) = page.last() else { return Ok(None) };
            Ok(Some((typed::changes(&self.stream, &page), last.changed_at, last.id)))
        })
    }

    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities::replayable(CursorKind::Inclusive)
    }
}
