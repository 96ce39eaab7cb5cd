//! The target table: created from the declaration, grown with it, and refused where it would lose something.

use sqlx::Row as _;
use sqlx::mysql::MySqlConnection;
use sync_core::model::{Absent, Field, Kind, StreamSpec};
use sync_core::sink::Altered;
use sync_core::{Error, ErrorKind, Result};

use super::batch::run;
use super::column::{declared_types, plain_type};
use super::connection::{Server, is_exact};
use super::error::failed;
use super::query::name;
use super::table::{self, Column, Table};
use crate::differs::differs;
use crate::ident::list;
use crate::tables::Shape;

/// For how long a change of a table waits for whoever reads or writes it. Those who come behind it wait as long.
pub(crate) const WAIT: &str = "SET SESSION lock_wait_timeout = 5";

/// What sessions wait for otherwise.
pub(crate) const PATIENCE: &str = "SET SESSION lock_wait_timeout = 60";

/// Creates the table, or adds and widens the columns that need it. Each such statement commits by itself. Says what the
/// columns are like then. What it will change in a table that is there is noted first.
///
/// # Errors
/// `Schema`, with the exact difference, when the table cannot hold the stream without loss.
pub(crate) async fn prepare(
    session: &mut MySqlConnection,
    stream: &StreamSpec,
    server: Server,
    note: impl FnOnce(Altered),
) -> Result<Shape> {
    writable(session).await?;
    let target = Target { stream, server };
    if let Need::Nothing(shape) = target.needs(session).await? {
        return Ok(shape);
    }
    // Changes of tables go one after the other: two that add one column at once would fail.
    lock(session).await?;
    let done = match target.needs(session).await {
        Ok(Need::Nothing(_)) => Ok(()),
        Ok(Need::Create) => target.create(session, "").await,
        Ok(Need::Alter { changes, altered }) => {
            note(altered);
            target.alter(session, &changes).await
        }
        Err(error) => Err(error),
    };
    run(session, "DO RELEASE_LOCK(CONCAT('sync.', MD5(DATABASE())))".to_owned(), "the lock is lost").await?;
    done?;
    table::shape(session, stream).await
}

/// What would be changed in a table that is there.
///
/// # Errors
/// As those of [`prepare`].
pub(crate) async fn lacking(session: &mut MySqlConnection, stream: &StreamSpec, server: Server) -> Result<Altered> {
    writable(session).await?;
    Ok(match (Target { stream, server }).needs(session).await? {
        Need::Alter { altered, .. } => altered,
        Need::Create | Need::Nothing(_) => Altered::default(),
    })
}

async fn lock(connection: &mut MySqlConnection) -> Result<()> {
    let locked: Option<i64> = sqlx::query_scalar("SELECT GET_LOCK(CONCAT('sync.', MD5(DATABASE())), 60)")
        .fetch_one(connection)
        .await
        .map_err(|cause| failed("no lock for the change of a table", cause))?;
    if locked == Some(1) {
        return Ok(());
    }
    Err(Error::unavailable("somebody else has been changing tables of this database for a minute"))
}

/// Refuses a server that only reads, whatever the account may do there: its rows would not be those of the primary.
pub(crate) async fn writable(connection: &mut MySqlConnection) -> Result<()> {
    let row = sqlx::raw_sql("SELECT concat(@@global.read_only), concat(@@global.innodb_read_only)")
        .fetch_one(connection)
        .await
        .map_err(|cause| failed("the database cannot be asked", cause))?;
    // Newer servers know more than on and off.
    let is_on = |at| row.try_get_unchecked::<String, _>(at).is_ok_and(|value| !matches!(value.as_str(), "0" | "OFF"));
    if is_on(0) || is_on(1) {
        return Err(Error::new(ErrorKind::Forbidden, "the server only reads (read_only): connect to the primary"));
    }
    Ok(())
}

/// What a table lacks.
pub(crate) enum Need {
    /// Nothing; so its columns are.
    Nothing(Shape),
    /// The whole table.
    Create,
    /// Parts of an `ALTER TABLE`, and what they change.
    Alter { changes: Vec<String>, altered: Altered },
}

/// The table of a stream, as it should be.
pub(crate) struct Target<'s> {
    pub(crate) stream: &'s StreamSpec,
    pub(crate) server: Server,
}

impl Target<'_> {
    /// The stream's columns, and the one that marks missing rows, with their types.
    fn wanted(&self) -> Result<Vec<(Field, String)>> {
        let types = declared_types(self.stream, self.server.exact)?;
        let mut wanted: Vec<(Field, String)> = self.stream.schema().fields().iter().cloned().zip(types).collect();
        if let Absent::Mark(column) = self.stream.when_absent()
            && self.stream.schema().index(column).is_none()
        {
            wanted.push((Field::new(column.as_str(), Kind::Timestamp), plain_type(Kind::Timestamp)));
        }
        Ok(wanted)
    }

    fn is_key(&self, field: &str) -> bool {
        self.stream.key_columns().iter().any(|key| key == field)
    }

    /// What must be done so that the table holds the stream.
    pub(crate) async fn needs(&self, connection: &mut MySqlConnection) -> Result<Need> {
        let stream = self.stream;
        if stream.name().starts_with("_sync_") {
            return Err(Error::config(
                "names that begin with \"_sync_\" are reserved for tables of the sink: rename the stream",
            )
            .with("stream", stream.name()));
        }
        let quoted_table = name(stream.name())?;
        let wanted = self.wanted()?;
        let Some(table) = table::look(connection, stream.name()).await? else { return Ok(Need::Create) };
        match table.engine.as_deref() {
            Some("InnoDB") => {}
            Some(engine) => {
                return Err(self.differs(format!(
                    "the target table is kept by {engine}, and only InnoDB takes rows and position back together: ALTER TABLE {} ENGINE=InnoDB",
                    backticked(stream.name()),
                )));
            }
            None => {
                return Err(self.differs(
                    "the target is no plain table: a view keeps no rows of its own; name the table behind it"
                        .to_owned(),
                ));
            }
        }
        self.check_key(connection, &table).await?;
        let undeclared = |column: &&Column| {
            column.required && !column.computed && !wanted.iter().any(|(field, _)| column.name == field.name())
        };
        if let Some(column) = table.columns.iter().find(undeclared) {
            return Err(self.differs(format!(
                "the target table requires column {:?}, which the stream does not declare, so no row could be added: declare it in the stream, or give it a default in the table",
                column.name
            )));
        }
        let (mut changes, mut altered) = (Vec::new(), Altered::default());
        for (field, declared) in &wanted {
            match table.columns.iter().find(|column| column.name == field.name()) {
                None => {
                    changes.push(format!("ADD COLUMN {} {declared}", name(field.name())?));
                    altered.added.push(field.name().to_owned());
                }
                Some(column) => {
                    self.check_letters(connection, field, column).await?;
                    if let Some(wider) = self.wider(field, column, &table)? {
                        let rest = column.rest_of_definition(connection, stream.name(), &quoted_table).await?;
                        changes.push(format!("MODIFY COLUMN {} {wider}{rest}", name(field.name())?));
                        altered.widened.push(field.name().to_owned());
                    }
                }
            }
        }
        Ok(if changes.is_empty() { Need::Nothing(table.shape(stream)) } else { Need::Alter { changes, altered } })
    }

    /// Creates the table; `temporary` may say that only this connection sees it.
    pub(crate) async fn create(&self, connection: &mut MySqlConnection, temporary: &str) -> Result<()> {
        let column = |(field, declared): &(Field, String)| {
            let required = if field.is_nullable() { "" } else { " NOT NULL" };
            Ok(format!("{} {declared}{required}", name(field.name())?))
        };
        let mut parts = self.wanted()?.iter().map(column).collect::<Result<Vec<_>>>()?;
        if !self.stream.key_columns().is_empty() {
            parts.push(format!("PRIMARY KEY ({})", list(self.stream.key_columns().iter().map(String::as_str))?));
        }
        let create = format!(
            "CREATE {temporary} TABLE IF NOT EXISTS {} ({}) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {}",
            name(self.stream.name())?,
            parts.join(", "),
            self.server.exact
        );
        run(connection, create, "the table cannot be created")
            .await
            .map_err(|error| error.with("table", self.stream.name()))
    }

    async fn alter(&self, connection: &mut MySqlConnection, changes: &[String]) -> Result<()> {
        let (what, table) = ("the table cannot be changed", name(self.stream.name())?);
        run(connection, WAIT.to_owned(), what).await?;
        run(connection, format!("ALTER TABLE {table} {}", changes.join(", ")), what)
            .await
            .map_err(|error| error.with("table", self.stream.name()).with("change", changes.join(", ")))?;
        run(connection, PATIENCE.to_owned(), what).await
    }

    /// Refuses a table whose key is another one, or takes different keys for the same.
    async fn check_key(&self, connection: &mut MySqlConnection, table: &Table) -> Result<()> {
        if self.stream.key_columns().is_empty() {
            return Ok(());
        }
        let sorted = |columns: &[String]| {
            let mut columns = columns.to_vec();
            columns.sort();
            columns
        };
        let wanted = sorted(self.stream.key_columns());
        let unique: Vec<Vec<String>> = table
            .indexes
            .iter()
            .filter(|index| index.unique && index.whole)
            .map(|index| sorted(&index.columns))
            .collect();
        if !unique.contains(&wanted) {
            let found: Vec<String> = unique.iter().map(|key| format!("({})", key.join(", "))).collect();
            let has = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
            return Err(self.differs(format!(
                "the target table needs a unique key over exactly ({}) and the whole of these columns; it has {has}",
                wanted.join(", ")
            )));
        }
        for column in table.columns.iter().filter(|column| wanted.contains(&column.name)) {
            let Some(collation) = &column.collation else { continue };
            let field = self.stream.schema().fields().iter().find(|field| field.name() == column.name);
            if field.is_some_and(|field| self.wider(field, column, table).is_err()) {
                // No text belongs there: that is said when its columns are looked at.
                continue;
            }
            if column.charset.as_deref() == Some("utf8mb4") && is_exact(connection, collation).await? {
                continue;
            }
            return Err(self.differs(format!(
                "key column {:?} of the target table has the collation {collation}, which takes different keys for the same (as \"abc\", \"ABC\" and \"abc \" may be): {}",
                column.name,
                self.respelled(connection, column, &format!("CHARACTER SET utf8mb4 COLLATE {}", self.server.exact)).await?
            )));
        }
        Ok(())
    }

    /// Refuses a column for texts that holds not every letter.
    async fn check_letters(&self, connection: &mut MySqlConnection, field: &Field, column: &Column) -> Result<()> {
        let is_text = matches!(field.kind(), Kind::Text | Kind::Json) && column.collation.is_some();
        if !is_text || column.charset.as_deref() == Some("utf8mb4") {
            return Ok(());
        }
        Err(self.differs(format!(
            "column {:?} of the target table holds not every letter, since its character set is {}: {}",
            column.name,
            column.charset.as_deref().unwrap_or("unknown"),
            self.respelled(connection, column, "CHARACTER SET utf8mb4").await?
        )))
    }

    /// The change that gives a column these letters, and leaves all else as it is.
    async fn respelled(&self, connection: &mut MySqlConnection, column: &Column, letters: &str) -> Result<String> {
        let rest = column.rest_of_definition(connection, self.stream.name(), &name(self.stream.name())?).await?;
        let (table, written) = (backticked(self.stream.name()), &column.written);
        let rest = without_letters(&rest);
        Ok(format!("ALTER TABLE {table} MODIFY COLUMN {} {written} {letters}{rest}", backticked(&column.name)))
    }

    /// The type the column must get so that it holds every value of the field; nothing, where it does.
    fn wider(&self, field: &Field, column: &Column, table: &Table) -> Result<Option<String>> {
        if column.computed || column.moving {
            return Err(self.differs(format!(
                "column {:?} is {} by the target table: leave it out of the stream, or make it a plain one",
                column.name,
                if column.computed { "computed" } else { "changed on every update" }
            )));
        }
        let wanted = plain_type(field.kind());
        let (declared, key) = (column.declared.as_str(), self.is_key(field.name()));
        let refused = || {
            Err(self.differs(format!(
                "column {:?} of the target table is declared {:?}, which cannot hold every {}; make it {wanted:?} there, or declare in the stream what the table has",
                column.name,
                column.written,
                field.kind()
            )))
        };
        let to = || Ok(Some(wanted.clone()));
        let is = |prefixes: &[&str]| prefixes.iter().any(|prefix| declared.starts_with(prefix));
        // What is in an index must stay as short as it is. A text that is longer is refused there, not cut.
        let indexed = || table.indexes.iter().any(|index| index.columns.contains(&column.name));
        match field.kind() {
            Kind::Text | Kind::Json => match declared {
                _ if key && is(&["varchar(", "varbinary("]) => Ok(None),
                "longtext" if !key => Ok(None),
                _ if !key && is(&["varchar(", "tinytext", "text", "mediumtext"]) => {
                    if indexed() {
                        Ok(None)
                    } else {
                        to()
                    }
                }
                _ => refused(),
            },
            Kind::Bytes => match declared {
                _ if key && is(&["varbinary("]) => Ok(None),
                "longblob" if !key => Ok(None),
                _ if !key && is(&["varbinary(", "tinyblob", "blob", "mediumblob"]) => {
                    if indexed() {
                        Ok(None)
                    } else {
                        to()
                    }
                }
                _ => refused(),
            },
            _ if declared == wanted => Ok(None),
            Kind::Bool if declared == "tinyint" => Ok(None),
            Kind::Int if matches!(declared, "int" | "mediumint" | "smallint" | "tinyint" | "tinyint(1)") => to(),
            Kind::UInt if declared.ends_with("int unsigned") => to(),
            Kind::Float if declared == "float" => to(),
            Kind::Timestamp if declared.starts_with("datetime") => to(),
            Kind::UInt => match digits(declared) {
                Some((has, 0)) if has >= 20 => Ok(None),
                _ => refused(),
            },
            Kind::Decimal { precision, scale } => match digits(declared) {
                Some((has, fraction)) if fraction >= scale && has - fraction >= precision - scale => Ok(None),
                Some((has, fraction)) if fraction <= scale && has - fraction <= precision - scale => to(),
                _ => refused(),
            },
            _ => refused(),
        }
    }

    fn differs(&self, what: String) -> Error {
        differs(self.stream, what)
    }
}

/// `decimal(12,2)`: all digits, and those after the point.
fn digits(declared: &str) -> Option<(u8, u8)> {
    let (precision, scale) = declared.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
    Some((precision.parse().ok()?, scale.parse().ok()?))
}

/// What stands behind the letters in a column's definition.
fn without_letters(rest: &str) -> &str {
    [" CHARACTER SET ", " COLLATE "].into_iter().fold(rest, |rest, word| match rest.strip_prefix(word) {
        Some(named) => named.find(' ').map_or("", |end| &named[end..]),
        None => rest,
    })
}

/// A name as it is quoted in a session of default settings, for statements that a person runs.
fn backticked(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}
