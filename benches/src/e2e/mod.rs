//! Runs all programs over all cases, interleaved, and prints a table of medians.

mod api;
mod program;
mod table;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::Result;
use crate::place::{Kind, Place, Server};
use crate::records::Order;
use api::Api;
use program::{Program, Settings};
use table::Table;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Which databases to fill
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Kind::Sqlite])]
    on: Vec<Kind>,
    /// How many records, in turn
    #[arg(long, value_delimiter = ',', default_values_t = [100_000, 1_000_000])]
    records: Vec<u64>,
    /// How often each case is run
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// A small case, once: shows that all programs end with the same rows
    #[arg(long)]
    quick: bool,
    /// Which cases to run; those that are left out need no time
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Case::Ordered, Case::Random, Case::Killed, Case::Far])]
    cases: Vec<Case>,
    /// A Python that has dlt, to be compared as well
    #[arg(long)]
    dlt: Option<PathBuf>,
    /// The settings dlt runs with, each as a program of its own
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Settings::Default, Settings::Tuned])]
    dlt_settings: Vec<Settings>,
    /// The program of `benches/peers/faucet`, to be compared as well
    #[arg(long)]
    faucet: Option<PathBuf>,
}

/// What a round consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Case {
    /// A first load of keys in order, then no change, then one percent
    Ordered,
    /// A first load of random keys
    Random,
    /// A run after a kill halfway
    Killed,
    /// A first load from far away
    Far,
}

const FIRST_LOAD: &str = "1 first load, keys in order";
const UNCHANGED: &str = "3 no change";
const CHANGED: &str = "4 1 % changed";
const FAR_AWAY: &str = "6 100 ms away, 16 pages at once";

/// How long each answer takes from far away, milliseconds.
const LATENCY: u64 = 100;
/// How many pages are asked for at once there.
const AT_ONCE: usize = 16;

/// The table by hand that faucet-stream asks for.
const FAUCET_TABLE: &str = "create table records (id int8 primary key, name text, email text, city text, status text,
    note text, amount numeric(12,2), quantity int8, score int8, active bool, created_at timestamptz, updated_at timestamptz)";

pub(crate) fn run(options: &Options) -> Result<()> {
    let (sizes, rounds) = if options.quick { (vec![5000], 1) } else { (options.records.clone(), options.rounds) };
    let mut table = Table::default();
    for &on in &options.on {
        let server = Server::start(on)?;
        for &records in &sizes {
            for round in 0..rounds {
                let mut round_of = Round { options, on, server: &server, records, round, table: &mut table };
                for case in &options.cases {
                    match case {
                        Case::Ordered => round_of.loads(Order::Key)?,
                        Case::Random => round_of.loads(Order::Random)?,
                        Case::Killed => round_of.killed()?,
                        Case::Far => round_of.far_away()?,
                    }
                }
                eprintln!("{}, {records} records, round {} of {rounds}", on.name(), round + 1);
            }
        }
    }
    table.print();
    Ok(())
}

/// Every program once, over the same records.
struct Round<'r> {
    options: &'r Options,
    on: Kind,
    server: &'r Server,
    records: u64,
    round: u32,
    table: &'r mut Table,
}

impl Round<'_> {
    /// First loads, then runs over nothing and over a few changes.
    fn loads(&mut self, order: Order) -> Result<()> {
        let (folder, api) = (tempfile::tempdir()?, Api::start(self.records, order, 0)?);
        let first = if order == Order::Key { FIRST_LOAD } else { "2 first load, random keys" };
        let mut programs = vec![Program::Bare { records: self.records }, Program::Limit, Program::Ours];
        // Peers do not care for the order of keys, and take long.
        if order == Order::Key {
            programs.extend(self.peers());
        }
        self.turn(&mut programs);
        let mut places = Vec::new();
        for program in programs {
            let place = self.server.place(folder.path(), program.name())?;
            if matches!(program, Program::Faucet(_)) {
                place.prepare(FAUCET_TABLE)?;
            }
            if self.measure(first, &program, &api, &place, order, folder.path())? {
                places.push((program, place));
            }
        }
        same_rows(&places)?;
        if order == Order::Random {
            return Ok(());
        }
        places.retain(|(program, _)| program.follows());
        for case in [UNCHANGED, CHANGED] {
            if case == CHANGED {
                api.change(1)?;
            }
            let mut kept = Vec::new();
            for (program, place) in places {
                if self.measure(case, &program, &api, &place, order, folder.path())? {
                    kept.push((program, place));
                }
            }
            places = kept;
        }
        same_rows(&places)
    }

    /// A first load that is killed halfway, and the run that goes on.
    fn killed(&mut self) -> Result<()> {
        let mut programs = vec![Program::Limit, Program::Ours];
        programs.extend(self.peers().into_iter().filter(Program::follows));
        self.turn(&mut programs);
        for program in programs {
            let (folder, api) = (tempfile::tempdir()?, Api::start(self.records, Order::Key, 0)?);
            let place = self.server.place(folder.path(), program.name())?;
            let mut victim = program.start(&api.url, &place.to, Order::Key, folder.path())?;
            while api.answered()? < self.records / crate::serve::PAGE / 2 && victim.try_wait()?.is_none() {
                std::thread::sleep(Duration::from_millis(1));
            }
            victim.kill()?;
            victim.wait()?;
            self.measure("5 after a kill halfway", &program, &api, &place, Order::Key, folder.path())?;
        }
        Ok(())
    }

    /// Each answer takes its time; numbered pages, several at once.
    fn far_away(&mut self) -> Result<()> {
        let (folder, api) = (tempfile::tempdir()?, Api::start(self.records, Order::Key, LATENCY)?);
        let (place, program) = (self.server.place(folder.path(), "ours")?, Program::OursAhead(AT_ONCE));
        self.measure(FAR_AWAY, &program, &api, &place, Order::Key, folder.path()).map(drop)
    }

    /// Every other round the last one comes first: what one program leaves to be written to the disk slows the next one down.
    fn turn(&self, programs: &mut [Program]) {
        if self.round % 2 == 1 {
            programs.reverse();
        }
    }

    /// Whether the program came to its end. That a peer does not is a result as well; one of ours has to.
    fn measure(
        &mut self,
        case: &'static str,
        program: &Program,
        api: &Api,
        place: &Place<'_>,
        order: Order,
        folder: &Path,
    ) -> Result<bool> {
        let (answered, used) = (api.answered()?, self.server.cpu_seconds());
        let rounds = self.table.rounds(self.on, self.records, case, program);
        let mut figures = match program.run(&api.url, &place.to, order, folder) {
            Err(failed) if program.is_peer() => {
                eprintln!("{}, {}: {failed}", self.on.name(), &case[2..]);
                rounds.insert(self.round, None);
                return Ok(false);
            }
            ran => ran?,
        };
        figures.records = if case == CHANGED { self.records / 100 } else { self.records };
        figures.requests = api.answered()? - answered;
        figures.server_cpu_seconds = self.server.cpu_seconds() - used;
        rounds.insert(self.round, Some(figures));
        Ok(true)
    }

    fn peers(&self) -> Vec<Program> {
        let settings = &self.options.dlt_settings;
        let dlt = self
            .options
            .dlt
            .iter()
            .flat_map(|python| settings.iter().map(|&settings| Program::Dlt { python: python.clone(), settings }));
        let faucet = self.options.faucet.iter().cloned().map(Program::Faucet);
        dlt.chain(faucet).filter(|program| program.fills(self.on)).collect()
    }
}

/// All programs must have brought the same rows, or the race means nothing.
fn same_rows(places: &[(Program, Place<'_>)]) -> Result<()> {
    let mut sums = Vec::new();
    for (program, place) in places {
        sums.push((program.name(), place.sums()?));
    }
    if sums.windows(2).all(|pair| pair[0].1 == pair[1].1) {
        Ok(())
    } else {
        Err(format!("the programs ended with different rows: {sums:?}").into())
    }
}
