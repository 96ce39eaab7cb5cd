//! REST to SQL, measured end to end: the engine beside programs written by hand for this one job, and beside others. And two-way
//! sync, measured at its master.
//!
//! `cargo run --release -p sync-benches -- e2e` and `-- two-way` run everything; the other subcommands are the processes it starts.

mod drivers;
mod e2e;
mod figures;
mod limit;
mod ours;
mod page;
mod place;
mod records;
mod serve;
mod target;
mod two_way;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use records::Order;

/// What may go wrong: a benchmark tells it and stops.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Debug, Parser)]
#[command(about = "Speed, beside what the machine can do")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run all programs over all cases and print a table
    E2e(e2e::Options),
    /// Push edits to a master and pull rows from it, and print a table
    TwoWay(two_way::Options),
    /// Serve generated records, until killed
    Serve {
        #[arg(long, default_value_t = 100_000)]
        records: u64,
        #[arg(long, value_enum, default_value_t = Order::Key)]
        order: Order,
        /// How much longer each answer takes than it must, milliseconds
        #[arg(long, default_value_t = 0)]
        latency: u64,
    },
    /// The program written by hand
    Limit {
        #[arg(long)]
        url: String,
        /// A path or an address
        #[arg(long)]
        to: String,
        #[arg(long, value_enum, default_value_t = Order::Key)]
        order: Order,
    },
    /// The bare driver: generated rows into a database, without an API
    Bare {
        #[arg(long, default_value_t = 100_000)]
        records: u64,
        /// A path or an address
        #[arg(long)]
        to: String,
        #[arg(long, value_enum, default_value_t = Order::Key)]
        order: Order,
    },
    /// rusqlite on its own thread beside sqlx, on the writes a sink makes
    Drivers {
        #[arg(long, default_value_t = 100_000)]
        records: u64,
    },
    /// The engine
    Ours {
        #[arg(long)]
        url: String,
        /// A path or an address
        #[arg(long)]
        to: String,
        /// Numbered pages, so many at once, instead of a cursor
        #[arg(long)]
        at_once: Option<usize>,
    },
}

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::E2e(options) => e2e::run(&options),
        Command::TwoWay(options) => two_way::run(&options),
        Command::Serve { records, order, latency } => serve::run(records, order, latency),
        Command::Limit { url, to, order } => limit::run(&url, &to, order),
        Command::Bare { records, to, order } => limit::bare(records, &to, order),
        Command::Drivers { records } => drivers::run(records),
        Command::Ours { url, to, at_once } => ours::run(&url, &to, at_once),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
