//! The databases that the programs fill.

use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use rusqlite::Connection;
use sync_test_servers::{Database, Durability, MariaDbServer, PostgresServer};
use tokio::runtime::Runtime;

use crate::Result;

/// A kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
    Mariadb,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
            Self::Mariadb => "MariaDB",
        }
    }
}

/// The server of a database, if it needs one. It keeps what was committed, as in production.
pub(crate) struct Server {
    runtime: Runtime,
    kind: Running,
}

enum Running {
    Sqlite,
    Postgres(PostgresServer),
    MariaDb(MariaDbServer),
}

/// Where one program writes.
pub(crate) struct Place<'s> {
    server: &'s Server,
    database: Option<Database>,
    /// A path or an address.
    pub(crate) to: String,
}

impl Server {
    pub(crate) fn start(kind: Kind) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let kind = runtime.block_on(async {
            Ok::<_, sync_test_servers::Error>(match kind {
                Kind::Sqlite => Running::Sqlite,
                Kind::Postgres => Running::Postgres(PostgresServer::start(Durability::Full).await?),
                Kind::Mariadb => Running::MariaDb(MariaDbServer::start(Durability::Full).await?),
            })
        })?;
        let server = Self { runtime, kind };
        server.grow()?;
        Ok(server)
    }

    /// Room for a million records: the servers of tests are small.
    fn grow(&self) -> Result<()> {
        let settings: &[&str] = match self.kind {
            Running::Sqlite => &[],
            Running::Postgres(_) => &["alter system set max_wal_size = '2GB'", "select pg_reload_conf()"],
            Running::MariaDb(_) => {
                &["set global innodb_buffer_pool_size = 536870912", "set global innodb_log_file_size = 536870912"]
            }
        };
        if let Some(database) = self.database()? {
            for setting in settings {
                self.runtime.block_on(database.client(setting))?;
            }
        }
        Ok(())
    }

    fn database(&self) -> Result<Option<Database>> {
        Ok(match &self.kind {
            Running::Sqlite => None,
            Running::Postgres(server) => Some(self.runtime.block_on(server.database())?),
            Running::MariaDb(server) => Some(self.runtime.block_on(server.database())?),
        })
    }

    /// A place of its own for a program: a file in the folder, or a database on the server.
    pub(crate) fn place(&self, folder: &Path, program: &str) -> Result<Place<'_>> {
        let database = self.database()?;
        let file = folder.join(format!("{program}.db"));
        let to = database.as_ref().map_or_else(|| file.display().to_string(), Database::url);
        Ok(Place { server: self, database, to })
    }

    /// Processor time that the server has used up to now, seconds. Nothing for a database without one.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let root = match &self.kind {
            Running::Sqlite => return 0.0,
            Running::Postgres(server) => server.pid(),
            Running::MariaDb(server) => server.pid(),
        };
        // PostgreSQL ends the process of a connection a moment after it is closed, and counts its time then.
        std::thread::sleep(Duration::from_millis(50));
        ticks_of(root, true) / 100.0
    }
}

/// The time of a process and those it started, in hundredths of a second; the first one has waited for others.
fn ticks_of(process: u32, first: bool) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let places = if first { 11..15 } else { 11..13 };
    let own: f64 = places.filter_map(|place| fields.get(place)?.parse::<f64>().ok()).sum();
    let started = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    let started = started.split_whitespace().filter_map(|child| child.parse().ok());
    own + started.map(|child| ticks_of(child, false)).sum::<f64>()
}

impl Place<'_> {
    /// Runs a statement, where this is a database on a server.
    pub(crate) fn prepare(&self, sql: &str) -> Result<()> {
        if let Some(database) = &self.database {
            self.server.runtime.block_on(database.client(sql))?;
        }
        Ok(())
    }

    /// Figures of the rows that are there: programs that did the same have the same ones.
    pub(crate) fn sums(&self) -> Result<String> {
        let sql = "select count(*), sum(id % 1000003), sum(char_length(name) + char_length(note) + quantity + score)
                   from records";
        if let Some(database) = &self.database {
            return Ok(self.server.runtime.block_on(database.client(sql))?.replace('\t', ", "));
        }
        let sums = Connection::open(&self.to)?.query_row(&sql.replace("char_length", "length"), [], |row| {
            Ok([row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?])
        })?;
        Ok(sums.map(|sum| sum.to_string()).join(", "))
    }
}
