//! What becomes of a row, decided before anything is written.

use std::sync::Arc;

use super::table::Held;
use crate::detect::Difference;
use crate::model::{Changes, Mark, Op, Outcome, Rows, StreamSpec, Value};
use crate::sink::{Guard, WriteMode};

/// What a write or a publish asks of every row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) mode: WriteMode,
    pub(super) guard: Guard,
    pub(super) difference: Difference,
}

impl Rules {
    /// What becomes of an incoming row. Only `Created`, `Updated` and `Deleted` write.
    pub(super) fn outcome(self, stream: &StreamSpec, existing: Option<&Held>, op: Op, values: &[Value]) -> Outcome {
        let Some(existing) = existing else {
            return if op == Op::Delete { Outcome::Unchanged } else { Outcome::Created };
        };
        if self.mode == WriteMode::InsertOnly {
            return Outcome::Existing;
        }
        if op == Op::Upsert && !self.differs(stream, existing, values) {
            return Outcome::Unchanged;
        }
        match (admits(self.guard, stream, &existing.values, op, values), self.guard) {
            (false, Guard::Never) => Outcome::Existing,
            (false, _) => Outcome::Stale,
            (true, _) if op == Op::Delete => Outcome::Deleted,
            (true, _) => Outcome::Updated,
        }
    }

    /// A row that was marked as missing and is named again always differs: the mark goes.
    fn differs(self, stream: &StreamSpec, existing: &Held, values: &[Value]) -> bool {
        existing.missing_since.is_some()
            || match (self.difference, stream.version_index()) {
                (Difference::Version, Some(version)) if !values[version].is_null() => {
                    existing.values[version] != values[version]
                }
                _ => existing.values != values,
            }
    }
}

/// Asks the one reading of guards that all sinks share. Values that fit no row are let through: the write refuses them.
fn admits(guard: Guard, stream: &StreamSpec, existing: &[Value], op: Op, incoming: &[Value]) -> bool {
    let mut rows = Rows::new(Arc::clone(stream.schema()));
    let fits = [existing, incoming].into_iter().try_for_each(|values| rows.push(values.iter().map(Value::as_ref)));
    let changes = Changes::marked(rows, vec![Mark::default(), Mark { op, ..Mark::default() }]);
    fits.is_err() || guard.admits(stream, changes.at(0).row(), changes.at(1))
}
