//! What the core promises, over in-memory adapters.

mod engine;
