//! A table under test on each database: how it is made, how it is reached, and what it holds when all is over.
//!
//! It is looked at through the databases' own clients, not through our code.

use std::net::SocketAddr;

use sync_core::Value;
use sync_test_servers::Database;
use sync_tests::history::{change, head};

/// What stands in the table after the changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyed {
    /// One row for each id.
    ById,
    /// One row for each change.
    Not,
}

/// The table `records`, and a log of every effective write that triggers keep: a keyed upsert could hide a second one.
pub(super) struct Target {
    place: Place,
    keyed: Keyed,
}

enum Place {
    Sqlite(tempfile::TempDir),
    Postgres(Database),
    MariaDb(Database),
}

impl Target {
    pub(super) async fn sqlite() -> Self {
        Self::made(Place::Sqlite(tempfile::tempdir().unwrap()), Keyed::ById).await
    }

    pub(super) async fn postgres(database: Database, keyed: Keyed) -> Self {
        Self::made(Place::Postgres(database), keyed).await
    }

    pub(super) async fn mariadb(database: Database, keyed: Keyed) -> Self {
        Self::made(Place::MariaDb(database), keyed).await
    }

    async fn made(place: Place, keyed: Keyed) -> Self {
        let key = if keyed == Keyed::ById { "PRIMARY KEY" } else { "" };
        let create = match &place {
            Place::Sqlite(_) => format!(
                "PRAGMA journal_mode = WAL;
                 CREATE TABLE records (id INTEGER NOT NULL {key}, version INTEGER, note TEXT);
                 CREATE TABLE log (id INTEGER, version INTEGER);
                 CREATE TRIGGER inserted AFTER INSERT ON records BEGIN INSERT INTO log VALUES (NEW.id, NEW.version); END;
                 CREATE TRIGGER updated AFTER UPDATE ON records BEGIN INSERT INTO log VALUES (NEW.id, NEW.version); END;
                 CREATE TRIGGER deleted AFTER DELETE ON records BEGIN INSERT INTO log VALUES (OLD.id, -1); END;"
            ),
            Place::Postgres(_) => format!(
                "CREATE TABLE records (id bigint NOT NULL {key}, version bigint, note text);
                 CREATE TABLE log (id bigint, version bigint);
                 CREATE FUNCTION written() RETURNS trigger LANGUAGE plpgsql AS
                     'BEGIN INSERT INTO log VALUES (NEW.id, NEW.version); RETURN NULL; END';
                 CREATE FUNCTION deleted() RETURNS trigger LANGUAGE plpgsql AS
                     'BEGIN INSERT INTO log VALUES (OLD.id, -1); RETURN NULL; END';
                 CREATE TRIGGER written AFTER INSERT OR UPDATE ON records FOR EACH ROW EXECUTE FUNCTION written();
                 CREATE TRIGGER deleted AFTER DELETE ON records FOR EACH ROW EXECUTE FUNCTION deleted();"
            ),
            Place::MariaDb(_) => format!(
                "CREATE TABLE records (id bigint NOT NULL {key}, version bigint, note longtext CHARACTER SET utf8mb4);
                 CREATE TABLE log (id bigint, version bigint);
                 CREATE TRIGGER inserted AFTER INSERT ON records FOR EACH ROW INSERT INTO log VALUES (NEW.id, NEW.version);
                 CREATE TRIGGER updated AFTER UPDATE ON records FOR EACH ROW INSERT INTO log VALUES (NEW.id, NEW.version);
                 CREATE TRIGGER deleted AFTER DELETE ON records FOR EACH ROW INSERT INTO log VALUES (OLD.id, -1);"
            ),
        };
        let target = Self { place, keyed };
        target.ask(&create).await;
        target
    }

    /// The address of the server, if there is one.
    pub(super) fn server(&self) -> Option<SocketAddr> {
        self.database().map(|database| SocketAddr::new(database.host().parse().unwrap(), database.port()))
    }

    /// As engine and sinks read it.
    pub(super) fn url(&self) -> String {
        match &self.place {
            Place::Sqlite(folder) => format!("sqlite:{}", folder.path().join("killed.db").display()),
            Place::Postgres(database) | Place::MariaDb(database) => database.url(),
        }
    }

    /// The same database through another port, and in plain: a proxy has to see what goes by.
    pub(super) fn url_through(&self, port: u16) -> String {
        let plain = if matches!(self.place, Place::Postgres(_)) { "sslmode=disable" } else { "ssl-mode=DISABLED" };
        let database = self.database().unwrap();
        let direct = format!("@{}:{}/", database.host(), database.port());
        format!("{}?{plain}", database.url().replace(&direct, &format!("@127.0.0.1:{port}/")))
    }

    fn database(&self) -> Option<&Database> {
        match &self.place {
            Place::Sqlite(_) => None,
            Place::Postgres(database) | Place::MariaDb(database) => Some(database),
        }
    }

    async fn ask(&self, sql: &str) -> Vec<String> {
        let text = match (&self.place, self.database()) {
            (Place::Sqlite(folder), _) => shell(&folder.path().join("killed.db"), sql),
            (_, Some(database)) => database.client(sql).await.unwrap(),
            (_, None) => unreachable!("all others are servers"),
        };
        text.lines().map(str::to_owned).collect()
    }

    /// Runs a statement, where there is something to run it on.
    pub(super) async fn tell(&self, sql: &str) {
        if let Some(database) = self.database() {
            let _ = database.client(sql).await;
        }
    }

    /// How many units have become durable.
    pub(super) async fn units(&self) -> u64 {
        self.ask("SELECT seq FROM _sync_checkpoint").await.first().map_or(0, |units| units.parse().unwrap())
    }

    /// Exactly the source's rows, by value.
    pub(super) async fn rows_differ(&self, generation: u64) -> Option<String> {
        let mut rows: Vec<Vec<Value>> = (0..head(generation)).map(change).collect();
        // Equal ids stay in the order of the changes, of which the last one counts.
        rows.sort_by_key(|row| id(row));
        if self.keyed == Keyed::ById {
            rows.reverse();
            rows.dedup_by_key(|row| id(row));
            rows.reverse();
        }
        let expected = rows.iter().map(|row| line(row)).collect::<Vec<_>>();
        difference("rows", &expected, &self.ask("SELECT id, version, note FROM records ORDER BY id, version").await)
    }

    /// One effective write for each change, and no other.
    pub(super) async fn writes_differ(&self, generation: u64) -> Option<String> {
        let expected = (0..head(generation)).map(|position| line(&change(position)[..2])).collect::<Vec<_>>();
        difference("writes", &expected, &self.ask("SELECT id, version FROM log ORDER BY version, id").await)
    }

    pub(super) async fn assert_nothing_is_lost_or_doubled(&self, generation: u64) {
        assert_eq!(self.rows_differ(generation).await, None);
        assert_eq!(self.writes_differ(generation).await, None);
    }
}

fn difference(what: &str, expected: &[String], found: &[String]) -> Option<String> {
    if expected == found {
        return None;
    }
    let first = expected.iter().zip(found).find(|(expected, found)| expected != found);
    Some(format!("{} {what} instead of {}, the first to differ: {first:?}", found.len(), expected.len()))
}

fn id(row: &[Value]) -> i64 {
    match row[0] {
        Value::Int(id) => id,
        _ => unreachable!("ids are integers"),
    }
}

/// As the clients of all three databases show a row.
fn line(row: &[Value]) -> String {
    let texts = row.iter().map(|value| match value {
        Value::Int(number) => number.to_string(),
        Value::Text(text) => text.to_string(),
        other => unreachable!("{other:?} is in no row"),
    });
    texts.collect::<Vec<_>>().join("\t")
}

/// What a command line client does, for SQLite.
fn shell(file: &std::path::Path, sql: &str) -> String {
    let here = rusqlite::Connection::open(file).unwrap();
    here.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
    if !sql.starts_with("SELECT") {
        here.execute_batch(sql).unwrap();
        return String::new();
    }
    let mut read = here.prepare(sql).unwrap();
    let columns = read.column_count();
    let rows = read.query_map([], |row| {
        let texts = (0..columns).map(|column| {
            Ok(match row.get_ref(column)? {
                rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                other => other.as_str()?.to_owned(),
            })
        });
        Ok(texts.collect::<rusqlite::Result<Vec<_>>>()?.join("\t"))
    });
    rows.unwrap().map(Result::unwrap).collect::<Vec<_>>().join("\n")
}
