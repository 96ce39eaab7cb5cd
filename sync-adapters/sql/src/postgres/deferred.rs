//! Foreign keys that are checked at the commit, which a rehearsal never reaches.

use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use sync_core::sink::{Step, Write};
use sync_core::{Error, ErrorKind, Result};

use super::error::failed;
use super::query::{Plan, arrays};
use super::schema::run;
use crate::refused::Refused;

const UNCHECKED: &str = "the foreign keys cannot be checked";

/// Checks now what would be checked at the commit. The server names no row; those of the unit that refer to one that is
/// not there are looked for.
///
/// # Errors
/// `Data` when a key is broken, naming the rows where they are the unit's.
pub(crate) async fn check(connection: &mut PgConnection, steps: &[Step]) -> Result<()> {
    run(connection, "SAVEPOINT deferred".to_owned(), "no savepoint").await?;
    let immediate = "SET CONSTRAINTS ALL IMMEDIATE".to_owned();
    let Err(error) = run(connection, immediate, "a row refers to one that is not there").await else { return Ok(()) };
    if error.kind() != ErrorKind::Data {
        return Err(error);
    }
    run(connection, "ROLLBACK TO SAVEPOINT deferred".to_owned(), "no savepoint").await?;
    let mut refused = Refused::default();
    for (index, step) in steps.iter().enumerate() {
        let Step::Write(write) = step else { continue };
        if write.changes.is_empty() || write.stream.key_columns().is_empty() {
            continue;
        }
        for row in orphans(connection, index, write).await? {
            let orphaned = Error::data("a row refers to one that is not there").with("table", write.stream.name());
            refused.add(orphaned.at_row(index, row));
        }
    }
    refused.finish().and(Err(error))
}

/// The changes whose row refers to one that is not there.
async fn orphans(connection: &mut PgConnection, step: usize, write: &Write) -> Result<Vec<usize>> {
    let plan = Plan::of(&write.stream)?;
    let unread = |cause| failed(UNCHECKED, cause).with("table", write.stream.name());
    let keys = sqlx::query(
        "SELECT string_agg(format('t.%1$I IS NOT NULL', a.attname), ' AND '),
                format('NOT EXISTS (SELECT 1 FROM %s p WHERE %s)', c.confrelid::regclass,
                       string_agg(format('p.%I = t.%I', b.attname, a.attname), ' AND '))
         FROM pg_constraint c, unnest(c.conkey, c.confkey) AS k(own, other)
              JOIN pg_attribute a ON a.attnum = k.own JOIN pg_attribute b ON b.attnum = k.other
         WHERE c.conrelid = to_regclass($1) AND c.contype = 'f' AND c.condeferrable
               AND a.attrelid = c.conrelid AND b.attrelid = c.confrelid
         GROUP BY c.oid, c.confrelid",
    )
    .bind(&plan.table)
    .fetch_all(&mut *connection)
    .await
    .map_err(unread)?;
    let broken =
        keys.iter().map(|key| Ok(format!("({} AND {})", key.try_get::<String, _>(0)?, key.try_get::<String, _>(1)?)));
    let broken = broken.collect::<sqlx::Result<Vec<_>>>().map_err(unread)?.join(" OR ");
    if broken.is_empty() {
        return Ok(Vec::new());
    }
    let (sent, all) = (&plan.key_indices, (0..write.changes.len()).collect::<Vec<_>>());
    let sql = format!(
        "SELECT u.ord FROM {} JOIN {} AS t ON {} WHERE {broken} ORDER BY u.ord",
        plan.unnest(sent, 1, &[]),
        plan.table,
        plan.same_key(sent)?
    );
    let query = arrays(&plan, &write.changes, &all, sent, step)?
        .into_iter()
        .fold(sqlx::query(AssertSqlSafe(sql)), |query, array| array.bind(query));
    let found = query.fetch_all(connection).await.map_err(unread)?;
    let place = |row: &sqlx::postgres::PgRow| Ok(usize::try_from(row.try_get::<i64, _>(0)? - 1).unwrap_or_default());
    found.iter().map(place).collect::<sqlx::Result<_>>().map_err(unread)
}
