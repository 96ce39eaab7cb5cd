//! The data model: values in flat rows over a shared schema, changes to them, and the positions between changes.

mod batch;
pub mod canonical;
mod change;
mod cursor;
mod field_set;
mod key;
mod outcome;
mod rows;
mod schema;
mod scope;
mod stream;
mod timestamp;
mod value;
mod version;

pub use batch::{Batch, Boundary, Frontier, FrontierProof, Reject, Run};
pub use change::{Change, Changes, Mark, Op, Origin};
pub use cursor::Cursor;
pub use field_set::FieldSet;
pub use key::Key;
pub use outcome::{Outcome, Tally};
pub use rows::{Row, RowWriter, Rows};
pub use rust_decimal::Decimal;
pub use schema::{Field, Kind, Schema};
pub use scope::{Lane, Partition, RowScope, Scope};
pub use stream::{Absent, Disposition, Feed, StreamSpec};
pub use timestamp::{Timestamp, TimestampText};
pub use value::{Value, ValueRef};
pub use version::Version;
