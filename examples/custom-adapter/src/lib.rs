//! A source and a sink of one's own: the template to copy.
//!
//! * [`desk`] is the other side: a help desk with an API that answers in pages.
//! * [`source`] reads it.
//! * [`sink`] writes rows into a file of JSON lines.
//! * `main.rs` puts both into a pipeline and runs it; `tests/conformance.rs` proves both with the testkit.

pub mod desk;
pub mod sink;
pub mod source;

pub use desk::Desk;
pub use sink::JsonLines;
pub use source::Tickets;
