//! A column that nothing names, beside something that is named like it.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::TryStreamExt;
use serde::Serialize;

use crate::model::{Feed, Partition};
use crate::{ErrorKind, ReadRequest, StreamSpec, pages, typed};

#[derive(Clone, Serialize)]
struct Ticket {
    id: i64,
    title: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
    notes: u32,
}

const TICKET: Ticket = Ticket { id: 1, title: "The door is stuck", note: None, notes: 0 };

fn tickets() -> StreamSpec {
    StreamSpec::new("tickets").key(["id"])
}

#[test]
fn a_misspelt_column_is_an_error_that_names_it_and_the_field_that_is_meant() {
    let error = typed::rows(&tickets().text("titel"), &[TICKET]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema);
    let said = error.to_string();
    assert!(said.contains("\"titel\"") && said.contains("\"title\"") && said.contains("tickets"), "{said}");
    assert!(!said.contains("stuck"), "{said}");
}

#[tokio::test]
async fn a_source_over_pages_stops_at_a_misspelt_column_before_a_row_of_it_is_written() {
    let stream = Arc::new(tickets().text("titel"));
    let request = ReadRequest::new(Feed::one(Arc::clone(&stream)), Partition::default());
    let read = pages(request, Arc::clone(&stream), |after: Option<i64>| {
        let stream = Arc::clone(&stream);
        async move { Ok(after.is_none().then(|| (typed::changes(&stream, &[TICKET]), 1))) }
    });
    let error = read.try_collect::<Vec<_>>().await.unwrap_err();
    assert!(error.kind() == ErrorKind::Schema && error.to_string().contains("\"titel\""), "{error}");
}

#[test]
fn a_field_that_an_item_skips_is_named_all_the_same() {
    let stream = tickets().text("title").text("note");
    assert!(typed::rows(&stream, &[TICKET]).is_ok(), "`notes` is no column and `note` is skipped: nothing is misspelt");
    let skips_and_fills = [TICKET, Ticket { note: Some("again"), ..TICKET }];
    let rows = typed::rows(&stream, &skips_and_fills).unwrap();
    assert_eq!(rows.row(1).named("note").unwrap().as_str(), Some("again"));
}

#[test]
fn a_column_that_resembles_nothing_may_stay_empty() {
    assert!(typed::rows(&tickets().text("title").text("assignee"), &[TICKET]).is_ok());
}

/// What a map lacks in one page it may have in the next.
#[test]
fn a_map_may_lack_a_column_beside_a_member_that_only_resembles_it() {
    #[derive(Serialize)]
    struct Flat {
        id: i64,
        #[serde(flatten)]
        more: BTreeMap<&'static str, &'static str>,
    }
    let item = |name| [Flat { id: 1, more: BTreeMap::from([(name, "x")]) }];
    assert!(typed::rows(&tickets().text("note"), &item("notes")).is_ok());
    let error = typed::rows(&tickets().text("due_date"), &item("dueDate")).unwrap_err().to_string();
    assert!(error.contains("\"due_date\"") && error.contains("\"dueDate\""), "{error}");
}

#[test]
fn a_rejected_record_keeps_its_key_although_its_other_fields_are_no_columns() {
    let stream = Arc::new(StreamSpec::new("tickets").key(["id"]).int("title"));
    let page = typed::changes(&stream, &[TICKET]);
    assert_eq!(page.rejects.len(), 1);
    assert!(page.rejects[0].key.is_some());
    assert!(page.checked(&stream).is_ok());
}
