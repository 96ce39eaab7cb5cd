//! What a sink remembers of its tables from one unit to the next.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use sync_core::model::StreamSpec;
use sync_core::sink::Step;
use sync_core::{Error, ErrorKind};

/// Tables of which something is true.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tables(Arc<Mutex<HashSet<String>>>);

impl Tables {
    pub(crate) fn has(&self, table: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(table)
    }

    pub(crate) fn note(&self, table: &str, it_is_so: bool) {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if it_is_so {
            tables.insert(table.to_owned());
        } else {
            tables.remove(table);
        }
    }
}

/// The streams whose tables these steps write, each once.
pub(crate) fn written(steps: &[Step]) -> impl Iterator<Item = &StreamSpec> {
    let mut tables = HashSet::new();
    let streams = steps.iter().filter_map(|step| match step {
        Step::Write(write) => Some(&*write.stream),
        Step::Publish(publish) => Some(&*publish.stream),
        _ => None,
    });
    streams.filter(move |stream| tables.insert(stream.name()))
}

/// Whether a unit must be tried again, because somebody else wrote the same rows.
pub(crate) fn is_conflict<T>(done: &sync_core::Result<T>) -> bool {
    done.as_ref().is_err_and(|error| error.kind() == ErrorKind::Conflict)
}

/// The declared types of a stream's columns, as the table has them.
pub(crate) type Shape = BTreeMap<String, String>;

/// What tables were like when a run began to write them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shapes(Arc<Mutex<HashMap<String, Shape>>>);

impl Shapes {
    pub(crate) fn note(&self, stream: &StreamSpec, shape: Shape) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(stream.name().to_owned(), shape);
    }

    /// Whether the table was looked at before the run began to write.
    pub(crate) fn knows(&self, stream: &StreamSpec) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(stream.name())
    }

    /// Refuses a table that somebody has changed since: a column that holds less now would bend what is written to it.
    ///
    /// # Errors
    /// `Schema`, with the difference.
    pub(crate) fn check(&self, stream: &StreamSpec, now: &Shape) -> sync_core::Result<()> {
        let shapes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(before) = shapes.get(stream.name()) else { return Ok(()) };
        let difference: Vec<String> = before
            .iter()
            .filter_map(|(column, before)| match now.get(column) {
                Some(now) if now == before => None,
                Some(now) => Some(format!("column {column:?} was {before:?} and is {now:?}")),
                None => Some(format!("column {column:?} ({before}) is gone")),
            })
            .collect();
        if difference.is_empty() {
            return Ok(());
        }
        let (difference, remedy) = if now.is_empty() {
            ("it is gone".to_owned(), "bring the table back, or run once with the option `full`, which makes it anew")
        } else {
            let remedy = "change it back, or run again: then the table is compared with the declaration anew";
            (difference.join(", "), remedy)
        };
        let what = format!("the table was changed while rows were being written to it: {difference}");
        Err(Error::new(ErrorKind::Schema, what).with_remedy(remedy).with("table", stream.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(columns: &[(&str, &str)]) -> Shape {
        columns.iter().map(|(name, declared)| ((*name).to_owned(), (*declared).to_owned())).collect()
    }

    #[test]
    fn a_table_that_was_changed_is_refused_with_the_difference() {
        let (shapes, stream) = (Shapes::default(), StreamSpec::new("orders").key(["id"]));
        shapes.check(&stream, &shape(&[])).expect("nothing is known of it");
        shapes.note(&stream, shape(&[("id", "bigint"), ("n", "text")]));
        shapes.check(&stream, &shape(&[("id", "bigint"), ("n", "text"), ("more", "text")])).expect("it holds no less");
        for (now, says) in [
            (shape(&[("id", "integer"), ("n", "text")]), "column \"id\" was \"bigint\" and is \"integer\""),
            (shape(&[("id", "bigint")]), "column \"n\" (text) is gone"),
            (shape(&[]), "it is gone"),
        ] {
            let error = shapes.check(&stream, &now).unwrap_err();
            assert!(error.kind() == ErrorKind::Schema && error.to_string().contains(says), "{error}");
        }
    }
}
