//! What a reader does with good and with bad bodies, seen from outside.

mod bodies;
mod choices;
mod columns;
mod derived;
mod properties;
mod unfolding;

use std::sync::Arc;

use super::{Envelope, Page, RecordReader};
use crate::StreamSpec;

/// A reader for bodies that are arrays.
fn reader(stream: StreamSpec) -> RecordReader {
    RecordReader::new(Arc::new(stream))
}

fn read(reader: &RecordReader, body: &str) -> Page {
    reader.read(body.as_bytes(), &Envelope::body()).unwrap()
}

/// The values of a page as text, row by row.
fn texts(page: &Page) -> Vec<Vec<String>> {
    page.rows.iter().map(|row| row.values().map(|value| value.to_string()).collect()).collect()
}

fn reasons(page: &Page) -> Vec<&str> {
    page.rejects.iter().map(|reject| reject.reason.as_str()).collect()
}
