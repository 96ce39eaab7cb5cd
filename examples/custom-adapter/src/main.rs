//! Brings the tickets of a help desk into a file, three times: everything, nothing, and what has changed. It ends with the
//! error of the first run that fails.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use custom_adapter::{Desk, JsonLines, Tickets};
use sync_core::engine::{Engine, Pipeline};
use sync_core::memory::MemoryStore;
use sync_core::{Error, Result, SystemClock};

#[tokio::main]
async fn main() -> Result<()> {
    let file = std::env::args().nth(1).unwrap_or_else(|| "tickets.jsonl".to_owned());
    let desk = Desk::default();
    for number in 1..=25 {
        desk.wait();
        desk.open(format!("The door of room {number} is stuck"));
    }

    // The desk is new each time, and so is its file. A file that holds anything but rows is refused, not removed.
    JsonLines::open(&file)?;
    if Path::new(&file).exists() {
        fs::remove_file(&file)
            .map_err(|cause| Error::file("cannot remove the last file", cause).with("file", &file))?;
    }

    // A host keeps its state in SQL, so that the next process goes on where this one stopped.
    let state = MemoryStore::new(Arc::new(SystemClock::new()));
    let tickets = Pipeline::new("tickets", Tickets::of(desk.clone()), JsonLines::open(&file)?);
    let engine = Engine::builder(state).pipeline(tickets).build()?;

    run(&engine, "First, everything").await?;
    run(&engine, "Again, and nothing has moved; only the last minute was read once more").await?;
    desk.close(7);
    desk.open("The lift stops between floors");
    run(&engine, "One ticket closed, one new").await?;
    println!("Look into {file}: one row a line.");
    Ok(())
}

/// A run whose rows failed has a report all the same: ask it whether it completed.
async fn run(engine: &Engine, headline: &str) -> Result<()> {
    let report = engine.run("tickets").await?;
    println!("{headline}:\n{report}\n");
    report.completed()
}
