//! Staged rows, and the rows of a table that they do not name, in the words that all databases share.
//!
//! In them `s` is a staged row and `t` one of the target. Names stand in double quotes.

use sync_core::Result;
use sync_core::model::{Field, FieldSet, Outcome, StreamSpec, Tally};
use sync_core::sink::Publish;
use sync_core::state::StageName;
use sync_core::{Error, ErrorKind};

use crate::ident::quoted;

/// The longest name of a stream's column that stands in a stage as it is, bytes: with its prefix every database takes it.
const LONGEST: usize = 60;

/// A stream's column in a stage. With the prefix, no name that a stream declares means anything there; a hash stands for
/// names that would be too long.
pub(crate) fn plain_column(name: &str) -> String {
    if name.len() <= LONGEST {
        return format!("c_{name}");
    }
    format!("h_{}", &blake3::hash(name.as_bytes()).to_hex()[..40])
}

/// A stream's column in a stage, quoted.
pub(crate) fn column(name: &str) -> Result<String> {
    quoted(&plain_column(name))
}

/// Columns in a stage, quoted, separated by commas.
pub(crate) fn columns<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<String> {
    Ok(names.into_iter().map(column).collect::<Result<Vec<_>>>()?.join(", "))
}

/// The key columns in a stage.
pub(crate) fn key(stream: &StreamSpec) -> Result<String> {
    columns(stream.key_columns().iter().map(String::as_str))
}

/// What tells the stage of a stream from all others, as 24 hexadecimal digits.
pub(crate) fn id(stage: &StageName, stream: &StreamSpec) -> String {
    let both = blake3::hash(format!("{}\0{}", stage.as_str(), stream.name()).as_bytes());
    both.to_hex()[..24].to_owned()
}

/// The table that holds the staged rows of a stream.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn plain_table(stage: &StageName, stream: &StreamSpec) -> String {
    format!("_sync_stage_{}", id(stage, stream))
}

/// The names of the columns that a change names, as a stage keeps them: positions would not survive another declaration.
pub(crate) fn named(stream: &StreamSpec, fields: &FieldSet) -> String {
    let names = stream.schema().fields().iter().map(Field::name).enumerate();
    let names: Vec<&str> = names.filter(|(column, _)| fields.contains(*column)).map(|(_, name)| name).collect();
    serde_json::Value::from(names).to_string()
}

/// The columns that a staged change names.
///
/// # Errors
/// `Schema` when it is no list of names.
pub(crate) fn fields(stream: &StreamSpec, named: &str) -> Result<FieldSet> {
    let names: Vec<String> = serde_json::from_str(named)
        .map_err(|cause| Error::new(ErrorKind::Schema, "the stage was written by another release").caused_by(cause))?;
    Ok(names.iter().filter_map(|name| stream.schema().index(name)).collect())
}

/// A stage and its target.
pub(crate) struct Staged<'p> {
    pub(crate) publish: &'p Publish,
    /// The stage's table, quoted.
    pub(crate) stage: String,
    /// The stream's table, quoted.
    pub(crate) target: String,
}

impl Staged<'_> {
    /// The condition that `s` and `t` have one key.
    pub(crate) fn same_key(&self) -> Result<String> {
        let names = self.publish.stream.key_columns().iter();
        let parts = names.map(|name| Ok(format!("s.{} = t.{}", column(name)?, quoted(name)?)));
        Ok(parts.collect::<Result<Vec<_>>>()?.join(" AND "))
    }

    /// How many rows are staged.
    pub(crate) fn listed(&self) -> String {
        format!("SELECT count(*) FROM {}", self.stage)
    }

    /// How many keys they have.
    pub(crate) fn distinct(&self) -> Result<String> {
        Ok(format!("SELECT count(*) FROM (SELECT DISTINCT {} FROM {}) d", key(&self.publish.stream)?, self.stage))
    }

    /// How many of these the target has.
    pub(crate) fn present(&self) -> Result<String> {
        Ok(format!(
            "SELECT count(*) FROM (SELECT DISTINCT {} FROM {}) s WHERE EXISTS (SELECT 1 FROM {} t WHERE {})",
            key(&self.publish.stream)?,
            self.stage,
            self.target,
            self.same_key()?
        ))
    }

    /// Takes the mark from the rows that are staged.
    pub(crate) fn unmark(&self, mark: &str) -> Result<String> {
        Ok(format!(
            "UPDATE {} SET {mark} = NULL WHERE {mark} IS NOT NULL AND ({}) IN (SELECT {} FROM {})",
            self.target,
            crate::ident::list(self.publish.stream.key_columns().iter().map(String::as_str))?,
            key(&self.publish.stream)?,
            self.stage
        ))
    }

    /// Puts all staged rows into the target.
    pub(crate) fn fill(&self) -> Result<String> {
        let names = || self.publish.stream.schema().fields().iter().map(Field::name);
        Ok(format!(
            "INSERT INTO {} ({}) SELECT {} FROM {} ORDER BY {}",
            self.target,
            crate::ident::list(names())?,
            columns(names())?,
            self.stage,
            key(&self.publish.stream)?
        ))
    }

    /// What became of a key listing, of which so many rows, keys and keys of the target were counted, and of so many rows
    /// a mark taken.
    pub(crate) fn compared(listed: u64, distinct: u64, present: u64, unmarked: u64) -> Tally {
        let mut tally = Tally::new();
        tally.add(Outcome::Updated, unmarked);
        tally.add(Outcome::Unchanged, present.saturating_sub(unmarked));
        tally.add(Outcome::Missing, distinct.saturating_sub(present));
        tally.add(Outcome::Duplicate, listed.saturating_sub(distinct));
        tally
    }

    /// The rows in scope that are not staged; `scope` is a condition on `t`, and `mark` the column that marks what is
    /// missing, where rows are not deleted.
    pub(crate) fn gone(&self, scope: &str, mark: Option<String>) -> Result<Gone<'_>> {
        let unmarked = mark.as_ref().map_or_else(String::new, |mark| format!(" AND t.{mark} IS NULL"));
        let present = format!("{scope}{unmarked}");
        let condition = format!("{present} AND NOT EXISTS (SELECT 1 FROM {} s WHERE {})", self.stage, self.same_key()?);
        Ok(Gone { publish: self.publish, target: &self.target, present, condition, mark })
    }
}

/// Rows that are gone at the source: to be counted, and then deleted or marked unless they are too many.
pub(crate) struct Gone<'p> {
    publish: &'p Publish,
    target: &'p str,
    present: String,
    condition: String,
    mark: Option<String>,
}

impl Gone<'_> {
    /// How many rows are gone.
    pub(crate) fn count(&self) -> String {
        format!("SELECT count(*) FROM {} t WHERE {}", self.target, self.condition)
    }

    /// How many rows there are in scope, these included.
    pub(crate) fn count_present(&self) -> String {
        format!("SELECT count(*) FROM {} t WHERE {}", self.target, self.present)
    }

    /// What becomes of so many rows that are gone, of so many in scope, if nothing is to be written.
    pub(crate) fn withheld(&self, gone: u64, present: u64) -> Option<Tally> {
        let mut tally = Tally::new();
        if gone > 0 {
            if self.publish.most.allows(gone, present) {
                return None;
            }
            tally.add(Outcome::Withheld, gone);
        }
        Some(tally)
    }

    /// Marks the rows with the time, or deletes them with a statement that begins so.
    pub(crate) fn remove(&self, now: &str, delete: &str) -> String {
        match &self.mark {
            Some(mark) => format!("UPDATE {} AS t SET {mark} = {now} WHERE {}", self.target, self.condition),
            None => format!("{delete} {} AS t WHERE {}", self.target, self.condition),
        }
    }
}

/// Rows that are gone at the source and cannot be removed here. No row that came is at fault, but the tables are: those
/// that refer to them, if there are any.
pub(crate) fn kept_back(stream: &StreamSpec, error: Error, referring: &[String]) -> Error {
    let why = if referring.is_empty() {
        "a rule or a trigger of the table keeps them".to_owned()
    } else {
        format!("rows of {} refer to some of them: remove those first", referring.join(", "))
    };
    let what = format!(
        "rows that are gone at the source cannot be removed, since {why}, or declare the stream with `Absent::Mark` or `Absent::Keep`"
    );
    Error::new(ErrorKind::Schema, what).with("table", stream.name()).caused_by(error)
}
