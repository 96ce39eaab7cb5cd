//! What an adapter author uses to prove an adapter.

mod clock;
mod data;
pub mod fault;
mod random;
mod report;
pub mod sink;
pub mod source;
pub mod store;

pub use clock::ManualClock;
pub use random::Random;
pub use report::{Checked, Report, Verdict};
