//! What an adapter author uses to prove an adapter.
//!
//! * **Conformance**: [`source`], [`sink`], [`store`], [`replica`] and [`policy`] each run one check for each sentence of their
//!   trait's specification. A claimed capability must hold; what is not claimed is listed as skipped. A [`Report`] says which
//!   sentence is broken, and how. Every check is itself proven: a broken adapter exists that it rejects.
//! * **Faults**: [`fault`] wraps source, sink and store in a script of failures, lost replies and crashes that follows
//!   from a seed.
//! * **Time**: [`ManualClock`] stands still until a test moves it.
//!
//! A sink that lives in a folder, proven in two tests; the factory may fail, and is given a name for each target:
//!
//! ```
//! # use sync_core::memory::MemorySink;
//! # struct Folder;
//! # impl Folder { fn join(&self, name: &str) -> String { name.to_owned() } }
//! # struct MySink;
//! # impl MySink { async fn open(_: String) -> sync_core::Result<MemorySink> { Ok(MemorySink::new()) } }
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! # let folder = Folder;
//! // let folder = tempfile::tempdir()?;
//! sync_testkit::sink::conformance(async |name| MySink::open(folder.join(name)).await).await.assert();
//! // sync_testkit::sink::durability(async |name| MySink::open(folder.join(name)).await).await.assert();
//! # }
//! ```
//!
//! `examples/custom-adapter` does this for a source and a sink of one's own.

mod clock;
mod data;
pub mod fault;
pub mod policy;
mod random;
pub mod replica;
mod report;
pub mod sink;
pub mod source;
pub mod store;

pub use clock::ManualClock;
pub use random::Random;
pub use report::{Checked, Report, Verdict};
