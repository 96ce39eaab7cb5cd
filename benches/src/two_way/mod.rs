//! Two-way sync, measured at the master: edits that are pushed and rows that are pulled, beside the bare database.

mod bare;
mod master;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use tokio::runtime::Runtime;

use crate::Result;
use crate::place::{Kind, Server};
use bare::Bare;
use master::Master;

/// Edits in one push, each a group of its own; rows in one transaction of the bare driver.
const BATCH: u64 = 50;

/// Rows on a page: what the routes give when nobody asks for fewer.
const PAGE: usize = 1000;

/// Branches that push at once, in the case of many.
const MANY: u64 = 8;

#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// Databases of the master
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Kind::Sqlite, Kind::Postgres])]
    on: Vec<Kind>,
    /// Rows that are pushed and pulled
    #[arg(long, default_value_t = 20_000)]
    rows: u64,
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

/// Rows a second, by database, case and program.
type Figures = BTreeMap<(Kind, &'static str, &'static str), Vec<f64>>;

/// Runs all cases, one after the other in each round, and prints a table of medians.
pub(crate) fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut figures = Figures::new();
    for &on in &options.on {
        let server = Server::start(on)?;
        for round in 1..=options.rounds {
            one_round(&runtime, &server, on, options.rows, &mut figures)?;
            eprintln!("{}, {} rows, round {round} of {}", on.name(), options.rows, options.rounds);
        }
    }
    print(&figures);
    Ok(())
}

fn one_round(runtime: &Runtime, server: &Server, on: Kind, rows: u64, figures: &mut Figures) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut note = |case, program, seconds: f64| {
        figures.entry((on, case, program)).or_default().push(rows as f64 / seconds);
    };
    for (case, branches) in [("1 push, one branch", 1), ("2 push, eight branches", MANY)] {
        let place = server.place(folder.path(), &format!("bare-{branches}"))?;
        let bare = runtime.block_on(Bare::open(&place.to, branches))?;
        note(case, "bare driver", timed(|| runtime.block_on(bare.write(rows)))?);
        let place = server.place(folder.path(), &format!("master-{branches}"))?;
        let master = Arc::new(runtime.block_on(Master::start(&place.to))?);
        note(case, "master", timed(|| runtime.block_on(master.push(rows, branches)))?);
        if branches == 1 {
            note("3 pull, everything", "bare driver", timed(|| runtime.block_on(bare.read(rows)))?);
            note("3 pull, everything", "master", timed(|| runtime.block_on(master.pull(rows)))?);
            let place = server.place(folder.path(), "bare-load")?;
            let copy = runtime.block_on(Bare::open(&place.to, 1))?;
            let both = async {
                bare.read(rows).await?;
                copy.write(rows).await
            };
            note("4 load, a new branch", "bare driver", timed(|| runtime.block_on(both))?);
            let place = server.place(folder.path(), "branch")?;
            let branch = runtime.block_on(master.branch(&place.to))?;
            note("4 load, a new branch", "master", timed(|| runtime.block_on(Master::load(&branch, rows)))?);
            note("5 load, a branch that has all", "bare driver", timed(|| runtime.block_on(bare.read(rows)))?);
            runtime.block_on(branch.start_over())?;
            note("5 load, a branch that has all", "master", timed(|| runtime.block_on(Master::load(&branch, rows)))?);
        }
        runtime.block_on(master.stop());
    }
    Ok(())
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed().as_secs_f64())
}

fn print(figures: &Figures) {
    println!("| database | case | program | rows/s | to the bare driver |");
    println!("|---|---|---|---:|---:|");
    for ((on, case, program), runs) in figures {
        let speed = median(runs);
        let bare = figures.get(&(*on, *case, "bare driver")).map_or(f64::NAN, |runs| median(runs));
        println!("| {} | {} | {program} | {speed:.0} | {:.2} |", on.name(), &case[2..], speed / bare);
    }
}

fn median(runs: &[f64]) -> f64 {
    let mut runs = runs.to_vec();
    runs.sort_by(f64::total_cmp);
    runs.get(runs.len() / 2).copied().unwrap_or(f64::NAN)
}
