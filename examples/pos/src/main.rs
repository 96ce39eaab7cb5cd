//! A point of sale: tills that sell offline, a master that keeps their stock right, and a conflict that a person decides.
//!
//! Read on in this order: `till` is what a till's program does, `server` what the master's does, and `shop` the tables they share.
//! The rest tells the story.

mod args;
mod login;
mod server;
mod shop;
mod story;
mod till;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser as _;

use args::Args;
use server::Server;

/// What every step of this program may end in.
type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Args::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        // The table has said what is wrong.
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all is equal and right in the end.
async fn run(args: &Args) -> Result<bool> {
    let folder = args.folder()?;
    let server = Server::start(folder.path(), args.port, args.ws_port).await?;
    let is_right = if folder.is_told() { true } else { story::tell(&server, folder.path(), args).await? };
    if args.serve {
        println!("\nServing until Ctrl-C. For the stock, as branch 1 sees it, with a token that is good for an hour:");
        println!(
            "  curl -H 'Authorization: Bearer {}' '{}/api/sync/pull-changes?peer=curl'",
            server.token("1")?,
            server.http()
        );
        tokio::signal::ctrl_c().await?;
    }
    server.stop().await;
    Ok(is_right)
}
