//! What `sync-core` promises, tested from outside, in one binary.

mod laws;
