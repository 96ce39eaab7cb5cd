//! What may be said on the command line.

use std::path::PathBuf;

use clap::Parser;

/// Brings a small HTTP API into a SQLite database, and shows what was new.
///
/// Run it twice: the second run finds nothing new. Then run it with `--mutate 5`: exactly five rows are written, though more are
/// fetched, since the last moment read is read again.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    /// Serve this folder of JSON Lines files, one table a file, instead of the generated sample
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// The database to fill; it is created where there is none
    #[arg(long, value_name = "PATH", default_value = "quickstart.db")]
    pub(crate) db: PathBuf,

    /// Change this many rows at the source before the run. The changes are remembered in a file beside the database,
    /// PATH.source.json; the files of --data stay as they are. Not together with --dry-run, which changes nothing
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, conflicts_with = "dry_run")]
    pub(crate) mutate: usize,

    /// Read everything again, instead of what changed since the last run
    #[arg(long)]
    pub(crate) full: bool,

    /// Only say what a run would do: no row and no position is written. A new database is left empty, but for the engine's
    /// own tables
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Print the report, or the error of a run that cannot begin, as one JSON object on the last line
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_declaration_holds_together() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_dry_run_changes_nothing_at_the_source() {
        let refused = Args::try_parse_from(["quickstart", "--dry-run", "--mutate", "5"]).expect_err("not together");
        assert!(refused.to_string().contains("cannot be used with"), "{refused}");
        assert!(Args::try_parse_from(["quickstart", "--dry-run"]).is_ok());
    }

    #[test]
    fn nothing_has_to_be_said() {
        let args = Args::parse_from(["quickstart"]);
        assert_eq!((args.data, args.db, args.mutate, args.json), (None, "quickstart.db".into(), 0, false));
    }
}
