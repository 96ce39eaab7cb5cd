//! Positions in tables whose keys go while they are read.

use std::sync::Arc;

use sync_core::memory::{MemorySink, MemoryStore};
use sync_core::{RunOptions, SystemClock};

use super::sources::{Action, MARIADB, POSTGRES, ids, nothing, open, run};
use crate::faults::Server;

/// What is done between two pages, and what undoes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_changed_between_two_pages_and_back_again_has_lost_no_row() {
    let mut wrong = Vec::new();
    for server in [Server::Postgres, Server::MariaDb] {
        let changes: &[(&str, &str)] = match server {
            Server::Postgres => &[
                ("REVOKE SELECT ON orders FROM {role}", "GRANT SELECT ON orders TO {role}"),
                ("REVOKE pg_read_all_stats FROM {role}", "GRANT pg_read_all_stats TO {role}"),
                (
                    "ALTER TABLE orders DROP COLUMN note",
                    "ALTER TABLE orders ADD COLUMN note text; UPDATE orders SET note = 'n' || id, at = clock_timestamp()",
                ),
                ("ALTER TABLE orders RENAME COLUMN note TO memo", "ALTER TABLE orders RENAME COLUMN memo TO note"),
                (
                    "ALTER TABLE orders RENAME COLUMN at TO was; ALTER TABLE orders ADD COLUMN at timestamptz NOT NULL DEFAULT now() - interval '1 day'",
                    "ALTER TABLE orders DROP COLUMN at; ALTER TABLE orders RENAME COLUMN was TO at",
                ),
                (
                    "ALTER TABLE orders RENAME COLUMN at TO was; ALTER TABLE orders ADD COLUMN at timestamptz",
                    "ALTER TABLE orders DROP COLUMN at; ALTER TABLE orders RENAME COLUMN was TO at",
                ),
                (
                    "ALTER TABLE orders RENAME TO kept; CREATE TABLE orders (LIKE kept); GRANT SELECT ON orders TO {role}",
                    "DROP TABLE orders; ALTER TABLE kept RENAME TO orders",
                ),
                (
                    "ALTER TABLE orders RENAME COLUMN id TO was; ALTER TABLE orders ADD COLUMN id bigint",
                    "ALTER TABLE orders DROP COLUMN id; ALTER TABLE orders RENAME COLUMN was TO id",
                ),
                (
                    "ALTER TABLE orders ALTER COLUMN note TYPE varchar(2) USING left(note, 2)",
                    "ALTER TABLE orders ALTER COLUMN note TYPE text; UPDATE orders SET note = 'n' || id, at = clock_timestamp()",
                ),
                ("ALTER TABLE orders ENABLE ROW LEVEL SECURITY", "ALTER TABLE orders DISABLE ROW LEVEL SECURITY"),
            ],
            Server::MariaDb => &[
                ("REVOKE SELECT ON {db}.* FROM '{role}'", "GRANT SELECT ON {db}.* TO '{role}'"),
                (
                    "ALTER TABLE orders DROP COLUMN note",
                    "ALTER TABLE orders ADD COLUMN note longtext CHARACTER SET utf8mb4; UPDATE orders SET note = concat('n', id), at = UTC_TIMESTAMP(6)",
                ),
                ("ALTER TABLE orders RENAME COLUMN note TO memo", "ALTER TABLE orders RENAME COLUMN memo TO note"),
                (
                    "ALTER TABLE orders RENAME COLUMN at TO was, ADD COLUMN at datetime(6) NOT NULL DEFAULT '2020-01-01'",
                    "ALTER TABLE orders DROP COLUMN at, RENAME COLUMN was TO at",
                ),
                (
                    "ALTER TABLE orders RENAME COLUMN at TO was, ADD COLUMN at datetime(6)",
                    "ALTER TABLE orders DROP COLUMN at, RENAME COLUMN was TO at",
                ),
                (
                    "RENAME TABLE orders TO kept; CREATE TABLE orders LIKE kept",
                    "DROP TABLE orders; RENAME TABLE kept TO orders",
                ),
            ],
        };
        for (number, (change, back)) in changes.iter().enumerate() {
            for after in [7] {
                for options in [RunOptions::incremental(), RunOptions::reconcile()] {
                    let database = Arc::new(server.database().await);
                    let role = format!("t{number}_{after}_{}", &database.name()[database.name().len() - 14..]);
                    let said =
                        |sql: &str| sql.replace("{role}", &role).replace("{db}", &format!("`{}`", database.name()));
                    let url = match server {
                        Server::Postgres => {
                            database.client(POSTGRES).await.unwrap();
                            database.client(&said("CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT SELECT ON orders TO {role}; GRANT pg_read_all_stats TO {role}")).await.unwrap();
                            format!("postgres://{role}:x@{}:{}/{}", database.host(), database.port(), database.name())
                        }
                        Server::MariaDb => {
                            database.client(MARIADB).await.unwrap();
                            database
                                .client(&said(
                                    "CREATE USER '{role}' IDENTIFIED BY 'x'; GRANT SELECT ON {db}.* TO '{role}'",
                                ))
                                .await
                                .unwrap();
                            format!("mysql://{role}:x@{}:{}/{}", database.host(), database.port(), database.name())
                        }
                    };
                    let (sink, store) = (MemorySink::new(), MemoryStore::new(Arc::new(SystemClock::new())));
                    let is_reconcile = format!("{options:?}").contains("Reconcile");
                    if is_reconcile {
                        run(open(server, &url).await, 0, nothing(), &sink, &store, RunOptions::incremental())
                            .await
                            .completed()
                            .unwrap();
                    }
                    let action: Action = {
                        let (database, sql) = (Arc::clone(&database), said(change));
                        Arc::new(move || {
                            let (database, sql) = (Arc::clone(&database), sql.clone());
                            Box::pin(async move {
                                database.client(&sql).await.unwrap();
                            })
                        })
                    };
                    let report = run(open(server, &url).await, after, action, &sink, &store, options.clone()).await;
                    let how = format!(
                        "{:?} {}",
                        report.status,
                        report
                            .scopes
                            .iter()
                            .filter_map(|scope| scope.error.as_ref())
                            .map(ToString::to_string)
                            .collect::<String>()
                    );
                    println!(
                        "{server:?} {after} {} {change}: {}",
                        if is_reconcile { "reconcile" } else { "incremental" },
                        how.chars().take(230).collect::<String>()
                    );
                    if is_reconcile && ids(&sink).len() != 300 {
                        wrong.push(format!(
                            "{server:?} {after} {change}: the reconcile left {} rows: {report}",
                            ids(&sink).len()
                        ));
                    }
                    database.client(&said(back)).await.unwrap();
                    let report =
                        run(open(server, &url).await, 0, nothing(), &sink, &store, RunOptions::incremental()).await;
                    let mut there: Vec<String> = (1..=300).map(|id| format!("{id} Text(\"n{id}\")")).collect();
                    let mut here = ids(&sink);
                    there.sort();
                    here.sort();
                    let missing: Vec<_> = there.iter().filter(|row| !here.contains(row)).take(3).collect();
                    if here.len() != 300 || !missing.is_empty() {
                        wrong.push(format!("{server:?} after page {after}, reconcile {is_reconcile}: {change}: {} rows, missing {missing:?}, here {:?}; {report}", here.len(), here.first()));
                    }
                    let end = match server {
                        Server::Postgres => "DROP OWNED BY {role}; DROP ROLE {role}",
                        Server::MariaDb => "DROP USER '{role}'",
                    };
                    database.client(&said(end)).await.unwrap();
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A row without a key comes between the look for such rows and the first page.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_without_a_key_that_comes_while_a_read_begins_stops_no_later_run() {
    let look = |body: &str| {
        format!(
            "CREATE OR REPLACE FUNCTION look() RETURNS SETOF kept LANGUAGE plpgsql VOLATILE AS $$ BEGIN {body} END $$"
        )
    };
    let database = Server::Postgres.database().await;
    let create = format!(
        "CREATE TABLE kept (id bigint, at timestamptz NOT NULL, note text);
         INSERT INTO kept SELECT nullif(i, 40), now() - interval '1 hour' + i * interval '1 second', 'n' || i FROM generate_series(1, 60) i;
         {}; CREATE VIEW orders AS SELECT * FROM look()",
        look("RETURN QUERY SELECT * FROM kept k WHERE k.id IS NOT NULL OR current_query() NOT LIKE '%IS NULL%';")
    );
    database.client(&create).await.unwrap();
    let (sink, store) = (MemorySink::new(), MemoryStore::new(Arc::new(SystemClock::new())));
    let attempt = async || {
        run(open(Server::Postgres, &database.url()).await, 0, nothing(), &sink, &store, RunOptions::incremental()).await
    };
    let first = attempt().await;
    database
        .client(&format!("UPDATE kept SET id = 40 WHERE id IS NULL; {}", look("RETURN QUERY SELECT * FROM kept;")))
        .await
        .unwrap();
    let report = attempt().await;
    assert_eq!(sink.rows("orders").len(), 60, "{first}{report}");
}
