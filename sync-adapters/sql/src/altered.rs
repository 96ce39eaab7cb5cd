//! What a sink has changed in tables that were there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sync_core::model::StreamSpec;
use sync_core::sink::Altered;

/// What is being changed in each table. A change whose answer is lost is told by the attempt that finds it done.
#[derive(Debug, Clone, Default)]
pub(crate) struct Alterations(Arc<Mutex<HashMap<String, Altered>>>);

impl Alterations {
    /// Notes a change that is about to be made, or to be committed.
    pub(crate) fn begin(&self, stream: &StreamSpec, altered: Altered) {
        if altered == Altered::default() {
            return;
        }
        let Altered { added, widened } = altered;
        tracing::info!(table = stream.name(), ?added, ?widened, "sync: columns of the target are changed");
        let mut all = self.all();
        let under_way = all.entry(stream.name().to_owned()).or_default();
        for (known, columns) in [(&mut under_way.added, added), (&mut under_way.widened, widened)] {
            let new: Vec<String> = columns.into_iter().filter(|column| !known.contains(column)).collect();
            known.extend(new);
        }
    }

    /// The table is as it should be: what was changed until then.
    pub(crate) fn end(&self, stream: &StreamSpec) -> Altered {
        self.all().remove(stream.name()).unwrap_or_default()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Altered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(columns: &[&str]) -> Altered {
        Altered { added: columns.iter().map(|&column| column.to_owned()).collect(), ..Altered::default() }
    }

    #[test]
    fn a_change_whose_answer_is_lost_is_told_by_the_attempt_that_finds_it_done_and_once() {
        let (alterations, orders) = (Alterations::default(), StreamSpec::new("orders").key(["id"]));
        alterations.begin(&orders, added(&["note"]));
        // The next attempt finds one of them there, and adds the other.
        alterations.begin(&orders, added(&["note", "city"]));
        assert_eq!(alterations.end(&orders), added(&["note", "city"]));
        assert_eq!(alterations.end(&orders), Altered::default());
    }
}
