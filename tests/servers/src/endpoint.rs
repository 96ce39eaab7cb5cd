//! How to reach a server: host, port, account.

use percent_encoding::percent_decode_str;
use url::Url;

use crate::{Error, Result};

/// The variable that names the PostgreSQL server for tests: `postgres://USER:PASSWORD@HOST:PORT/postgres`.
/// The database is the one that every server has; tests get databases of their own.
pub const POSTGRES_URL: &str = "SYNC_TEST_POSTGRES_URL";

/// The variable that names the MariaDB server for tests: `mysql://USER:PASSWORD@HOST:PORT/mysql`.
pub const MARIADB_URL: &str = "SYNC_TEST_MARIADB_URL";

/// Which server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Postgres,
    MariaDb,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::MariaDb => "MariaDB",
        }
    }

    fn scheme(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MariaDb => "mysql",
        }
    }

    /// The variable that names a server of this kind for all tests of a run.
    pub(crate) fn url_variable(self) -> &'static str {
        match self {
            Self::Postgres => POSTGRES_URL,
            Self::MariaDb => MARIADB_URL,
        }
    }

    /// The variable that names an untouched data directory, so that a private server need not make one.
    pub(crate) fn template_variable(self) -> &'static str {
        match self {
            Self::Postgres => "SYNC_TEST_POSTGRES_TEMPLATE",
            Self::MariaDb => "SYNC_TEST_MARIADB_TEMPLATE",
        }
    }

    /// The database that every server of this kind has.
    pub(crate) fn first_database(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MariaDb => "mysql",
        }
    }
}

/// A server that takes connections, and the account that may do everything there.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) kind: Kind,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) password: String,
}

impl Endpoint {
    pub(crate) fn from_url(kind: Kind, url: &str) -> Result<Self> {
        let variable = kind.url_variable();
        // The address holds a password: what is wrong with it is said without showing it.
        let wrong = |what: &str| {
            Error::new(format!("{variable}: {what}; expected {}://USER:PASSWORD@HOST:PORT/", kind.scheme()))
        };
        let url = Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
        if url.scheme() != kind.scheme() {
            return Err(wrong("the address begins with another scheme"));
        }
        let text = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        Ok(Self {
            kind,
            host: url.host_str().ok_or_else(|| wrong("there is no host"))?.to_owned(),
            port: url.port().ok_or_else(|| wrong("there is no port"))?,
            user: text(url.username()),
            password: text(url.password().unwrap_or_default()),
        })
    }

    pub(crate) fn url(&self, database: &str) -> String {
        let Self { kind, host, port, user, password } = self;
        let quote =
            |part: &str| percent_encoding::utf8_percent_encode(part, percent_encoding::NON_ALPHANUMERIC).to_string();
        format!("{}://{}:{}@{host}:{port}/{database}", kind.scheme(), quote(user), quote(password))
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}:{} as {}", self.kind.name(), self.host, self.port, self.user)
    }
}
