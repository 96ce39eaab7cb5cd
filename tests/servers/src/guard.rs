//! The process that owns a server and its directory, and outlives us just long enough to remove both.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::account::Account;
use crate::{Error, Result, programs};

const SCRIPT: &str = include_str!("guard.sh");

/// A running `guard.sh`. Dropping it ends the server and removes its directory, and waits for that.
#[derive(Debug)]
pub(crate) struct Guard {
    shell: Child,
    /// `None` once the guard was told to end.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    dir: PathBuf,
}

impl Guard {
    /// Makes a directory that belongs to `account`; `stop` is the signal that ends the server quickly and cleanly.
    pub(crate) fn start(account: &Account, stop: &str) -> Result<Self> {
        let mut command = Command::new(programs::system("sh")?);
        command.args(["-c", SCRIPT, "guard.sh"]).arg(std::env::temp_dir());
        command.args([&account.owner().unwrap_or_default(), stop]);
        // The variables of whoever runs the tests (PGPORT, MYSQL_HOME, LANG…) must not reach the server.
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
        // In a process group of its own: neither Ctrl-C nor a test runner that ends a whole group reaches it.
        command.process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut shell = command.spawn().map_err(Error::io("cannot start a shell to watch over a server"))?;
        let (Some(orders), Some(answers)) = (shell.stdin.take(), shell.stdout.take()) else {
            unreachable!("both were asked for as pipes");
        };
        let mut guard = Self { shell, orders: Some(orders), answers: BufReader::new(answers), dir: PathBuf::new() };
        guard.dir = guard.answer("make a directory for a server in the folder for temporary files")?.into();
        Ok(guard)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Everything that the server wrote about itself.
    pub(crate) fn log(&self) -> String {
        let log = std::fs::read(self.dir.join("server.log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Runs a command to its end. False when it failed; the log says why.
    pub(crate) fn prepare(&mut self, command: &[String]) -> Result<bool> {
        Ok(self.order("prepare", command)? == "0")
    }

    /// Starts the server, which must not run already; answers with its process id.
    pub(crate) fn serve(&mut self, command: &[String]) -> Result<u32> {
        let answer = self.order("serve", command)?;
        answer.parse().map_err(|_| Error::new(format!("the guard of a server answered {answer:?}, not a process id")))
    }

    /// Kills the server and all its processes; returns when they are gone.
    pub(crate) fn crash(&mut self) -> Result<()> {
        self.order("crash", &[]).map(drop)
    }

    fn order(&mut self, order: &str, words: &[String]) -> Result<String> {
        let mut line = order.to_owned();
        for word in words {
            line.push_str(&format!(" '{}'", word.replace('\'', r"'\''")));
        }
        line.push('\n');
        if let Some(orders) = &mut self.orders {
            orders.write_all(line.as_bytes()).map_err(Error::io("the guard of a server is gone"))?;
        }
        self.answer(order)
    }

    fn answer(&mut self, to: &str) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).map_err(Error::io("the guard of a server is gone"))?;
        if line.is_empty() {
            return Err(Error::new(format!("the guard of a server failed to {to}")));
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.orders = None;
        // Nobody could act on a failure here, and the guard goes on by itself.
        let _ = self.shell.wait();
    }
}
