//! The store's tables, and how older ones become newer ones.

use sqlx::SqlitePool;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sync_core::{Error, ErrorKind, Result};

/// The list of migrations applied so far. The name differs from sqlx's own, which belongs to the host.
const TABLE: &str = "_sync_migrations";

/// Every migration, in order. One that was released is never changed: a new one follows it.
const STEPS: [(i64, &str, &str); 1] = [(1, "state", include_str!("schema/0001_state.sql"))];

/// Brings the tables up to date.
pub(crate) async fn migrate(pool: &SqlitePool) -> Result<()> {
    let steps = STEPS.map(|(version, name, sql)| {
        let sql = sqlx::AssertSqlSafe(sql);
        Migration::new(version, name.into(), MigrationType::Simple, sqlx::SqlSafeStr::into_sql_str(sql), false)
    });
    let mut migrator = Migrator::with_migrations(steps.into());
    migrator.dangerous_set_table_name(TABLE);
    migrator.run(pool).await.map_err(|cause| {
        Error::new(ErrorKind::Schema, "the state store's tables cannot be brought up to date").caused_by(cause)
    })
}
