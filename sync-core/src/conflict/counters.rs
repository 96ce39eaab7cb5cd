//! Counters: what both sides added is added up.

use std::sync::Arc;

use super::addition::{self, Sum};
use super::{Conflict, ConflictPolicy, MISSHAPEN, Resolution};
use crate::model::{Changes, Kind, Mark, Op, Row, Rows, StreamSpec, Value, ValueRef};
use crate::{Error, Result};

/// Treats some numeric columns as counters: existing + (incoming − base). All other columns go to another policy, which
/// sees both sides as if their counters were equal.
///
/// For stock and balances, where last-write-wins loses sales. Integers and decimals add exactly; nothing is rounded. A null
/// counts as zero on the existing side and in the base. The conflict is parked, with the column named, where
/// * the sum does not fit the column,
/// * the base is not known, so that nobody can tell what was added,
/// * a counter was emptied, which is not an addition,
/// * the column holds something that does not add exactly (floats, text).
///
/// *Laws.* Deterministic. Idempotent in that its outcome coming in again changes nothing. The *same* edit coming twice with
/// its old base adds twice: that each edit comes once is the promise of the engine (operation ids), not of a policy.
/// Additions commute, but the range of a column can be left on one path and not on another, so it is
/// [`Claim::Coordinated`](super::Claim::Coordinated).
///
/// *Delete against edit.* The other policy decides.
#[derive(Debug, Clone)]
pub struct Counters {
    columns: Vec<String>,
    others: Arc<dyn ConflictPolicy>,
}

impl Counters {
    /// These columns are counters; all others go to this policy.
    pub fn new<I: IntoIterator<Item: Into<String>>>(columns: I, others: impl ConflictPolicy + 'static) -> Self {
        Self { columns: columns.into_iter().map(Into::into).collect(), others: Arc::new(others) }
    }

    fn indices(&self, stream: &StreamSpec) -> Result<Vec<usize>, String> {
        let keys = stream.key_indices();
        let index = |name: &String| {
            let column = stream.schema().index(name).ok_or_else(|| format!("column {name:?} is not declared"))?;
            let kind = stream.schema().fields()[column].kind();
            if !matches!(kind, Kind::Int | Kind::UInt | Kind::Decimal { .. }) {
                return Err(format!("column {name:?} is declared as {kind}; a counter is an integer or a decimal"));
            }
            if keys.contains(&column) || stream.version_index() == Some(column) {
                return Err(format!("column {name:?} is part of the key or the version and cannot be a counter"));
            }
            Ok(column)
        };
        self.columns.iter().map(index).collect()
    }

    fn try_resolve(&self, conflict: &Conflict<'_>) -> Result<Resolution, String> {
        let columns = self.indices(conflict.stream)?;
        let sums = columns.iter().map(|&column| count(conflict, column)).collect::<Result<Vec<Value>, String>>()?;
        let (existing, incoming) = (conflict.existing, conflict.incoming.row());
        let third;
        let mut merged: Vec<ValueRef<'_>> = match self.others(conflict, &columns) {
            Resolution::KeepExisting => existing.values().collect(),
            Resolution::TakeIncoming => incoming.values().collect(),
            Resolution::Merge(row) if row.len() != incoming.values().len() => return Err(MISSHAPEN.to_owned()),
            Resolution::Merge(row) => {
                third = row;
                third.iter().map(Value::as_ref).collect()
            }
            Resolution::Park(reason) => return Ok(Resolution::Park(reason)),
        };
        for (&column, sum) in columns.iter().zip(&sums) {
            merged[column] = sum.as_ref();
        }
        Ok(conflict.merged(&merged))
    }

    /// What the other policy says when the counters are out of the picture.
    fn others(&self, conflict: &Conflict<'_>, counters: &[usize]) -> Resolution {
        let mut rows = Rows::new(Arc::clone(conflict.stream.schema()));
        let mut level = |row: Row<'_>| {
            let mut writer = rows.begin();
            for (column, value) in row.values().enumerate() {
                let value = if counters.contains(&column) { conflict.existing.at(column) } else { value };
                writer.set_unchecked(column, value);
            }
            writer.finish();
        };
        level(conflict.incoming.row());
        if let Some(base) = conflict.base {
            level(base);
        }
        let marks: Vec<Mark> = conflict.incoming.mark().cloned().into_iter().collect();
        let changes = if marks.is_empty() { Changes::upserts(rows) } else { Changes::marked(rows, marks) };
        let level = Conflict::new(conflict.stream, conflict.key, conflict.existing, changes.at(0));
        match conflict.base {
            Some(_) => self.others.resolve(&level.with_base(changes.rows().row(1))),
            None => self.others.resolve(&level),
        }
    }
}

/// What stands in a counter afterwards.
fn count(conflict: &Conflict<'_>, column: usize) -> Result<Value, String> {
    let existing = conflict.existing.at(column);
    let incoming = conflict.incoming.row().at(column);
    if conflict.incoming.fields().is_some_and(|fields| !fields.contains(column)) {
        return Ok(existing.to_owned());
    }
    let field = &conflict.stream.schema().fields()[column];
    let fault = |text: &str| Err(format!("counter {:?}: {text}", field.name()));
    let Some(base) = conflict.base else {
        if existing == incoming {
            return Ok(existing.to_owned());
        }
        return fault("what it was before the edit is not known, so nobody can tell what was added");
    };
    let base = base.at(column);
    if incoming == base {
        return Ok(existing.to_owned());
    }
    if incoming.is_null() {
        return fault("it was emptied, which is not an addition");
    }
    match addition::add_change(existing, base, incoming, field.kind()) {
        Sum::Exact(value) => Ok(value),
        Sum::Overflow => fault("the sum does not fit the column"),
        Sum::NotExact => fault("its value cannot be added exactly"),
    }
}

impl ConflictPolicy for Counters {
    fn resolve(&self, conflict: &Conflict<'_>) -> Resolution {
        if conflict.incoming.op() == Op::Delete {
            return self.others.resolve(conflict);
        }
        self.try_resolve(conflict).unwrap_or_else(Resolution::Park)
    }

    fn needs_version(&self) -> bool {
        self.others.needs_version()
    }

    /// `Config`, naming a column that is not declared, holds neither integers nor decimals, or is part of the key or version.
    fn check(&self, stream: &StreamSpec) -> Result<()> {
        self.others.check(stream)?;
        self.indices(stream)
            .map(drop)
            .map_err(|fault| Error::config(format!("counters: {fault}")).with("stream", stream.name()))
    }
}
