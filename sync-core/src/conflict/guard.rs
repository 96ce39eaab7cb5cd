//! What each guard lets through: one reading of it for every sink.

use std::sync::Arc;

use crate::Result;
use crate::model::{Change, Changes, Op, Row, Rows, StreamSpec, Value};
use crate::sink::Guard;

use super::order::{by_version, is_delete, order_changes};

impl Guard {
    /// Whether a change may replace the row that exists under its key.
    ///
    /// It says nothing about difference: a sink that finds both rows equal counts the change as unchanged and need not
    /// ask. Where no row exists there is nothing to guard.
    ///
    /// * [`Guard::Always`] lets everything through, [`Guard::Never`] nothing.
    /// * [`Guard::NotOlder`] lets a version through that is equal or higher; a row without version is the lowest. A
    ///   delete *without* version passes: many sources cannot version a delete, hand it over in the order it happened, and a
    ///   delete that never wins would keep rows for ever.
    /// * [`Guard::Newer`] lets through what stands higher in [`order_changes`]. There a delete
    ///   without version is the lowest, or replicas could not agree.
    pub fn admits(self, stream: &StreamSpec, existing: Row<'_>, incoming: Change<'_>) -> bool {
        self.replaces(stream, Change::upsert(existing), incoming)
    }

    /// Whether the later of two changes of one key stands for both, when neither is written yet.
    ///
    /// The same rules as for [`Guard::admits`], except that the earlier one may be a delete.
    pub fn replaces(self, stream: &StreamSpec, earlier: Change<'_>, later: Change<'_>) -> bool {
        match self {
            Self::Always => true,
            Self::NotOlder => {
                let unversioned_delete = is_delete(later) && stream.version_of(later.row()).is_none();
                unversioned_delete || by_version(stream, later.row(), earlier.row()).is_ge()
            }
            Self::Newer => order_changes(stream, later, earlier).is_gt(),
            Self::Never => false,
        }
    }

    /// What two changes of one key come to, one after the other, when neither is written yet: the one that stands for both,
    /// onto the columns of the earlier one that it does not name. What was deleted lends nothing: the row begins anew.
    ///
    /// # Errors
    /// `Internal` when the rows are none of the stream.
    pub fn in_turn(self, stream: &StreamSpec, earlier: Change<'_>, later: Change<'_>) -> Result<Changes> {
        let replaces = self.replaces(stream, earlier, later);
        let stands = if replaces { later } else { earlier };
        let (mut values, mut mark) = (stands.to_values(), stands.mark().cloned().unwrap_or_default());
        if let (true, Op::Upsert, Some(fields)) = (replaces, later.op(), later.fields()) {
            mark.fields = match earlier.op() {
                Op::Delete => None,
                Op::Upsert => {
                    values = later.onto(Some(earlier.row()));
                    earlier.fields().map(|earlier| earlier.iter().chain(fields.iter()).collect())
                }
            };
        }
        let mut rows = Rows::new(Arc::clone(stream.schema()));
        rows.push(values.iter().map(Value::as_ref))?;
        Ok(Changes::marked(rows, vec![mark]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Mark;

    fn orders() -> StreamSpec {
        StreamSpec::new("orders").key(["id"]).int("version").version("version").text("note").text("place")
    }

    fn change(version: i64, note: &str, op: Op, fields: Option<&[usize]>) -> Changes {
        let mut rows = Rows::new(Arc::clone(orders().schema()));
        let values = [Value::Int(1), version.into(), note.into(), "here".into()];
        rows.push(values.iter().map(Value::as_ref)).expect("a row of the stream");
        let fields = fields.map(|fields| fields.iter().copied().collect());
        Changes::marked(rows, vec![Mark { op, fields, ..Mark::default() }])
    }

    fn in_turn(earlier: &Changes, later: &Changes) -> (Value, Option<Vec<usize>>) {
        let both = Guard::NotOlder.in_turn(&orders(), earlier.at(0), later.at(0)).expect("rows of the stream");
        let fields = both.at(0).fields().map(|fields| fields.iter().collect());
        (both.at(0).to_values().swap_remove(2), fields)
    }

    #[test]
    fn a_change_of_some_fields_stands_on_the_whole_row_before_it() {
        let (whole, partial) =
            (change(1, "whole", Op::Upsert, None), change(2, "not meant", Op::Upsert, Some(&[1, 3])));
        assert_eq!(in_turn(&whole, &partial), ("whole".into(), None));
    }

    #[test]
    fn two_changes_of_some_fields_name_the_fields_of_both() {
        let (one, other) = (change(1, "one", Op::Upsert, Some(&[1, 2])), change(2, "other", Op::Upsert, Some(&[1, 3])));
        assert_eq!(in_turn(&one, &other), ("one".into(), Some(vec![1, 2, 3])));
    }

    #[test]
    fn what_was_deleted_lends_nothing_and_what_is_older_changes_nothing() {
        let (deleted, partial) = (change(2, "gone", Op::Delete, None), change(3, "anew", Op::Upsert, Some(&[1, 2])));
        assert_eq!(in_turn(&deleted, &partial), ("anew".into(), None));
        let older = change(1, "older", Op::Upsert, None);
        assert_eq!(in_turn(&partial, &older), ("anew".into(), Some(vec![1, 2])));
    }
}
