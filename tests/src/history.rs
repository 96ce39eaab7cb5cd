//! A change log that both a child process and the test that kills it can compute: changes come in generations, and within
//! one no row changes twice.

use std::sync::{Arc, LazyLock};

use sync_core::{StreamSpec, Value};

/// Rows; each generation after the first changes a part of them.
pub const ROWS: u64 = 3000;
/// Changes in every generation after the first, which brings every row once.
pub const CHANGES: u64 = 1500;

/// What the log holds.
pub fn stream() -> Arc<StreamSpec> {
    static STREAM: LazyLock<Arc<StreamSpec>> = LazyLock::new(|| {
        Arc::new(StreamSpec::new("records").key(["id"]).int("version").version("version").text("note"))
    });
    Arc::clone(&STREAM)
}

/// How many changes there are up to a generation, the first being 0.
pub fn head(generation: u64) -> u64 {
    ROWS + generation * CHANGES
}

/// The row as the change at this position leaves it.
pub fn change(position: u64) -> Vec<Value> {
    let generation = position.checked_sub(ROWS).map_or(0, |later| 1 + later / CHANGES);
    let place = if generation == 0 { position } else { (position - ROWS) % CHANGES + generation * 677 };
    // An odd factor below is a permutation of the rows: keys come in an order of their own.
    let id = (place % ROWS) * 1009 % ROWS + 1;
    let version = position + 1;
    vec![id.cast_signed().into(), version.cast_signed().into(), format!("change {version}, {}", "x".repeat(100)).into()]
}
