//! One command brings an HTTP API into SQLite; the same command again shows that nothing new came.
//!
//! Read on in this order: `run` is what a host writes. The rest is the other side: `sample` and `folder` hold what the
//! source serves, `mutate` changes some of it, and `api` serves it.

mod alone;
mod alter;
mod api;
mod args;
mod error;
mod folder;
mod kinds;
mod mutate;
mod place;
mod random;
mod run;
mod sample;
mod sidecar;
mod table;

use std::process::ExitCode;

use chrono::Utc;
use clap::Parser;
use sync_core::Report;
use sync_core::model::Outcome;
use sync_core::state::RunStatus;

use alone::Alone;
use api::Api;
use args::Args;
use error::Result;
use sidecar::Sidecar;
use table::DataSet;

/// So many changed rows are shown one by one.
const SHOWN: usize = 10;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    match Box::pin(run(&args)).await {
        Ok(RunStatus::Completed) => ExitCode::SUCCESS,
        // Its report has said why.
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            if args.json {
                println!("{}", run::error_to_json(&error));
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<RunStatus> {
    place::check(&args.db)?;
    let _alone = Alone::with(&args.db)?;
    let data = source(args)?;
    let api = Api::serve(&data).await?;
    println!("{} → {}", data.name, args.db.display());
    let mut changed = Vec::new();
    if args.data.is_some() {
        show_tables(&data);
        changed = kinds::changed(&args.db, &data).await;
    }
    let report = Box::pin(run::run(args, &data, &api)).await?;
    if report.status == RunStatus::Completed {
        println!("\n{report}");
    } else {
        eprintln!("\n{report}");
    }
    changed.iter().for_each(|line| println!("{line}"));
    if report.status == RunStatus::Completed && moved(&report) == 0 {
        println!("nothing new came; rows deleted at the source are not looked for here (`RunOptions::reconcile` does)");
    }
    if args.json {
        println!("{}", run::to_json(&report, &changed));
    }
    Ok(report.status)
}

/// How many rows were written or removed, or would have been.
fn moved(report: &Report) -> u64 {
    let ledger = report.ledger();
    [Outcome::Created, Outcome::Updated, Outcome::Deleted, Outcome::Rejected]
        .into_iter()
        .map(|outcome| ledger.count(outcome))
        .sum()
}

/// The data the source serves, with all that was ever changed there for this database, and what is to change now.
fn source(args: &Args) -> Result<DataSet> {
    let mut data = match &args.data {
        Some(folder) => folder::load(folder)?,
        None => sample::data(),
    };
    let mut sidecar = Sidecar::beside(&args.db)?;
    let changes = sidecar.changes(&data.name);
    changes.apply(&mut data);
    if args.mutate > 0 {
        let done = mutate::mutate(&mut data, changes, args.mutate, Utc::now())?;
        sidecar.save()?;
        show(&done);
    }
    Ok(data)
}

fn show(done: &[mutate::Change]) {
    println!("changed {} at the source:", table::rows(done.len()));
    for change in done.iter().take(SHOWN) {
        println!("  {change}");
    }
    if done.len() > SHOWN {
        println!("  … and {} more", done.len() - SHOWN);
    }
}

/// What was guessed of the files, for whoever knows better.
fn show_tables(data: &DataSet) {
    for table in &data.tables {
        let key: Vec<&str> = table.key_columns().collect();
        println!("  {}: {}, key ({})", table.name, table::rows(table.rows.len()), key.join(", "));
    }
}
