//! The account that servers run as: our own, or `nobody` when we are root, which PostgreSQL refuses to run as.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::{Error, Result, programs};

/// An account without privileges that every Linux system has.
const UNPRIVILEGED: &str = "nobody";

/// Who runs a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Account {
    /// The user who runs the tests.
    Own { name: String },
    /// `nobody`, by user and group id: the tests run as root.
    Nobody { user: u32, group: u32 },
}

impl Account {
    pub(crate) fn for_servers() -> Result<Self> {
        let own = fs::metadata("/proc/self").map_err(Error::io("cannot see who runs the tests in /proc/self"))?.uid();
        let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let find = |wanted: &dyn Fn(&str, u32) -> bool| {
            accounts.lines().find_map(|line| {
                let mut fields = line.split(':');
                let (name, user, group) = (fields.next()?, fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
                wanted(name, user).then(|| (name.to_owned(), user, group))
            })
        };
        if own == 0 {
            let (_, user, group) = find(&|name, _| name == UNPRIVILEGED)
                .ok_or_else(|| Error::new("PostgreSQL refuses to run as root, and there is no account `nobody`"))?;
            return Ok(Self::Nobody { user, group });
        }
        // An account may be known elsewhere than in the file; only MariaDB's own administrator needs its name.
        let name = find(&|_, user| user == own).map_or_else(|| own.to_string(), |(name, _, _)| name);
        Ok(Self::Own { name })
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Own { name } => name,
            Self::Nobody { .. } => UNPRIVILEGED,
        }
    }

    /// What `chown` is told, if the directory of a server must change hands.
    pub(crate) fn owner(&self) -> Option<String> {
        match self {
            Self::Own { .. } => None,
            Self::Nobody { user, group } => Some(format!("{user}:{group}")),
        }
    }

    /// The words that put a command under this account.
    pub(crate) fn prefix(&self) -> Result<Vec<String>> {
        match self {
            Self::Own { .. } => Ok(Vec::new()),
            Self::Nobody { user, group } => Ok(vec![
                programs::system("setpriv")?.display().to_string(),
                format!("--reuid={user}"),
                format!("--regid={group}"),
                "--clear-groups".to_owned(),
            ]),
        }
    }
}
