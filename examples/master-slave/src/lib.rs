//! What the programs `master` and `slave` share: the tables, and how they are shown.
//!
//! Read on in this order: `bin/slave.rs`, then `slave` (what its `run` does), then `bin/master.rs`.

use std::process::ExitCode;

pub mod slave;
pub mod stock;
pub mod tables;
pub mod token;

/// What every step of these programs may end in.
pub type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// Makes the folder in which a program keeps what it has.
///
/// # Errors
/// When it cannot be made, naming it.
pub fn folder(path: &std::path::Path) -> Result<()> {
    let failed = |error| format!("{} cannot be the folder: {error}; name another with --folder", path.display());
    Ok(std::fs::create_dir_all(path).map_err(failed)?)
}

/// Says what went wrong and what to do, and whether anything did.
pub fn ended(done: Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            if let Some(error) = error.downcast_ref::<sync_core::Error>() {
                eprintln!("  what to do: {}", error.remedy());
            }
            ExitCode::FAILURE
        }
    }
}
