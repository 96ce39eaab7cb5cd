//! What may be said on the command line.

use std::path::{Path, PathBuf};

use clap::Parser;
use tempfile::TempDir;

use crate::Result;
use crate::shop::MASTER;

/// A point of sale: a master, and tills that sell offline and are brought in step.
///
/// It tells a story with real databases and real connections, prints a table of what came out of it, and ends.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    /// Where the master serves HTTP, on this machine alone; 0 is any free port
    #[arg(long, env = "PORT", default_value_t = 3030)]
    pub(crate) port: u16,

    /// Where it serves WebSockets; 0 is any free port
    #[arg(long, env = "WS_PORT", default_value_t = 3031)]
    pub(crate) ws_port: u16,

    /// How many tills there are
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=20))]
    pub(crate) tills: u8,

    /// How many sales each till makes while it is offline
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub(crate) sales: u16,

    /// Where the databases are kept, each a SQLite file; without it they are gone at the end. A folder in which the story was told
    /// is only served again
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,

    /// Go on serving when the story is told, until Ctrl-C
    #[arg(long)]
    pub(crate) serve: bool,
}

/// Where the databases are.
#[derive(Debug)]
pub(crate) enum Folder {
    Kept { path: PathBuf, is_told: bool },
    Passing(TempDir),
}

impl Folder {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Kept { path, .. } => path,
            Self::Passing(folder) => folder.path(),
        }
    }

    /// Whether the story was told there.
    pub(crate) fn is_told(&self) -> bool {
        matches!(self, Self::Kept { is_told: true, .. })
    }
}

impl Args {
    pub(crate) fn folder(&self) -> Result<Folder> {
        let Some(path) = self.folder.clone() else { return Ok(Folder::Passing(tempfile::tempdir()?)) };
        std::fs::create_dir_all(&path)
            .map_err(|error| format!("{} cannot be the folder: {error}; name another with --folder", path.display()))?;
        let is_told = path.join(MASTER).exists();
        if is_told && !self.serve {
            let path = path.display();
            return Err(
                format!("the story was told in {path} already: take another folder, or --serve this one").into()
            );
        }
        Ok(Folder::Kept { path, is_told })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_declaration_holds_together() {
        Args::command().debug_assert();
    }
}
