//! Runs all programs over all cases, interleaved, and prints a table of medians.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use clap::Args;
use rusqlite::Connection;

use crate::Result;
use crate::figures::Figures;
use crate::records::Order;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many records, in turn
    #[arg(long, value_delimiter = ',', default_values_t = [100_000, 1_000_000])]
    records: Vec<u64>,
    /// How often each case is run
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// A small case, once: shows that all programs end with the same rows
    #[arg(long)]
    quick: bool,
}

/// A server of its own process; it is killed when this is dropped.
struct Server {
    process: Child,
    url: String,
}

impl Server {
    fn start(records: u64, order: Order) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["serve", "--records", &records.to_string(), "--order", order.name()])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut url = String::new();
        BufReader::new(process.stdout.take().ok_or("no output")?).read_line(&mut url)?;
        Ok(Self { process, url: url.trim().to_owned() })
    }

    fn change(&self, percent: u64) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let post = reqwest::Client::new().post(format!("{}/mutate?percent={percent}", self.url)).send();
        runtime.block_on(post)?.error_for_status()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It serves until killed; if it has ended already, so much the better.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Measurements by records, case and program.
type Table = BTreeMap<(u64, &'static str, &'static str), Vec<Figures>>;

pub(crate) fn run(options: &Options) -> Result<()> {
    let (sizes, rounds) = if options.quick { (vec![5000], 1) } else { (options.records.clone(), options.rounds) };
    let mut table = Table::new();
    for &records in &sizes {
        for round in 0..rounds {
            for order in [Order::Key, Order::Random] {
                one_round(&mut table, records, order)?;
            }
            eprintln!("{records} records, round {} of {rounds}", round + 1);
        }
    }
    print(&table);
    Ok(())
}

fn one_round(table: &mut Table, records: u64, order: Order) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (count, by_key) = (records.to_string(), order == Order::Key);
    let first = if by_key { "first load, keys in order" } else { "first load, random keys" };
    let bare = folder.path().join("bare.db");
    let bare =
        ["bare", "--records", &count, "--order", order.name(), "--db", &bare.display().to_string()].map(str::to_owned);
    table.entry((records, first, "bare driver")).or_default().push(child(&bare)?);
    let server = Server::start(records, order)?;
    let databases = [folder.path().join("limit.db"), folder.path().join("ours.db")];
    let mut both = |case: &'static str| -> Result<()> {
        for (program, db) in ["limit", "ours"].into_iter().zip(&databases) {
            let mut arguments =
                vec![program.to_owned(), "--url".into(), server.url.clone(), "--db".into(), db.display().to_string()];
            if program == "limit" {
                arguments.extend(["--order".into(), order.name().into()]);
            }
            table.entry((records, case, program)).or_default().push(child(&arguments)?);
        }
        Ok(())
    };
    both(first)?;
    if by_key {
        both("no change")?;
        server.change(1)?;
        both("1 % changed")?;
    }
    same_rows(&databases[0], &databases[1])
}

/// Runs a program and reads what it says of itself.
fn child(arguments: &[String]) -> Result<Figures> {
    let output = Command::new(std::env::current_exe()?).args(arguments).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{} failed: {}", arguments.join(" "), output.status).into());
    }
    let text = String::from_utf8(output.stdout)?;
    Ok(serde_json::from_str(text.lines().last().unwrap_or_default())?)
}

/// Both programs must have brought the same rows, or the race means nothing.
fn same_rows(limit: &Path, ours: &Path) -> Result<()> {
    let sum = |path: &Path| -> Result<(i64, i64, i64)> {
        let connection = Connection::open(path)?;
        let sql = "SELECT count(*), sum(id % 1000003), sum(length(name) + length(note) + quantity + score + active +
                   substr(updated_at, 1, 4) + substr(updated_at, 18, 2) + CAST(amount AS INTEGER)) FROM records";
        Ok(connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?)
    };
    let (limit, ours) = (sum(limit)?, sum(ours)?);
    if limit == ours {
        Ok(())
    } else {
        Err(format!("the programs ended with different rows: {limit:?} and {ours:?}").into())
    }
}

fn print(table: &Table) {
    println!("| records | case | program | records/s | wall s | CPU s | peak MiB | requests | ratio to the limit |");
    println!("|---:|---|---|---:|---:|---:|---:|---:|---:|");
    for ((records, case, program), runs) in table {
        let of = |value: fn(&Figures) -> f64| median(runs.iter().map(value).collect());
        let seconds = of(|run| run.seconds);
        let handled = of(|run| run.records as f64);
        let limit =
            table.get(&(*records, *case, "limit")).map(|runs| median(runs.iter().map(|run| run.seconds).collect()));
        let ratio = limit.map_or_else(String::new, |limit| format!("{:.2}", limit / seconds));
        println!(
            "| {records} | {case} | {program} | {:.0} | {seconds:.3} | {:.2} | {:.0} | {:.0} | {ratio} |",
            handled / seconds,
            of(|run| run.cpu_seconds),
            of(|run| run.peak_mib),
            of(|run| run.requests as f64),
        );
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
