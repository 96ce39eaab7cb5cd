//! A server with a directory of its own: started, killed, started again.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::account::Account;
use crate::endpoint::{Endpoint, Kind};
use crate::guard::Guard;
use crate::{Error, Result, mariadb, port, postgres};

/// How long a start may take on a busy machine, recovery after a crash included.
const PATIENCE: Duration = Duration::from_secs(60);
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);
/// How often a start is tried when its port is taken.
const TRIES: u32 = 5;
/// The account on the server that may do everything.
pub(crate) const USER: &str = "test";

/// What a server does to keep what was committed.
///
/// Committed rows survive the death of the server's processes either way: the system keeps what they wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Commits wait for the disk, as in production. Rows survive the death of the machine.
    Full,
    /// Commits do not wait for the disk: several times faster.
    ProcessOnly,
}

/// What the commands of a server depend on.
pub(crate) struct Place<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) account: &'a Account,
    pub(crate) password: &'a str,
    pub(crate) durability: Durability,
}

/// A server that this process started. Dropping it ends the server and removes its directory.
#[derive(Debug)]
pub(crate) struct Instance {
    guard: Guard,
    account: Account,
    durability: Durability,
    endpoint: Endpoint,
    pid: u32,
}

impl Instance {
    /// Makes a data directory and starts a server on it, on a free port. Waits until it takes connections.
    pub(crate) fn start(kind: Kind, durability: Durability) -> Result<Self> {
        Self::prepared(kind, durability, Instance::make_data)
    }

    /// As [`start`](Self::start), and keeps a copy of the untouched data directory, for [`start`](Self::start) in other
    /// processes to begin with.
    pub(crate) fn start_with_template(kind: Kind, durability: Durability) -> Result<Self> {
        Self::prepared(kind, durability, |instance| {
            instance.make_data()?;
            let (data, template) = (instance.dir().join("data"), instance.template());
            instance.copy(&data, &template)
        })
    }

    /// Where [`start_with_template`](Self::start_with_template) keeps its copy.
    pub(crate) fn template(&self) -> PathBuf {
        self.dir().join("template")
    }

    fn prepared(kind: Kind, durability: Durability, prepare: impl FnOnce(&mut Self) -> Result<()>) -> Result<Self> {
        let began = Instant::now();
        let account = Account::for_servers()?;
        let signal = match kind {
            Kind::Postgres => postgres::STOP,
            Kind::MariaDb => mariadb::STOP,
        };
        let endpoint = Endpoint {
            kind,
            host: "127.0.0.1".to_owned(),
            port: 0,
            user: USER.to_owned(),
            password: Uuid::new_v4().simple().to_string(),
        };
        let mut instance = Self { guard: Guard::start(&account, signal)?, account, durability, endpoint, pid: 0 };
        prepare(&mut instance)?;
        instance.serve(port::free)?;
        if kind == Kind::Postgres {
            postgres::set_password(instance.dir(), &instance.endpoint)?;
        }
        let took = began.elapsed().as_secs_f32();
        eprintln!("{} took {took:.1} s to start on port {}", kind.name(), instance.endpoint.port);
        Ok(instance)
    }

    /// Kills all processes of the server at once, as a crash would.
    pub(crate) fn kill(&mut self) -> Result<()> {
        if !runs(self.pid) {
            return Err(Error::new(format!("{} has ended already: restart it first", self.endpoint.kind.name())));
        }
        self.guard.crash()
    }

    /// Starts the server again after [`kill`](Self::kill), on the same port and data.
    pub(crate) fn restart(&mut self) -> Result<()> {
        if runs(self.pid) {
            return Err(Error::new(format!(
                "{} is running: kill it before it is restarted",
                self.endpoint.kind.name()
            )));
        }
        let port = self.endpoint.port;
        self.serve(|| port)
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn dir(&self) -> &Path {
        self.guard.dir()
    }

    fn place(&self) -> Place<'_> {
        let (account, password) = (&self.account, &self.endpoint.password);
        Place { dir: self.guard.dir(), account, password, durability: self.durability }
    }

    fn make_data(&mut self) -> Result<()> {
        if let Some(template) = std::env::var_os(self.endpoint.kind.template_variable()) {
            let template = PathBuf::from(template);
            let data = self.dir().join("data");
            return self.copy(&template, &data);
        }
        let command = match self.endpoint.kind {
            Kind::Postgres => postgres::prepare(&self.place())?,
            Kind::MariaDb => mariadb::prepare(&self.place())?,
        };
        self.run(command)
    }

    fn copy(&mut self, from: &Path, to: &Path) -> Result<()> {
        let words = ["cp", "--archive", "--reflink=auto"].map(str::to_owned);
        self.run(words.into_iter().chain([from, to].map(|path| path.display().to_string())).collect())
    }

    fn run(&mut self, command: Vec<String>) -> Result<()> {
        let command = self.under_its_account(command)?;
        if self.guard.prepare(&command)? { Ok(()) } else { Err(self.failed("could not make its data directory")) }
    }

    fn under_its_account(&self, command: Vec<String>) -> Result<Vec<String>> {
        let mut words = self.account.prefix()?;
        words.extend(command);
        Ok(words)
    }

    fn serve(&mut self, port: impl Fn() -> u16) -> Result<()> {
        for _ in 0..TRIES {
            self.endpoint.port = port();
            let command = match self.endpoint.kind {
                Kind::Postgres => postgres::serve(&self.place(), self.endpoint.port)?,
                Kind::MariaDb => mariadb::serve(&self.place(), self.endpoint.port)?,
            };
            let before = self.guard.log().len();
            self.pid = self.guard.serve(&self.under_its_account(command)?)?;
            if self.comes_up()? {
                return Ok(());
            }
            // PostgreSQL: "Address already in use"; MariaDB: the same, in its own words, or the number of that error.
            let log = self.guard.log();
            let news = log.get(before..).unwrap_or(&log);
            if !news.contains("in use") && !news.contains("error: 98") {
                return Err(self.failed("ended while it was starting"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Err(self.failed("found its port taken each time it was started"))
    }

    /// False when the server has ended.
    fn comes_up(&self) -> Result<bool> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let ready = match self.endpoint.kind {
                Kind::Postgres => postgres::is_ready(self.guard.dir(), self.pid),
                Kind::MariaDb => mariadb::is_ready(self.guard.dir()),
            };
            if ready {
                return Ok(true);
            }
            if !runs(self.pid) {
                return Ok(false);
            }
            std::thread::sleep(BETWEEN_LOOKS);
        }
        Err(self.failed(&format!("did not take connections within {} s", PATIENCE.as_secs())))
    }

    fn failed(&self, what: &str) -> Error {
        let log = self.guard.log();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(30)..].join("\n");
        Error::new(format!("{} {what}; the end of its log:\n{last}", self.endpoint.kind.name()))
    }
}

/// Whether a process runs. One that has ended, and that nobody has waited for yet, does not.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with(['Z', 'X']))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn postgresql_gets_another_port_when_its_port_is_taken() {
        gets_another_port_when_its_port_is_taken(Kind::Postgres);
    }

    #[test]
    fn mariadb_gets_another_port_when_its_port_is_taken() {
        gets_another_port_when_its_port_is_taken(Kind::MariaDb);
    }

    fn gets_another_port_when_its_port_is_taken(kind: Kind) {
        let someone = TcpListener::bind("127.0.0.1:0").unwrap();
        let (taken, free) = (someone.local_addr().unwrap().port(), port::free());
        let ports = RefCell::new(vec![free, taken]);

        let mut instance = Instance::start(kind, Durability::ProcessOnly).unwrap();
        instance.kill().unwrap();
        instance.serve(|| ports.borrow_mut().pop().unwrap()).unwrap();
        assert_eq!(instance.endpoint.port, free);
        assert!(ports.borrow().is_empty(), "the taken port was tried first");
    }

    #[test]
    fn a_server_that_cannot_start_says_why() {
        let mut instance = Instance::start(Kind::Postgres, Durability::ProcessOnly).unwrap();
        instance.kill().unwrap();
        std::fs::remove_file(instance.dir().join("data/global/pg_control")).unwrap();
        let error = instance.restart().unwrap_err().to_string();
        assert!(error.contains("PostgreSQL ended while it was starting"), "{error}");
        assert!(error.contains("pg_control"), "the log is shown: {error}");
    }
}
