//! The store's tables, and how older ones become newer ones.
//!
//! sqlx's migrations would do for each database by itself. Ours are written once, are safe when two processes start at
//! once on SQLite as well, need no right to create tables where there is nothing to create, and survive being cut short on
//! MySQL, which cannot undo a change of a table.

use sync_core::{Error, ErrorKind, Result};

use crate::again::until_it_is_alone;
use crate::database::{Database, Transaction};
use crate::error::from_sql;
use crate::statement::Statement;

/// What was done so far.
const LOG: &str = "CREATE TABLE IF NOT EXISTS _sync_schema (
    version {number} PRIMARY KEY NOT NULL,
    name    {key} NOT NULL,
    done_ms {number} NOT NULL
){table}";

/// Every step, in order: its name, and statements in neutral form. Each does nothing where it was done before, since MySQL
/// may end between two. A step that was released is never changed: a new one follows it.
const STEPS: [(&str, &str); 1] = [("state", include_str!("schema/0001_state.sql"))];

/// Brings the tables up to date.
///
/// # Errors
/// `Schema` when a newer release has brought them further.
pub(crate) async fn migrate(database: &Database) -> Result<()> {
    // An error may mean that there is no such table. Any other will come again.
    if let Ok(done) = database.row(version()).await
        && steps_after(done)?.is_empty()
    {
        return Ok(());
    }
    until_it_is_alone(|| async {
        let mut alone = database.begin_alone().await.map_err(failed)?;
        take_steps(&mut alone.transaction).await?;
        alone.transaction.commit().await.map_err(failed)
    })
    .await
}

async fn take_steps(transaction: &mut Transaction) -> Result<()> {
    transaction.run(LOG).await.map_err(failed)?;
    let done = transaction.row(version()).await.map_err(failed)?;
    for (version, (name, statements)) in steps_after(done)? {
        // All at once: each statement by itself would cost two round trips.
        let note = format!("INSERT INTO _sync_schema (version, name, done_ms) VALUES ({version}, '{name}', {{now}})");
        transaction.run(&format!("{statements}{note}")).await.map_err(failed)?;
    }
    Ok(())
}

/// How many steps were taken.
fn version() -> Statement {
    Statement::new("SELECT coalesce(max(version), 0) FROM _sync_schema")
}

/// The steps that were not taken yet, by version.
fn steps_after(done: Option<(i64,)>) -> Result<Vec<(i64, (&'static str, &'static str))>> {
    let done = done.unwrap_or_default().0;
    let steps: Vec<_> = (1..).zip(STEPS).collect();
    let newest = steps.last().map_or(0, |(version, _)| *version);
    if done > newest {
        let message =
            "a newer release has changed the state store's tables: use that release, or a later one, everywhere";
        return Err(Error::new(ErrorKind::Schema, message).with("tables", done).with("this_release", newest));
    }
    Ok(steps.into_iter().filter(|(version, _)| *version > done).collect())
}

fn failed(cause: sqlx::Error) -> Error {
    from_sql("the state store's tables cannot be made or brought up to date", cause)
}
