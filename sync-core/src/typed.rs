//! Typed hosts: rows from and to any `serde` type, and `pages`, which turns "the next page after this cursor" into a read.
