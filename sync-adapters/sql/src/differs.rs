//! A table that does not hold what its stream declares.

use sync_core::{Error, ErrorKind, StreamSpec};

/// The error that says where they differ.
pub(crate) fn differs(stream: &StreamSpec, what: String) -> Error {
    Error::new(ErrorKind::Schema, what)
        .with_remedy("change the table as the message says, or the stream's declaration; where nothing of the table is needed, drop it and run once with the option `full`, which makes it anew")
        .with("table", stream.name())
}
