//! The master: a database, and the routes that slaves are brought in step by.

use std::io::IsTerminal as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand, ValueEnum};
use master_slave::tables::tables;
use master_slave::token::Secret;
use master_slave::{Result, folder, stock};
use sync_core::two_way::{Access, Decision, Hub, Waiting};
use sync_core::{Clock, SystemClock, Value};
use sync_master::Routes;
use sync_sql::SqliteReplica;
use tokio::net::TcpListener;
use tracing_subscriber::filter::LevelFilter;

/// The master: has the rows of all slaves, and brings them in step.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Where its database and its secret are
    #[arg(long, env = "MASTER_FOLDER", default_value = "master", global = true)]
    folder: PathBuf,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve slaves, on this machine alone, until Ctrl-C
    Serve {
        /// 0 is any free port
        #[arg(long, env = "PORT", default_value_t = 8000)]
        port: u16,
    },
    /// Print a token for a slave, good for thirty days
    Token { slave: String },
    /// Receive goods
    Receive {
        item: String,
        /// How many pieces: at least one
        #[arg(allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(1..))]
        quantity: i64,
    },
    /// Show the stock
    Show,
    /// Show what waits for a person: what a slave sent, and why the master does not take it
    Inbox,
    /// Decide what waits, for all slaves
    Decide {
        /// Of the inbox
        id: String,
        #[arg(value_enum)]
        decision: Decided,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Decided {
    /// The slave's change counts, onto the rows as they are now
    Take,
    /// The rows stay as they are at the master
    Keep,
}

#[tokio::main]
async fn main() -> ExitCode {
    master_slave::ended(run(Args::parse()).await)
}

async fn run(args: Args) -> Result<()> {
    folder(&args.folder)?;
    let secret = Secret::in_file(&args.folder.join("master.secret"))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let database = SqliteReplica::open(args.folder.join("master.db"), "master", tables()?, Arc::clone(&clock)).await?;
    let done = match args.command {
        Command::Serve { port } => serve(Hub::new(database.clone(), clock), &secret, port).await,
        Command::Token { slave } => {
            println!("{}", secret.token(&slave)?);
            Ok(())
        }
        Command::Receive { item, quantity } => match stock::receive(&database, &item, quantity).await {
            Ok(there) => {
                println!("{item}: {quantity} received, {there} there");
                Ok(())
            }
            Err(error) => Err(error),
        },
        Command::Show => {
            print!("{}", stock::show(&database).await?);
            Ok(())
        }
        Command::Inbox => inbox(&Hub::new(database.clone(), clock)).await,
        Command::Decide { id, decision } => {
            let decision = match decision {
                Decided::Take => Decision::TakeIncoming,
                Decided::Keep => Decision::KeepExisting,
            };
            let decided = Hub::new(database.clone(), clock).decide(&id, decision, &Access::everything()).await;
            decided.map(|()| println!("decided: the slaves hear of it with their next run")).map_err(Into::into)
        }
    };
    database.close().await;
    done
}

/// What waits for a person, the oldest first, each with its changes.
async fn inbox(hub: &Hub) -> Result<()> {
    let waiting = hub.inbox(&Access::everything()).await?;
    if waiting.is_empty() {
        println!("nothing waits");
    }
    for Waiting { id, peer, reason, group, .. } in waiting {
        // The master knows a slave by the client and the branch of its token as well.
        let slave = peer.name.rsplit('/').next().unwrap_or(&peer.name);
        println!("{id}  of {slave}: {reason}");
        for edit in &group.edits {
            println!("  {} {}: {} → {}", edit.table, edit.key, row(&edit.before), row(&edit.after));
        }
    }
    Ok(())
}

fn row(values: &Option<Vec<Value>>) -> String {
    match values {
        Some(values) => format!("({})", values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
        None => "nothing".to_owned(),
    }
}

/// The routes of slaves that know one timestamp are there as well: `upload`, `download`, `acknowledge`.
async fn serve(hub: Hub, secret: &Secret, port: u16) -> Result<()> {
    let router = Routes::new(hub, secret.keys()?, secret.cursors()?).with_legacy().router()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(|error| format!("port {port} is not to be had ({error}): name another, or 0 for any free one"))?;
    // The id in a refusal is found here.
    let log = tracing_subscriber::fmt().with_max_level(LevelFilter::INFO).with_writer(std::io::stderr);
    log.with_ansi(std::io::stderr().is_terminal()).init();
    println!("Master is running on http://localhost:{}", listener.local_addr()?.port());
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    Ok(axum::serve(listener, service).with_graceful_shutdown(stop).await?)
}
