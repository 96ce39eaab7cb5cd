//! One command brings an HTTP API into SQLite; the same command again shows that nothing moved.
//!
//! Read on in this order: `sample` and `folder` hold what the source serves, `mutate` changes some of it, `api` serves
//! it, and `report` says what became of it.

mod alter;
mod api;
mod args;
mod error;
mod folder;
mod mutate;
mod random;
#[cfg_attr(not(test), expect(dead_code, reason = "the engine's run brings the counts"))]
mod report;
mod sample;
mod sidecar;
mod table;

use std::process::ExitCode;

use chrono::Utc;
use clap::Parser;

use api::Api;
use args::Args;
use error::{Error, Result};
use sidecar::Sidecar;
use table::DataSet;

/// So many changed rows are shown one by one.
const SHOWN: usize = 10;

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<()> {
    let data = source(args)?;
    let api = Api::serve(&data).await?;
    for table in &data.tables {
        let key: Vec<&str> = table.key_columns().collect();
        println!("{}/{}  {} rows by {}", api.url(), table.name, table.rows.len(), key.join(", "));
    }
    println!("serving until Ctrl-C");
    tokio::signal::ctrl_c().await.map_err(|error| Error::caused("cannot wait for Ctrl-C", error))?;
    println!("{} requests", api.requests());
    Ok(())
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
    println!(
        "changed {} at the source:",
        if done.len() == 1 { "1 row".to_owned() } else { format!("{} rows", done.len()) }
    );
    for change in done.iter().take(SHOWN) {
        println!("  {change}");
    }
    if done.len() > SHOWN {
        println!("  … and {} more", done.len() - SHOWN);
    }
}
