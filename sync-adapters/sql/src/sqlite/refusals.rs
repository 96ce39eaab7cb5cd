//! The rows of a unit that a table refuses, all named by one error: the unit is tried once for all of them.

use rusqlite::{Connection, OptionalExtension};
use sync_core::sink::{Intent, Step};
use sync_core::{Error, ErrorKind, Result};

use super::error::failed;
use crate::refused::Refused;

/// Tries rows, and goes on behind one that is refused as if it had not been there.
pub(crate) struct Refusals<'c> {
    connection: &'c Connection,
    found: Refused,
    way: Way,
}

/// What it takes to go on behind a refused row.
enum Way {
    /// A statement that fails leaves nothing behind.
    Simply,
    /// A trigger may leave something behind (`RAISE(FAIL)`), which a savepoint before each row takes back.
    BySavepoint,
    /// The same, and savepoints are not worth it before it is known that there are such rows.
    Not,
}

impl<'c> Refusals<'c> {
    pub(crate) fn new(connection: &'c Connection, steps: &[Step], intent: Intent) -> Result<Self> {
        let triggers: Option<i64> = connection
            .prepare_cached("SELECT 1 FROM sqlite_schema WHERE type = 'trigger' LIMIT 1")
            .and_then(|mut select| select.query_row([], |row| row.get(0)).optional())
            .map_err(|cause| failed("the triggers cannot be looked at", cause))?;
        let known = || steps.iter().any(|step| matches!(step, Step::Publish(publish) if !publish.skip.is_empty()));
        let way = match triggers {
            None => Way::Simply,
            Some(_) if intent == Intent::Rehearse || known() => Way::BySavepoint,
            Some(_) => Way::Not,
        };
        Ok(Self { connection, found: Refused::default(), way })
    }

    /// Tries one row. `None` when it is refused, and the others can go on; `blame` names it in the error.
    ///
    /// # Errors
    /// All that were found, when it is time to stop; or what else went wrong.
    pub(crate) fn try_row<T>(
        &mut self,
        work: impl FnOnce() -> Result<T>,
        blame: impl FnOnce(Error) -> Result<Error>,
    ) -> Result<Option<T>> {
        if let Way::BySavepoint = self.way {
            self.run("SAVEPOINT one_row")?;
        }
        let refused = match work() {
            Ok(done) => {
                if let Way::BySavepoint = self.way {
                    self.run("RELEASE one_row")?;
                }
                return Ok(Some(done));
            }
            Err(error) if error.kind() == ErrorKind::Data => error,
            Err(error) => return Err(error),
        };
        // A trigger may have taken the whole transaction back.
        let gone = self.connection.is_autocommit();
        if let (Way::BySavepoint, false) = (&self.way, gone) {
            self.run("ROLLBACK TO one_row; RELEASE one_row")?;
        }
        self.found.add(blame(refused)?);
        if gone || self.found.is_full() || matches!(self.way, Way::Not) {
            self.found.finish()?;
        }
        Ok(None)
    }

    /// # Errors
    /// When rows were refused: one error that names them all.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.found.finish()
    }

    fn run(&self, sql: &str) -> Result<()> {
        self.connection.execute_batch(sql).map_err(|cause| failed("no savepoint can be set", cause))
    }
}
