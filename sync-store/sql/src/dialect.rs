//! Where the databases differ in their words.

/// A way to write SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "a dialect is spoken only where its feature is enabled")]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
    /// MySQL and MariaDB, in the words that both understand.
    MySql,
}

impl Dialect {
    /// The text with its marks filled in:
    ///
    /// | Mark | Stands for |
    /// |---|---|
    /// | `?` | the next bound value; so no text holds a question mark otherwise |
    /// | `{now}` | milliseconds since 1970 by the database's clock, at the moment the row is looked at and not when the transaction or statement began: it may have waited for a lock |
    /// | `{lock}` | nobody else may change or lock the row before the transaction ends |
    /// | `{key}` | the type of names and ids: compared and sorted byte by byte, so that `a`, `A` and `a ` are three |
    /// | `{number}`, `{text}` | the types of whole numbers of 64 bits and of long texts |
    /// | `{place}` | a column that numbers the rows as they come |
    /// | `{table}` | what a table's declaration ends with |
    /// | `{note}`, `{noted}` | before the value in brackets that `token` is set to in one row, and at the end of the statement: it says that value then |
    pub(crate) fn render(self, neutral: &str) -> String {
        let mut text = String::with_capacity(neutral.len() + 64);
        let mut bound = 0;
        let mut rest = neutral;
        while let Some(at) = rest.find(['?', '{']) {
            text.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix('?') {
                bound += 1;
                match self {
                    Self::Postgres => text.push_str(&format!("${bound}")),
                    Self::Sqlite | Self::MySql => text.push('?'),
                }
                rest = after;
            } else {
                let (mark, after) = rest[1..].split_once('}').unwrap_or((&rest[1..], ""));
                text.push_str(self.word(mark));
                rest = after;
            }
        }
        text.push_str(rest);
        text
    }

    fn word(self, mark: &str) -> &'static str {
        let [sqlite, postgres, mysql] = match mark {
            "now" => [
                "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
                "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
                // The session's time zone is UTC, which no hour comes twice in.
                "CAST(UNIX_TIMESTAMP(SYSDATE(3)) * 1000 AS SIGNED)",
            ],
            // SQLite's transactions that write have the whole file to themselves.
            "lock" => ["", " FOR UPDATE", " FOR UPDATE"],
            // MySQL's text collations compare without regard to spaces at the end, or exist on one of the two only.
            "key" => ["TEXT", "TEXT COLLATE \"C\"", "VARBINARY(512)"],
            "number" => ["INTEGER", "BIGINT", "BIGINT"],
            "text" => ["TEXT", "TEXT", "LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"],
            "place" => [
                "INTEGER PRIMARY KEY AUTOINCREMENT",
                "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
                "BIGINT AUTO_INCREMENT PRIMARY KEY",
            ],
            "table" => [" STRICT", "", " ENGINE = InnoDB"],
            // MySQL returns no rows from a change, but a number with its answer.
            "note" => ["", "", "LAST_INSERT_ID"],
            "noted" => [" RETURNING token", " RETURNING token", ""],
            unknown => {
                debug_assert!(false, "no such mark: {unknown}");
                [""; 3]
            }
        };
        match self {
            Self::Sqlite => sqlite,
            Self::Postgres => postgres,
            Self::MySql => mysql,
        }
    }

    /// Inserts a row, or changes the one with its key. In neutral form, but for the words that differ.
    pub(crate) fn upsert(self, table: &str, key: &[&str], columns: &[&str]) -> String {
        let all: Vec<&str> = key.iter().chain(columns).copied().collect();
        let changes = |new: &dyn Fn(&str) -> String| {
            columns.iter().map(|column| format!("{column} = {}", new(column))).collect::<Vec<_>>().join(", ")
        };
        let otherwise = match self {
            Self::Sqlite | Self::Postgres => {
                let set = changes(&|column| format!("excluded.{column}"));
                format!("ON CONFLICT ({}) DO UPDATE SET {set}", key.join(", "))
            }
            // Not `AS new`, which MariaDB does not know.
            Self::MySql => format!("ON DUPLICATE KEY UPDATE {}", changes(&|column| format!("VALUES({column})"))),
        };
        format!("INSERT INTO {table} ({}) VALUES ({}) {otherwise}", all.join(", "), vec!["?"; all.len()].join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Dialect; 3] = [Dialect::Sqlite, Dialect::Postgres, Dialect::MySql];

    #[test]
    fn values_are_numbered_where_the_database_wants_it() {
        let [sqlite, postgres, mysql] = ALL.map(|dialect| dialect.render("a = ? AND b = ?{lock}"));
        assert_eq!(sqlite, "a = ? AND b = ?");
        assert_eq!(postgres, "a = $1 AND b = $2 FOR UPDATE");
        assert_eq!(mysql, "a = ? AND b = ? FOR UPDATE");
    }

    #[test]
    fn a_change_says_the_token_that_it_set_in_every_dialect() {
        let text = "UPDATE t SET token = {note}(token + 1) WHERE a = ?{noted}";
        let [sqlite, postgres, mysql] = ALL.map(|dialect| dialect.render(text));
        assert_eq!(sqlite, "UPDATE t SET token = (token + 1) WHERE a = ? RETURNING token");
        assert_eq!(postgres, "UPDATE t SET token = (token + 1) WHERE a = $1 RETURNING token");
        assert_eq!(mysql, "UPDATE t SET token = LAST_INSERT_ID(token + 1) WHERE a = ?");
    }

    #[test]
    fn a_row_takes_the_place_of_the_one_with_its_key_in_every_dialect() {
        let [sqlite, postgres, mysql] = ALL.map(|dialect| dialect.upsert("t", &["a", "b"], &["c", "d"]));
        let standard = "INSERT INTO t (a, b, c, d) VALUES (?, ?, ?, ?) ON CONFLICT (a, b) DO UPDATE SET c = excluded.c, d = excluded.d";
        assert_eq!([sqlite, postgres], [standard; 2]);
        assert!(mysql.ends_with("ON DUPLICATE KEY UPDATE c = VALUES(c), d = VALUES(d)"), "{mysql}");
    }
}
