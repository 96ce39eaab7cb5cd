//! Brings the tickets of a help desk into a file, three times: everything, nothing, and what has changed.

use std::sync::Arc;

use custom_adapter::{Desk, JsonLines, Tickets};
use sync_core::engine::{Engine, Pipeline};
use sync_core::memory::MemoryStore;
use sync_core::{Result, SystemClock};

#[tokio::main]
async fn main() -> Result<()> {
    let file = std::env::args().nth(1).unwrap_or_else(|| "tickets.jsonl".to_owned());
    let desk = Desk::default();
    for number in 1..=25 {
        desk.wait();
        desk.open(format!("The door of room {number} is stuck"));
    }

    // A host keeps its state in SQL, so that the next process goes on where this one stopped.
    let state = MemoryStore::new(Arc::new(SystemClock::new()));
    let tickets = Pipeline::new("tickets", Tickets::of(desk.clone()), JsonLines::open(&file)?);
    let engine = Engine::builder(state).pipeline(tickets).build()?;

    println!("First, everything:\n{}", engine.run("tickets").await?);
    println!(
        "Again, and nothing has moved; only the last minute was read once more:\n{}",
        engine.run("tickets").await?
    );

    desk.close(7);
    desk.open("The lift stops between floors");
    println!("One ticket closed, one new:\n{}", engine.run("tickets").await?);
    println!("Look into {file}: one row a line.");
    Ok(())
}
