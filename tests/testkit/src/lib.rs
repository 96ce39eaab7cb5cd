//! What an adapter author uses to prove an adapter.

mod data;
mod report;
pub mod sink;

pub use report::{Checked, Report, Verdict};
