//! Ten tills and a master that live through everything: killed processes, cut lines, lost answers.
//!
//! Each till is a process with a SQLite database, in which it sells at random, in plain SQL; the master is a process over a
//! database server. Meanwhile processes are killed with SIGKILL (`process`), and lines are cut, slowed, refused and robbed of
//! answers (`proxy`). Then all is well, and everything must be accounted for (`checks`): by ledgers that tills keep outside of
//! the library, and by databases that are read with plain drivers (`contents`).
//!
//! `SELLING_SECONDS` is how long they live, 40 without it; `SELLING_SEED` repeats what is done to them, as far as processes
//! can be made to repeat; `SELLING_FLAW` plants a flaw in the master, `no-idempotency` or `no-base-check`, that must be found.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod checks;
mod contents;
mod desk;
mod process;
mod proxy;
mod world;

use std::time::Duration;

use sync_test_servers::Database;

use self::world::World;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a whole number"))
}

async fn lose_and_double_nothing(database: &Database) {
    let seconds = Duration::from_secs(number("SELLING_SECONDS").unwrap_or(40));
    let seed = number("SELLING_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("SELLING_SEED={seed} SELLING_SECONDS={}", seconds.as_secs());
    let mut world = World::begin(&database.url(), 10, seed).await;
    world.live(seconds).await;
    let healed = world.heal().await;
    let traffic = world.rest().await;
    let wrongs = world.end(healed, traffic).await;
    let some = wrongs[..wrongs.len().min(20)].join("\n");
    assert!(wrongs.is_empty(), "SELLING_SEED={seed}: {} wrongs:\n{some}", wrongs.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_tills_that_live_through_everything_lose_and_double_nothing_on_postgresql() {
    lose_and_double_nothing(&sync_test_servers::postgres().await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_tills_that_live_through_everything_lose_and_double_nothing_on_mariadb() {
    lose_and_double_nothing(&sync_test_servers::mariadb().await.unwrap()).await;
}
