//! Columns that no record of a whole listing has a value for: most often a name or a place that is wrong.

use sync_core::json::Page;
use sync_core::model::Partition;

use crate::plan::StreamPlan;

/// What is still without a value.
#[derive(Debug)]
pub(crate) struct Unseen {
    columns: Vec<usize>,
    rows: usize,
}

impl Unseen {
    /// Everything, where a read lists a stream from its beginning; nothing, where it brings a part that may well be empty.
    pub(crate) fn new(plan: &StreamPlan, whole: bool) -> Self {
        let columns = if whole { plan.spec.schema().fields().len() } else { 0 };
        Self { columns: (0..columns).collect(), rows: 0 }
    }

    /// Notes the values of a page.
    pub(crate) fn note(&mut self, page: &Page) {
        self.rows += page.rows.len();
        self.columns.retain(|column| page.rows.iter().all(|row| row.at(*column).is_null()));
    }

    /// Tells which columns had no value to the end.
    pub(crate) fn tell(&self, plan: &StreamPlan, partition: &Partition) {
        if self.rows == 0 || self.columns.is_empty() {
            return;
        }
        let fields = plan.spec.schema().fields();
        let columns: Vec<&str> =
            self.columns.iter().filter_map(|column| fields.get(*column)).map(|field| field.name()).collect();
        tracing::warn!(
            stream = plan.spec.name(),
            partition = partition.name(),
            rows = self.rows,
            columns = columns.join(", "),
            "no record has a value for these columns; if the source has them, say in `columns` where they stand"
        );
    }
}
