//! Where the programs of the servers are.

use std::path::{Path, PathBuf};

use crate::{Error, Result};

const POSTGRES_VERSIONS: &str = "/usr/lib/postgresql";
/// Debian keeps servers here, and does not have the folder in the PATH of ordinary users.
const SYSTEM: &str = "/usr/sbin";

/// A program of PostgreSQL. Debian's versioned folders come first, newest version first: the `psql` in the PATH is a
/// Perl script there, which takes longer to start than the test it serves.
///
/// # Errors
/// When it is not installed, with the command that installs it.
pub fn postgres(name: &str) -> Result<PathBuf> {
    let versions = std::fs::read_dir(POSTGRES_VERSIONS).into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> =
        versions.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path()))).collect();
    versions.sort();
    let folders = versions.into_iter().rev().map(|(_, folder)| folder.join("bin")).chain(path());
    first_in(folders, name).ok_or_else(|| missing(name, "postgresql"))
}

/// A program of MariaDB.
pub(crate) fn mariadb(name: &str) -> Result<PathBuf> {
    let folders = path().chain([PathBuf::from(SYSTEM)]);
    first_in(folders, name).ok_or_else(|| missing(name, "mariadb-server-core mariadb-client-core"))
}

/// A program of the system.
pub(crate) fn system(name: &str) -> Result<PathBuf> {
    let folders = path().chain([PathBuf::from(SYSTEM), PathBuf::from("/usr/bin"), PathBuf::from("/bin")]);
    first_in(folders, name).ok_or_else(|| missing(name, "util-linux"))
}

fn path() -> impl Iterator<Item = PathBuf> {
    std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>())
}

fn first_in(mut folders: impl Iterator<Item = PathBuf>, name: &str) -> Option<PathBuf> {
    folders.find_map(|folder| Some(folder.join(name)).filter(|program: &PathBuf| Path::is_file(program)))
}

fn missing(name: &str, packages: &str) -> Error {
    Error::new(format!(
        "`{name}` is not installed: run ./test once, which installs it, or: sudo apt-get install {packages}"
    ))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_missing_program_is_named_with_the_command_that_installs_it() {
        let error = super::mariadb("no-such-program").unwrap_err().to_string();
        assert_eq!(
            error,
            "`no-such-program` is not installed: run ./test once, which installs it, or: \
             sudo apt-get install mariadb-server-core mariadb-client-core"
        );
    }
}
