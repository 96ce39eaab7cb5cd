//! A slave: works on its own database, and is brought in step with the master when it is run, as by cron.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use master_slave::slave::{Became, Run, Slave};
use master_slave::{Result, stock};
use secrecy::SecretString;

/// A slave: works on its own database, also while the master cannot be reached.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Where its database and its sync_status.json are
    #[arg(long, env = "SLAVE_FOLDER", default_value = "slave", global = true)]
    folder: PathBuf,

    /// Its name; no two slaves share one
    #[arg(long, env = "SLAVE_NAME", default_value = "slave", global = true)]
    name: String,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send what was written here, and take over what was written elsewhere
    Run {
        /// Only say what would be sent: nobody is asked, nothing changes
        #[arg(long)]
        dry_run: bool,

        /// Although it is not due, or switched off
        #[arg(long)]
        force: bool,

        /// Where the master is
        #[arg(long, env = "MASTER_URL", default_value = "http://localhost:8000")]
        master_url: String,

        /// What the master is asked with: what `master token NAME` prints
        #[arg(long, env = "SYNC_TOKEN", hide_env_values = true, default_value = "", hide_default_value = true)]
        token: String,

        /// Whether a run does anything
        #[arg(long, env = "SYNC_ENABLED", default_value_t = true, action = clap::ArgAction::Set, value_parser = switch)]
        enabled: bool,

        /// How many minutes after a success the next run is due
        #[arg(long, env = "SYNC_INTERVAL", value_name = "MINUTES", default_value_t = 5, value_parser = minutes)]
        interval: u32,
    },
    /// Say what sync_status.json says
    Status,
    /// Begin again: the next run loads everything; what is not sent yet stays
    Reset,
    /// Give up the change that the master refuses: its rows become what the master has
    Discard,
    /// Sell something
    Sell {
        item: String,
        /// How many pieces: at least one. What comes back is an `adjust`
        #[arg(allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(1..))]
        quantity: i64,
    },
    /// Correct the stock
    Adjust {
        item: String,
        #[arg(allow_negative_numbers = true)]
        by: i64,
        reason: String,
    },
    /// Show the stock
    Show,
}

/// Reads whether something is on, as people write it into the environment.
fn switch(text: &str) -> std::result::Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("set SYNC_ENABLED (or --enabled) to true or false".to_owned()),
    }
}

/// Reads how many minutes, and says where they are set if they are none.
fn minutes(text: &str) -> std::result::Result<u32, String> {
    text.trim().parse().map_err(|_| "set SYNC_INTERVAL (or --interval) to a number of minutes".to_owned())
}

#[tokio::main]
async fn main() -> ExitCode {
    master_slave::ended(run(Args::parse()).await)
}

async fn run(args: Args) -> Result<()> {
    let slave = Slave::open(&args.folder, &args.name).await?;
    let done = obey(&slave, args.command).await;
    slave.database.close().await;
    done
}

async fn obey(slave: &Slave, command: Command) -> Result<()> {
    match command {
        Command::Run { enabled: false, force: false, .. } => println!("sync is switched off (SYNC_ENABLED=false)"),
        Command::Run { dry_run: true, .. } => return dry_run(slave).await,
        Command::Run { force, master_url, token, interval, .. } => {
            let token = SecretString::from(token);
            let interval = Duration::from_secs(u64::from(interval) * 60);
            say_what_is_lost(slave).await?;
            match slave.run(&Run { master: master_url, token, interval, force }).await? {
                Became::InStep(synced) => {
                    println!("sync: sent {}, received {}", synced.sent, synced.received);
                    if synced.met > 0 {
                        println!("  {} of what was sent met a row that others had changed meanwhile", synced.met);
                    }
                    if synced.waiting > 0 {
                        println!("  waiting at the master until a person decides (`master inbox`): {}", synced.waiting);
                    }
                }
                Became::NotDue(left) => {
                    println!("sync: not due for {} seconds (--force runs it now)", left.num_seconds().max(1))
                }
                _ => println!("sync: another run is under way"),
            }
        }
        Command::Status => match slave.status()? {
            Some(status) => {
                let queue = slave.queue().await?;
                println!("as of the last run:\n{status}\nnow pending    {}", queue.depth + queue.waiting);
                if queue.waiting > 0 {
                    println!("  of these at the master until a person decides (`master inbox`): {}", queue.waiting);
                }
                say_what_is_lost(slave).await?;
            }
            None => println!("status         never run"),
        },
        Command::Reset => {
            slave.reset().await?;
            println!("the next run loads everything; what is not sent yet stays");
        }
        Command::Discard => match slave.discard().await? {
            Some(why) => println!("given up, since the master refuses it: {why}"),
            None => println!("the master refuses nothing"),
        },
        Command::Sell { item, quantity } => {
            let left = stock::sell(&slave.database, slave.name(), &item, quantity).await?;
            println!("{item}: {quantity} sold, {left} left");
        }
        Command::Adjust { item, by, reason } => {
            let left = stock::adjust(&slave.database, &item, by, &reason).await?;
            println!("{item}: {by:+} ({reason}), {left} left");
        }
        Command::Show => print!("{}", stock::show(&slave.database).await?),
    }
    Ok(())
}

/// Says it where the status file is of another database than the one that is there.
async fn say_what_is_lost(slave: &Slave) -> Result<()> {
    let Some(status) = slave.lost().await? else { return Ok(()) };
    let synced = status.last_synced_at.map(|at| at.to_rfc3339()).unwrap_or_default();
    println!(
        "slave.db is new, although one was in step at {synced}: that one was lost, or is elsewhere. The new one loads everything, and \
         nothing is doubled at the master. Of what the old one had not sent nothing is known here: {} as of its last run, \
         and whatever was written after it.",
        status.pending_records
    );
    Ok(())
}

async fn dry_run(slave: &Slave) -> Result<()> {
    say_what_is_lost(slave).await?;
    let would = slave.would_do().await?;
    let mut tables: BTreeMap<&str, usize> = BTreeMap::new();
    for edit in &would.edits {
        *tables.entry(&edit.table).or_default() += 1;
    }
    println!("a run would send {}{}", would.edits.len(), if would.loads { ", and load everything" } else { "" });
    for (table, edits) in tables {
        println!("  {table}: {edits}");
    }
    Ok(())
}
