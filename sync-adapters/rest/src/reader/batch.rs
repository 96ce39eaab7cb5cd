//! What is handed over: the rows of a page, what could not be read of it, and what it took.

use std::sync::Arc;

use sync_core::Value;
use sync_core::json::Page;
use sync_core::model::{Batch, Boundary, Changes, Frontier, FrontierProof, Reject, RowScope, Rows};

use super::Reader;
use crate::client::Answer;

impl Reader {
    /// The batch of a page (of none, where it is not handed over), with the rows of it that were asked for.
    pub(super) fn batch(
        &mut self,
        page: Option<Page>,
        answer: &Answer,
        boundary: Boundary,
        only: Option<&RowScope>,
    ) -> Batch {
        let spec = &Arc::clone(&self.plan.spec);
        let (rows, rejects) =
            page.map_or_else(|| (Rows::new(Arc::clone(spec.schema())), Vec::new()), |page| (page.rows, page.rejects));
        let mut changes = Changes::upserts(rows);
        if let Some(scope) = only {
            changes = inside(changes, scope);
        }
        let mut batch = match changes.is_empty() {
            true => Batch::marker(boundary),
            false => Batch::of(spec, changes, boundary),
        };
        let redactor = &self.inner.client.redactor;
        batch.rejects = rejects
            .into_iter()
            .map(|reject| {
                // The body goes to the dead letters; a record that repeats one of our secrets keeps it no further.
                let body = match std::str::from_utf8(&reject.body) {
                    Ok(text) if redactor.finds(text) => redactor.clean(text).into_bytes().into(),
                    _ => reject.body,
                };
                Reject { stream: Arc::clone(spec), key: reject.key, body, reason: reject.reason }
            })
            .collect();
        self.count(&mut batch, answer);
        batch.frontier = match (&batch.boundary, &self.position.since) {
            (Boundary::Resume(_), Some(Value::Timestamp(at))) if !self.position.is_inside() => {
                Some(Frontier { at: *at, proof: FrontierProof::Assumed })
            }
            _ => None,
        };
        batch
    }

    /// Notes what a batch took to fetch.
    pub(super) fn count(&mut self, batch: &mut Batch, answer: &Answer) {
        let (requests, wire) = std::mem::take(&mut self.spent);
        (batch.requests, batch.wire_bytes) = (answer.requests + requests, answer.wire + wire);
    }
}

/// The changes whose row lies in the scope.
fn inside(changes: Changes, scope: &RowScope) -> Changes {
    let RowScope::Range { column, from, until } = scope else { return changes };
    let Some(column) = changes.rows().schema().index(column) else { return changes };
    let is_inside = |index: &usize| {
        let value = changes.rows().row(*index).at(column);
        !value.is_null()
            && from.as_ref().is_none_or(|from| value.total_cmp(from.as_ref()).is_ge())
            && until.as_ref().is_none_or(|until| value.total_cmp(until.as_ref()).is_lt())
    };
    let kept: Vec<usize> = (0..changes.len()).filter(is_inside).collect();
    if kept.len() == changes.len() { changes } else { changes.select(kept) }
}
