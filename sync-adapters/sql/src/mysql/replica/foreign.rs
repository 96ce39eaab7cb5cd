//! Foreign keys as they are declared, and which of them could not be followed.

use sqlx::MySqlConnection;
use sqlx::Row as _;
use sync_core::{Error, ErrorKind, Result};

use super::cascade::Edges;
use super::layout::Layout;
use crate::mysql::connection::is_exact;
use crate::mysql::error::failed;
use crate::mysql::table;

/// A foreign key as it was declared.
#[derive(Debug)]
pub(super) struct Foreign {
    pub(super) child: String,
    /// Nothing, when it is a table of another database.
    pub(super) parent: Option<String>,
    name: String,
    /// The child's columns.
    pub(super) columns: Vec<String>,
    /// The columns of the parent that they name.
    pub(super) referenced: Vec<String>,
    pub(super) on_delete: Acts,
    pub(super) on_update: Acts,
}

/// What becomes of a row when the one it hangs on goes or changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Acts {
    Nothing,
    Follows,
    Empties,
}

impl Acts {
    fn of(rule: &str) -> Self {
        match rule {
            "CASCADE" => Self::Follows,
            "SET NULL" | "SET DEFAULT" => Self::Empties,
            _ => Self::Nothing,
        }
    }
}

impl Foreign {
    /// The index of the child's book by which the rows are found that hang on one. Without it, a small table would be read as a
    /// whole, and what is read is locked.
    pub(super) fn index(&self) -> String {
        format!("fk_{}", &blake3::hash(self.columns.join("\0").as_bytes()).to_hex()[..16])
    }
}

/// The foreign keys of this database.
pub(super) async fn foreign_keys(connection: &mut MySqlConnection) -> Result<Vec<Foreign>> {
    let unread = |cause| failed("the foreign keys cannot be looked at", cause);
    let sql = "SELECT k.TABLE_NAME, k.CONSTRAINT_NAME, k.COLUMN_NAME, k.REFERENCED_TABLE_SCHEMA = DATABASE(),
                      k.REFERENCED_TABLE_NAME, k.REFERENCED_COLUMN_NAME, r.DELETE_RULE, r.UPDATE_RULE
               FROM information_schema.KEY_COLUMN_USAGE k JOIN information_schema.REFERENTIAL_CONSTRAINTS r
                 ON r.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA AND r.CONSTRAINT_NAME = k.CONSTRAINT_NAME AND r.TABLE_NAME = k.TABLE_NAME
               WHERE k.TABLE_SCHEMA = DATABASE() AND r.CONSTRAINT_SCHEMA = DATABASE() AND k.REFERENCED_TABLE_NAME IS NOT NULL
               ORDER BY k.TABLE_NAME, k.CONSTRAINT_NAME, k.ORDINAL_POSITION";
    let rows = sqlx::raw_sql(sql).fetch_all(connection).await.map_err(unread)?;
    let mut all: Vec<Foreign> = Vec::new();
    for row in rows {
        let text = |at: usize| row.try_get_unchecked::<String, _>(at).map_err(unread);
        let (child, name) = (text(0)?, text(1)?);
        if all.last().is_none_or(|last| (&last.child, &last.name) != (&child, &name)) {
            let here = row.try_get_unchecked::<i64, _>(3).map_err(unread)? != 0;
            all.push(Foreign {
                parent: here.then(|| text(4)).transpose()?,
                columns: Vec::new(),
                referenced: Vec::new(),
                on_delete: Acts::of(&text(6)?),
                on_update: Acts::of(&text(7)?),
                child,
                name,
            });
        }
        if let Some(last) = all.last_mut() {
            last.columns.push(text(2)?);
            last.referenced.push(text(5)?);
        }
    }
    Ok(all)
}

impl Edges<'_> {
    /// Refuses what could not be noticed.
    ///
    /// # Errors
    /// `Schema`, with the rule and the remedy.
    pub(super) async fn check(&self, connection: &mut MySqlConnection) -> Result<()> {
        for rule in self.foreign {
            let Some(child) = self.layout(&rule.child) else { continue };
            if rule.on_delete == Acts::Nothing && rule.on_update == Acts::Nothing {
                continue;
            }
            let refused = |what: String| {
                let error = Error::new(ErrorKind::Schema, what).with("table", child.name());
                Err(error.with("constraint", rule.name.as_str()))
            };
            let goes = rule.on_delete == Acts::Follows;
            let declared = rule.columns.iter().filter(|column| child.field(column).is_some()).count();
            if declared == 0 && !goes {
                continue;
            }
            let parent = rule.parent.as_deref().and_then(|parent| self.layout(parent));
            let Some(parent) = parent else {
                return refused(format!(
                    "rows of this table go or change with those of {}, which takes no part, and MariaDB fires no triggers for that: declare that table as well, or let the rule be RESTRICT",
                    rule.parent
                        .as_deref()
                        .map_or_else(|| "a table of another database".to_owned(), |name| format!("{name:?}")),
                ));
            };
            let missing = rule.columns.iter().map(|column| (child, column));
            let missing = missing.chain(rule.referenced.iter().map(|column| (parent, column)));
            if let Some((layout, column)) = missing.into_iter().find(|(layout, column)| layout.field(column).is_none())
            {
                return refused(format!(
                    "rows of this table go or change with those of {:?}, and MariaDB fires no triggers for that: declare column {column:?} of table {:?}, by which they are found",
                    parent.name(),
                    layout.name()
                ));
            }
            self.check_collation(connection, rule, child).await?;
            if goes && let Some(round) = self.round(&rule.child) {
                return refused(format!(
                    "rows go with each other in a circle of tables ({}), which triggers of MariaDB cannot follow: let one of the rules be RESTRICT",
                    round.join(", ")
                ));
            }
        }
        Ok(())
    }

    async fn check_collation(&self, connection: &mut MySqlConnection, rule: &Foreign, child: &Layout) -> Result<()> {
        let Some(there) = table::look(connection, child.name()).await? else { return Ok(()) };
        for column in there.columns.iter().filter(|column| rule.columns.contains(&column.name)) {
            let Some(collation) = &column.collation else { continue };
            if !is_exact(connection, collation).await? {
                let what = format!(
                    "rows of this table go or change with others, which are found by column {:?}, and its collation {collation} takes different texts for the same: give both columns of the rule the collation {}",
                    column.name, child.exact
                );
                return Err(Error::new(ErrorKind::Schema, what)
                    .with("table", child.name())
                    .with("constraint", rule.name.as_str()));
            }
        }
        Ok(())
    }

    /// The tables by which rows of this one go with rows of itself, by way of others.
    fn round(&self, table: &str) -> Option<Vec<String>> {
        let mut open = vec![vec![table.to_owned()]];
        while let Some(path) = open.pop() {
            let last = path.last()?;
            let Some(layout) = self.layout(last) else { continue };
            for (rule, _) in self.of(layout, |rule| rule.on_delete).filter(|(rule, _)| rule.on_delete == Acts::Follows)
            {
                if rule.child == *last {
                    continue;
                }
                if rule.child == table {
                    return Some(path);
                }
                if !path.contains(&rule.child) {
                    open.push(path.iter().cloned().chain([rule.child.clone()]).collect());
                }
            }
        }
        None
    }
}
