//! JSON bytes straight into rows: only the declared fields are read, everything else is skipped, nothing is built
//! in between.
//!
//! A [`RecordReader`] knows where each column stands in a record and how it is written there; an [`Envelope`] knows
//! where the records stand in the body. A record that cannot be read is lost alone: the others of its page are as if
//! it had not been there.
//!
//! ```
//! use std::sync::Arc;
//! use sync_core::json::{Envelope, RecordReader};
//! use sync_core::StreamSpec;
//!
//! let orders = StreamSpec::new("orders").key(["id"]).decimal("total", 12, 2);
//! let reader = RecordReader::new(Arc::new(orders)).column("total", "/amount/value");
//! let body = br#"{"data":[{"id":1,"amount":{"value":"1.10"}},{"id":"x"}],"next":"c2"}"#;
//!
//! let page = reader.read(body, &Envelope::at(["/data"]).also(["/next"]))?;
//! assert_eq!((page.rows.len(), page.rejects.len()), (1, 1));
//! assert_eq!(page.rejects[0].reason, "column \"id\": not an integer");
//! # Ok::<(), sync_core::Error>(())
//! ```

pub(crate) mod base64;
mod choice;
mod convert;
mod derive;
mod direct;
mod envelope;
mod fault;
mod joined;
pub(crate) mod number;
mod outer;
mod page;
mod parse;
mod plan;
mod pointer;
mod reader;
mod record;
mod rule;
mod sample;
mod scan;
mod split;
pub(crate) mod time;
mod unfold;
mod walk;
mod wrapper;

pub use envelope::{Envelope, Layout};
pub use page::{Page, RejectedRecord};
pub use parse::{Parse, Zone};
pub use reader::RecordReader;
pub use unfold::When;

#[cfg(test)]
mod tests;
