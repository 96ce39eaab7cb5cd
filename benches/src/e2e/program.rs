//! The programs that are compared, and how each is started.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use clap::ValueEnum;

use crate::Result;
use crate::figures::Figures;
use crate::place::Kind;
use crate::records::Order;

/// A program that does the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Program {
    /// Rows from memory, through the driver alone.
    Bare { records: u64 },
    /// Written by hand.
    Limit,
    /// The engine.
    Ours,
    /// The engine, with so many numbered pages at once.
    OursAhead(usize),
    /// dlt, with a Python that has it.
    Dlt { python: PathBuf, settings: Settings },
    /// faucet-stream, which appends.
    Faucet(PathBuf),
}

/// How dlt is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Settings {
    /// As it comes
    Default,
    /// With those that made it fastest
    Tuned,
}

impl Program {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Bare { .. } => "bare driver",
            Self::Limit => "limit",
            Self::Ours | Self::OursAhead(_) => "ours",
            Self::Dlt { settings: Settings::Default, .. } => "dlt",
            Self::Dlt { settings: Settings::Tuned, .. } => "dlt, tuned",
            Self::Faucet(_) => "faucet-stream",
        }
    }

    /// Whether it is somebody else's, who may fail where ours must not.
    pub(super) fn is_peer(&self) -> bool {
        matches!(self, Self::Dlt { .. } | Self::Faucet(_))
    }

    /// Whether it can bring changes into this kind of database, rather than only a first load.
    pub(super) fn follows(&self) -> bool {
        !matches!(self, Self::Bare { .. } | Self::Faucet(_))
    }

    pub(super) fn fills(&self, kind: Kind) -> bool {
        !matches!(self, Self::Faucet(_)) || kind == Kind::Postgres
    }

    /// Runs it to its end. `folder` keeps what it remembers outside of the database.
    pub(super) fn run(&self, url: &str, to: &str, order: Order, folder: &Path) -> Result<Figures> {
        let began = Instant::now();
        let output = self.command(url, to, order, folder)?.stderr(Stdio::inherit()).output()?;
        let seconds = began.elapsed().as_secs_f64();
        if !output.status.success() {
            return Err(format!("{} failed: {}", self.name(), output.status).into());
        }
        let text = String::from_utf8(output.stdout)?;
        let said: Figures = serde_json::from_str(text.lines().last().unwrap_or_default())?;
        // The bare driver makes its rows before the clock starts.
        let seconds = if matches!(self, Self::Bare { .. }) { said.seconds } else { seconds };
        Ok(Figures { seconds, ..said })
    }

    pub(super) fn start(&self, url: &str, to: &str, order: Order, folder: &Path) -> Result<Child> {
        Ok(self.command(url, to, order, folder)?.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
    }

    fn command(&self, url: &str, to: &str, order: Order, folder: &Path) -> Result<Command> {
        let mut command = match self {
            Self::Dlt { python, .. } => Command::new(python),
            Self::Faucet(program) => Command::new(program),
            _ => Command::new(std::env::current_exe()?),
        };
        match self {
            Self::Bare { records } => {
                command.args(["bare", "--records", &records.to_string(), "--order", order.name(), "--to", to])
            }
            Self::Limit => command.args(["limit", "--url", url, "--to", to, "--order", order.name()]),
            Self::Ours => command.args(["ours", "--url", url, "--to", to]),
            Self::OursAhead(pages) => command.args(["ours", "--url", url, "--to", to, "--at-once", &pages.to_string()]),
            Self::Dlt { settings, .. } => {
                let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/dlt_rest.py");
                let settings = match settings {
                    Settings::Default => "default",
                    Settings::Tuned => "tuned",
                };
                command.arg(script).args([url, to]).arg(folder.join(self.name())).arg(settings)
            }
            Self::Faucet(_) => command.args([url, to]),
        };
        Ok(command)
    }
}
