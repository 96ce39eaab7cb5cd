//! Rehearsals: the same path, in a transaction that is taken back.
//!
//! Making a table commits in MySQL, unless it is a temporary one. So a rehearsal makes temporary tables: where a table is
//! missing, one of its name; where it would have to be changed, a changed copy that hides it, which takes as long and as
//! much room as the change itself would; and a copy of a stage that is there. They end with their connection.

use sync_core::sink::{Step, WriteReport};
use sync_core::{Error, ErrorKind, Result, StreamSpec};

use super::batch::run;
use super::connection::Server;
use super::pool::Session;
use super::schema::{Need, Target};
use super::sink::take_steps;
use super::{MySql, stage, table};
use crate::ident::{list, quoted};

/// The copy, until it takes the name of the table.
const COPY: &str = "\"_sync_copy\"";

pub(crate) async fn rehearse(sink: &MySql, mut session: Session, steps: &[Step]) -> Result<WriteReport> {
    let mut hidden: Vec<&str> = Vec::new();
    let mut made = false;
    for step in steps {
        let stream = match step {
            Step::Write(write) => &write.stream,
            Step::Publish(publish) => &publish.stream,
            _ => continue,
        };
        if hidden.contains(&stream.name()) {
            continue;
        }
        made |= hide(sink, &mut session, stream).await?;
        hidden.push(stream.name());
    }
    let (mut places, stages) = stage::make(&mut session, sink.server(), steps, true).await?;
    run(&mut session, "START TRANSACTION READ WRITE".to_owned(), "no transaction can begin").await?;
    let done = take_steps(sink, &mut session, steps, &mut places).await;
    run(&mut session, "ROLLBACK".to_owned(), "the rehearsal cannot be taken back").await?;
    // A connection that is not released is closed, and its temporary tables end with it.
    if !made && !stages {
        session.release();
    }
    done
}

/// Puts a temporary table before one that is missing or would have to be changed.
async fn hide(sink: &MySql, session: &mut Session, stream: &StreamSpec) -> Result<bool> {
    let target = Target { stream, server: sink.server() };
    match target.needs(session).await? {
        Need::Nothing(_) => Ok(false),
        Need::Create => target.create(session, "TEMPORARY").await.map(|()| true),
        Need::Alter { changes, .. } => {
            let there = table::look(session, stream.name()).await?.map(|table| table.columns).unwrap_or_default();
            let plain = there.iter().filter(|column| !column.computed).map(|column| column.name.as_str());
            let (table, columns) = (quoted(stream.name())?, list(plain)?);
            let shadowed = shadow(session, sink.server(), &table, &columns, &changes).await;
            shadowed.map_err(|error| error.with("table", stream.name()).with("change", changes.join(", ")))?;
            Ok(true)
        }
    }
}

/// Puts a temporary copy of a table, changed like this, before it: from now on this connection sees the copy alone.
pub(crate) async fn shadow(
    session: &mut Session,
    server: Server,
    table: &str,
    columns: &str,
    changes: &[String],
) -> Result<()> {
    let what = "no copy of the table can be made to rehearse with";
    run(session, format!("CREATE TEMPORARY TABLE {COPY} LIKE {table}"), what).await.map_err(no_copy)?;
    if !changes.is_empty() {
        run(session, format!("ALTER TABLE {COPY} {}", changes.join(", ")), what).await.map_err(no_copy)?;
    }
    // Rows that are there are taken as they are, also those that could not come today.
    let checks = if server.is_mariadb() { ", check_constraint_checks = 0" } else { "" };
    let lenient =
        format!("SET @sync_mode = @@sql_mode, SESSION sql_mode = 'ANSI_QUOTES,NO_AUTO_VALUE_ON_ZERO'{checks}");
    run(session, lenient, what).await?;
    let filled = format!("INSERT INTO {COPY} ({columns}) SELECT {columns} FROM {table}");
    run(session, filled, what).await.map_err(no_copy)?;
    let strict = checks.replace('0', "1");
    run(session, format!("SET SESSION sql_mode = @sync_mode{strict}"), what).await?;
    run(session, format!("ALTER TABLE {COPY} RENAME TO {table}"), what).await.map_err(no_copy)
}

/// No row that comes is at fault, and no declaration: the server makes temporary tables of some kinds only.
fn no_copy(error: Error) -> Error {
    if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Full | ErrorKind::Forbidden) {
        return error;
    }
    let what = "a dry run cannot tell what becomes of this table, which would be changed: the server makes no temporary copy of it";
    Error::new(ErrorKind::Schema, what)
        .with_remedy("run in earnest, which makes the change and says so, or change the table by hand; with the table as it should be, a dry run needs no copy")
        .caused_by(error)
}
