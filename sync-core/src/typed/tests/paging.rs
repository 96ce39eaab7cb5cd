//! Sources made of one function.

use std::sync::{Arc, Mutex};

use futures::TryStreamExt;

use crate::model::{Batch, Boundary, Changes, Cursor, Feed, Key, Partition, RowScope};
use crate::source::Reading;
use crate::{BatchStream, Error, ErrorKind, ReadRequest, Result, StreamSpec, pages, pages_inclusive, typed};

struct Desk {
    stream: Arc<StreamSpec>,
    last: i64,
    asked: Mutex<Vec<Option<i64>>>,
}

impl Desk {
    fn new(last: i64) -> Self {
        Self { stream: Arc::new(StreamSpec::new("tickets").key(["id"])), last, asked: Mutex::default() }
    }

    async fn after(&self, cursor: Option<i64>) -> Result<Option<(typed::Page, i64)>> {
        self.asked.lock().unwrap().push(cursor);
        tokio::task::yield_now().await;
        let after = cursor.unwrap_or(0);
        let page: Vec<_> =
            (after + 1..=self.last.min(after + 2)).map(|id| std::collections::BTreeMap::from([("id", id)])).collect();
        let Some(last) = page.last().map(|ticket| ticket["id"]) else { return Ok(None) };
        Ok(Some((typed::changes(&self.stream, &page), last)))
    }

    /// As in a source: borrowed from `self`.
    fn read(&self, request: ReadRequest) -> BatchStream<'_> {
        pages(request, Arc::clone(&self.stream), move |after: Option<i64>| async move { self.after(after).await })
    }

    fn request(&self) -> ReadRequest {
        ReadRequest::new(Feed::one(Arc::clone(&self.stream)), Partition::default())
    }

    async fn all(&self, request: ReadRequest) -> Result<Vec<Batch>> {
        self.read(request).try_collect().await
    }
}

fn cursor(id: i64) -> Cursor {
    Cursor::new(1, &id).unwrap()
}

fn boundaries(batches: &[Batch]) -> Vec<(usize, Boundary)> {
    batches.iter().map(|batch| (batch.records(), batch.boundary.clone())).collect()
}

#[tokio::test]
async fn every_page_ends_where_reading_may_continue() {
    let desk = Desk::new(5);
    let batches = desk.all(desk.request()).await.unwrap();
    let resume = |id| Boundary::Resume(cursor(id));
    assert_eq!(boundaries(&batches), [(2, resume(2)), (2, resume(4)), (1, resume(5))]);
    assert_eq!(*desk.asked.lock().unwrap(), [None, Some(2), Some(4), Some(5)]);
}

#[tokio::test]
async fn reading_continues_behind_the_saved_cursor() {
    let desk = Desk::new(5);
    let batches = desk.all(desk.request().from(Some(cursor(4)))).await.unwrap();
    assert_eq!(boundaries(&batches), [(1, Boundary::Resume(cursor(5)))]);
    let error = desk.all(desk.request().from(Some(Cursor::new(2, &4).unwrap()))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gone, "a cursor of another format");
}

#[tokio::test]
async fn a_listing_begins_at_the_beginning_and_is_complete_at_the_end() {
    let desk = Desk::new(3);
    let request = desk.request().from(Some(cursor(2))).reading(Reading::Listing);
    let batches = desk.all(request).await.unwrap();
    assert_eq!(
        boundaries(&batches),
        [
            (0, Boundary::Begins(RowScope::All)),
            (2, Boundary::Inside),
            (1, Boundary::Inside),
            (0, Boundary::Ends { scope: RowScope::All, complete: true, resume: None }),
        ]
    );
}

#[tokio::test]
async fn nothing_is_fetched_before_the_first_batch_is_pulled() {
    let desk = Desk::new(3);
    drop(desk.read(desk.request()));
    assert!(desk.asked.lock().unwrap().is_empty());
    assert!(desk.all(desk.request().from(Some(cursor(3)))).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_error_ends_the_read_and_a_listing_is_then_not_complete() {
    let desk = Desk::new(9);
    let request = desk.request().reading(Reading::Listing);
    let read = pages(request, Arc::clone(&desk.stream), |after: Option<i64>| {
        let desk = &desk;
        async move { if after == Some(4) { Err(Error::unavailable("the desk is closed")) } else { desk.after(after).await } }
    });
    let mut batches = Vec::new();
    let end = read.try_for_each(|batch| {
        batches.push(batch);
        async { Ok(()) }
    });
    assert_eq!(end.await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(batches.len(), 3);
    assert!(batches.iter().all(|batch| !matches!(batch.boundary, Boundary::Ends { .. })));
}

#[tokio::test]
async fn a_page_that_leads_back_to_itself_is_an_error_and_so_is_a_range() {
    let desk = Desk::new(1);
    let changes = || Changes::upserts(crate::Rows::new(Arc::clone(desk.stream.schema())));
    let read = pages(desk.request(), Arc::clone(&desk.stream), |_: Option<i64>| async { Ok(Some((changes(), 7))) });
    let error = read.try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(error.to_string().contains("pages_inclusive"), "the remedy: {error}");
    let error = desk.all(desk.request().reading(Reading::Range(RowScope::All))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

/// Events of the minutes 1, 2, 2, 2 and 3, under keys that do not follow the time.
const EVENTS: [(i64, &str); 5] = [(1, "e"), (2, "b"), (2, "c"), (2, "d"), (3, "a")];

/// What was asked for: a position, and a key behind which to go on.
type Asked = Mutex<Vec<(Option<i64>, Option<&'static str>)>>;

fn diary<'a>(stream: &'a Arc<StreamSpec>, request: ReadRequest, asked: &'a Asked) -> BatchStream<'a> {
    pages_inclusive(request, Arc::clone(stream), move |since: Option<i64>, after| async move {
        asked.lock().unwrap().push((since, after));
        let from = since.unwrap_or(0);
        let follows = |event: &&(i64, &str)| after.map_or(event.0 >= from, |after| (event.0, event.1) > (from, after));
        let page: Vec<_> = EVENTS.iter().filter(follows).take(2).collect();
        let Some((minute, key)) = page.last() else { return Ok(None) };
        let rows: Vec<_> = page.iter().map(|event| std::collections::BTreeMap::from([("id", event.1)])).collect();
        Ok(Some((typed::changes(stream, &rows), *minute, *key)))
    })
}

fn events() -> (Arc<StreamSpec>, ReadRequest) {
    let stream = Arc::new(StreamSpec::new("events").key(["id"]).text("id"));
    let request = ReadRequest::new(Feed::one(Arc::clone(&stream)), Partition::default());
    (stream, request)
}

#[tokio::test]
async fn an_inclusive_read_saves_positions_and_goes_on_by_key() {
    let ((stream, request), asked) = (events(), Asked::default());
    let batches: Vec<Batch> = diary(&stream, request, &asked).try_collect().await.unwrap();
    let resume = |minute| Boundary::Resume(cursor(minute));
    assert_eq!(boundaries(&batches), [(2, resume(2)), (2, resume(2)), (1, resume(3))]);
    assert_eq!(
        *asked.lock().unwrap(),
        [(None, None), (Some(2), Some("b")), (Some(2), Some("d")), (Some(3), Some("a"))]
    );
}

#[tokio::test]
async fn an_inclusive_read_begins_with_all_rows_of_the_saved_position_and_ends() {
    let ((stream, request), asked) = (events(), Asked::default());
    let again: Vec<Batch> = diary(&stream, request.clone().from(Some(cursor(3))), &asked).try_collect().await.unwrap();
    assert_eq!(boundaries(&again), [(1, Boundary::Resume(cursor(3)))], "the last row comes again, and that is all");
    let middle: Vec<Batch> = diary(&stream, request.from(Some(cursor(2))), &asked).try_collect().await.unwrap();
    assert_eq!(middle.iter().map(Batch::records).sum::<usize>(), 4, "all of minute 2, and what follows");
}

#[tokio::test]
async fn an_inclusive_page_that_leads_back_to_its_position_and_key_is_an_error() {
    let (stream, request) = events();
    let read = pages_inclusive(request, Arc::clone(&stream), |_: Option<i64>, _| async {
        Ok(Some((Changes::upserts(crate::Rows::new(Arc::clone(stream.schema()))), 7, 1)))
    });
    let error = read.try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(error.to_string().contains("follow the key"), "the remedy: {error}");
}

#[test]
fn a_record_that_is_no_row_is_rejected_with_its_key_and_its_json_and_the_others_are_kept() {
    let stream = Arc::new(StreamSpec::new("readings").key(["id"]).int("id").decimal("value", 12, 3));
    let items = [("1", "20.5"), ("2", "123456789012.3"), ("x", "1"), ("4", "7")];
    let items = items.map(|(id, value)| std::collections::BTreeMap::from([("id", id), ("value", value)]));
    let page = typed::changes(&stream, &items);
    let ids: Vec<_> = page.changes.iter().map(|change| change.key(&[0])).collect();
    assert_eq!(ids, [1_i64, 4].map(|id| Key::new([id])));
    let [long, odd] = page.rejects.as_slice() else { panic!("{:?}", page.rejects) };
    assert_eq!(long.key, Some(Key::new([2_i64])));
    assert_eq!(&*long.body, br#"{"id":"2","value":"123456789012.3"}"#);
    assert!(long.reason.contains("value") && !long.reason.contains("123456789012"), "{}", long.reason);
    assert_eq!(odd.key, None, "its key cannot be read");
}

#[tokio::test]
async fn a_rejected_record_goes_to_the_dead_letters_and_reading_goes_on() {
    let stream = Arc::new(StreamSpec::new("readings").key(["id"]).int("id").decimal("value", 12, 3));
    let request = ReadRequest::new(Feed::one(Arc::clone(&stream)), Partition::default());
    let of = &stream;
    let batches: Vec<Batch> = pages(request, Arc::clone(&stream), move |after: Option<i64>| async move {
        let id = after.unwrap_or(0) + 1;
        let value = if id == 2 { "123456789012.3" } else { "1" };
        let item = std::collections::BTreeMap::from([("id", id.to_string()), ("value", value.to_owned())]);
        Ok((id <= 3).then(|| (typed::changes(of, &[item]), id)))
    })
    .try_collect()
    .await
    .unwrap();
    let came: Vec<_> = batches.iter().map(|batch| (batch.records(), batch.rejects.len())).collect();
    assert_eq!(came, [(1, 0), (1, 1), (1, 0)]);
}
