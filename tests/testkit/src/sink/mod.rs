//! Proves a [`Sink`]: every claimed capability must hold, and what is not claimed is left out.
//!
//! ```
//! use sync_core::memory::MemorySink;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let report = sync_testkit::sink::conformance(async |_| Ok::<_, sync_core::Error>(MemorySink::new())).await;
//! report.assert();
//! # }
//! ```

mod checkpoints;
mod guards;
mod rows;
mod staging;
mod target;
mod unit;

use std::fmt::Display;
use std::sync::Arc;

use sync_core::detect::Difference;
use sync_core::model::{Changes, Outcome, RowScope, Tally};
use sync_core::sink::{Expect, Guard, Intent, Step, StepReport, StoredRow, Write, WriteMode, WriteReport, WriteUnit};
use sync_core::state::{Advance, Checkpoint, FencingToken};
use sync_core::{Key, Result, Scope, Sink, StreamSpec, Value};

use crate::data::{names as names_that_look_alike, order, orders, samples, scope, upserts, wider_orders};
use crate::report::{Check, Finding, Report, checks, needs, same};

/// Runs every check, each on a sink of its own that holds nothing yet.
///
/// `make` is given the name of the check, which is different each time and fit for a file's name.
pub async fn conformance<S: Sink + 'static, E: Display>(make: impl AsyncFn(&str) -> Result<S, E>) -> Report {
    let mut report = Report::new("sink");
    for check in CHECKS {
        let finding = match make(check.name).await {
            Ok(sink) => (check.run)(&sink).await,
            Err(error) => crate::report::broken(format!("the sink could not be made: {error}")),
        };
        report.add(check.name, check.says, finding);
    }
    report
}

/// Runs the checks of durability: `make` is called twice with the same name, and must open the same target again.
///
/// The first sink is dropped before the second is made, as when a process ends.
pub async fn durability<S: Sink + 'static, E: Display>(make: impl AsyncFn(&str) -> Result<S, E>) -> Report {
    let mut report = Report::new("durable sink");
    for check in DURABLE {
        let finding = async {
            let broken = |error: E| crate::report::Stop::Broken(format!("the sink could not be made: {error}"));
            (check.before)(&make(check.name).await.map_err(broken)?).await?;
            (check.after)(&make(check.name).await.map_err(broken)?).await
        };
        report.add(check.name, check.says, finding.await);
    }
    report
}

/// The names of all checks of [`conformance`].
pub fn names() -> Vec<&'static str> {
    CHECKS.iter().map(|check| check.name).collect()
}

/// The streams with keys that the suite writes, each with all columns that it ever has: for a sink whose tables must be there before.
pub fn streams() -> Vec<Arc<StreamSpec>> {
    vec![wider_orders(), samples(), names_that_look_alike()]
}

/// A check over two lives of a sink.
struct Durable {
    name: &'static str,
    says: &'static str,
    before: for<'a> fn(&'a dyn Sink) -> futures::future::BoxFuture<'a, Finding>,
    after: for<'a> fn(&'a dyn Sink) -> futures::future::BoxFuture<'a, Finding>,
}

const DURABLE: &[Durable] = &[
    Durable {
        name: "rows_survive_a_restart",
        says: "when `apply` returns `Ok`, a crash of this process loses nothing of the unit",
        before: |sink| Box::pin(rows::some_rows(sink)),
        after: |sink| Box::pin(rows::some_rows_are_there(sink)),
    },
    Durable {
        name: "values_survive_a_restart",
        says: "decimals, timestamps, dates, bytes, 64-bit integers stay exact",
        before: |sink| Box::pin(rows::values_come_back_as_they_were(sink)),
        after: |sink| Box::pin(rows::values_are_still_as_they_were(sink)),
    },
    Durable {
        name: "the_checkpoint_survives_a_restart",
        says: "when `apply` returns `Ok`, a crash of this process loses nothing of the unit",
        before: |sink| Box::pin(checkpoints::one_step(sink)),
        after: |sink| Box::pin(checkpoints::one_step_is_there(sink)),
    },
    Durable {
        name: "staged_rows_survive_a_restart",
        says: "staging keeps rows durably where nobody sees them yet",
        before: |sink| Box::pin(staging::some_staged(sink)),
        after: |sink| Box::pin(staging::some_staged_are_there(sink)),
    },
];

const CHECKS: &[Check<dyn Sink>] = checks![dyn Sink;
    rows::a_new_row_is_created => "the report says for every row what became of it: it was not there, and was written",
    rows::an_equal_row_is_unchanged => "unchanged rows cause no write",
    rows::a_differing_row_is_updated => "rows are classified, then written",
    rows::fields_that_are_not_named_stay_as_they_are => "a change that names its fields writes these and no others",
    rows::a_mixed_write_is_counted_row_by_row => "one outcome for each change, in order",
    rows::a_delete_removes_the_row => "a delete: the row is gone",
    rows::a_delete_of_no_row_writes_nothing => "unchanged rows cause no write",
    rows::a_row_may_come_back_after_its_delete => "it was not there, and was written",
    rows::existing_rows_are_left_alone_by_insert_only => "an existing row is left alone",
    rows::appended_rows_are_always_new => "there is no key: every row is a new one",
    rows::values_come_back_as_they_were => "decimals, timestamps, dates, bytes, 64-bit integers stay exact",
    rows::keys_that_look_alike_stay_apart => "the values of the key columns make a row itself",
    unit::a_unit_is_all_or_nothing => "`apply` does all steps of a unit and its checkpoint, or nothing",
    unit::a_bad_row_is_named_if_any_is => "errors about one row have the kind `Data` and, where the sink knows it, `Error::at_row`",
    unit::steps_see_the_steps_before_them => "the steps, in order",
    unit::scopes_are_written_at_once => "units of different scopes may be applied at once",
    unit::a_dropped_unit_is_whole_or_nothing => "a dropped `apply` either happens whole or not at all",
    guards::guards_agree_with_their_one_reading => "it evaluates every `Guard`",
    guards::differences_agree_with_their_one_reading => "when an incoming row counts as different from an existing one",
    guards::a_guard_that_refuses_writes_nothing => "unless the stored version is higher",
    guards::an_expected_absence_is_checked => "compare-and-set: what must be stored for each change, or the whole unit fails with `Conflict`",
    guards::an_expected_row_is_checked => "compare-and-set: what must be stored for each change, or the whole unit fails with `Conflict`",
    checkpoints::a_scope_begins_without_checkpoint => "claims a scope with this token and returns its checkpoint",
    checkpoints::the_checkpoint_comes_with_the_rows => "rows and checkpoint in one transaction",
    checkpoints::a_failed_unit_moves_no_checkpoint => "all steps of a unit and its checkpoint, or nothing",
    checkpoints::a_lower_token_cannot_claim => "`Error::fenced` when a higher token has claimed the scope",
    checkpoints::a_fenced_holder_writes_nothing => "a holder that was fenced and does not know it yet: its units must be refused",
    checkpoints::a_holder_of_a_side_lane_is_fenced_by_the_live_one => "a unit of a side lane is refused when the live lane has been claimed with a higher token since",
    checkpoints::a_unit_that_comes_twice_is_refused => "with an atomic checkpoint the second one is refused",
    checkpoints::claiming_again_is_harmless => "claiming again with the same token is harmless",
    checkpoints::scopes_stand_apart => "what one checkpoint belongs to: a feed of a pipeline, one of its partitions, and the lane",
    checkpoints::looking_claims_nothing => "reads a scope's checkpoint without claiming it",
    staging::staged_rows_are_invisible => "keep rows durably where nobody sees them yet",
    staging::published_rows_are_counted_row_by_row => "outcomes of the rows that had been staged",
    staging::the_highest_staged_version_is_published => "a key may have been staged before: publishing keeps the highest version",
    staging::staged_deletes_are_published => "the row is gone, also when the delete was staged",
    staging::absent_rows_are_deleted => "what happens to target rows in that scope which the stage does not name",
    staging::absent_rows_may_be_kept => "they stay",
    staging::absent_rows_may_be_marked => "they stay, and this timestamp column says since when they are missing",
    staging::a_publish_speaks_for_its_scope_alone => "which target rows the stage speaks for",
    staging::too_many_deletes_are_withheld => "with more, none is, and all are counted as withheld",
    staging::a_key_listing_writes_nothing => "then nothing is written, and rows the target lacks are counted as missing",
    staging::skipped_keys_are_left_out => "keys that are left out, since their rows went to the dead letters",
    staging::staged_fields_leave_the_others_as_they_are => "a change that names its fields writes these and no others",
    staging::publishing_again_does_nothing => "a stage that is not there was published already: then nothing happens",
    staging::an_empty_stage_names_no_row => "a step without rows creates an empty stage",
    staging::spared_keys_are_not_absent => "keys that the listing named but that could not be staged: they are not absent",
    staging::a_guard_holds_for_staged_rows => "when a staged row may replace an existing one",
    staging::discarded_rows_are_forgotten => "forget staged rows",
    staging::a_failed_unit_stages_nothing => "all steps of a unit and its checkpoint, or nothing",
    target::a_rehearsal_leaves_no_trace => "find out what would happen, by the same path, and leave no trace",
    target::a_target_is_there_once_it_is_prepared => "whether the target of a stream is there",
    target::preparing_again_is_harmless => "creates or evolves the target of a stream",
    target::what_is_changed_is_foreseen_and_told => "says what it changed in one that was there",
    target::a_new_column_keeps_the_rows => "creates or evolves the target of a stream",
    target::preparing_loses_no_data => "a change that would lose data is refused with the exact difference",
    target::stored_rows_come_in_the_order_of_the_keys => "the rows stored under these keys, in the order of the keys",
    target::rows_are_counted_in_their_scope => "how many rows of the stream the target holds in this scope; `None` when it cannot tell",
];

/// A sink with the suite's stream prepared.
pub(crate) struct Bench<'a> {
    pub(crate) sink: &'a dyn Sink,
    pub(crate) stream: Arc<StreamSpec>,
    pub(crate) scope: Scope,
}

impl<'a> Bench<'a> {
    pub(crate) async fn new(sink: &'a dyn Sink) -> Result<Self> {
        Self::with(sink, orders()).await
    }

    pub(crate) async fn with(sink: &'a dyn Sink, stream: Arc<StreamSpec>) -> Result<Self> {
        sink.prepare(&stream).await?;
        Ok(Self { sink, stream, scope: scope("orders") })
    }

    /// A bench whose target holds orders 1 to 3 in version 10.
    pub(crate) async fn filled(sink: &'a dyn Sink) -> Result<Self> {
        let bench = Self::new(sink).await?;
        bench.write(&[order(1, 10, "one"), order(2, 10, "two"), order(3, 10, "three")]).await?;
        Ok(bench)
    }

    /// A plain write of these rows.
    pub(crate) fn plain(&self, rows: &[Vec<Value>]) -> Write {
        self.change(upserts(&self.stream, rows))
    }

    /// A plain write of these changes.
    pub(crate) fn change(&self, changes: Changes) -> Write {
        Write {
            stream: Arc::clone(&self.stream),
            changes,
            mode: WriteMode::Upsert,
            guard: Guard::Always,
            difference: Difference::Content,
            expect: Vec::new(),
        }
    }

    pub(crate) async fn write(&self, rows: &[Vec<Value>]) -> Result<Vec<Outcome>> {
        self.outcomes(self.plain(rows)).await
    }

    pub(crate) async fn outcomes(&self, write: Write) -> Result<Vec<Outcome>> {
        Ok(outcomes(&self.apply(&[Step::Write(write)]).await?))
    }

    pub(crate) async fn apply(&self, steps: &[Step]) -> Result<WriteReport> {
        self.unit(steps, None, Intent::Commit).await
    }

    pub(crate) async fn unit(&self, steps: &[Step], advance: Option<&Advance>, intent: Intent) -> Result<WriteReport> {
        self.sink.apply(&WriteUnit { scope: &self.scope, steps, advance, intent }).await
    }

    pub(crate) async fn stored(&self, keys: &[Key]) -> Result<Vec<Option<Vec<Value>>>> {
        let rows = self.sink.stored(&self.stream, keys).await?;
        Ok(rows.into_iter().map(|row| row.map(|StoredRow { values }| values)).collect())
    }

    pub(crate) async fn count(&self) -> Result<Option<u64>> {
        self.sink.count(&self.stream, &RowScope::All).await
    }

    /// Breaks the check unless the target holds exactly these orders. Looks as far as the sink lets it.
    pub(crate) async fn holds(&self, when: &str, rows: &[Vec<Value>]) -> Finding {
        if let Some(count) = self.count().await? {
            same(&format!("rows {when}"), count, rows.len() as u64)?;
        }
        if self.sink.capabilities().read_back {
            let keys = crate::data::ids(1..=9);
            let wanted = |key: &Key| rows.iter().find(|row| row[0] == key.values()[0]).cloned();
            let found = self.stored(&keys).await?;
            same(&format!("rows 1 to 9 {when}"), found, keys.iter().map(wanted).collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// Leaves the check out when nothing can be seen of the target.
    pub(crate) async fn needs_sight(&self) -> Finding {
        needs(self.sink.capabilities().read_back || self.count().await?.is_some(), "`stored` or `count`")
    }
}

/// The outcomes of all rows of the unit's writes.
pub(crate) fn outcomes(report: &WriteReport) -> Vec<Outcome> {
    let rows = report.steps.iter().filter_map(|step| match step {
        StepReport::Rows(outcomes) => Some(outcomes),
        _ => None,
    });
    rows.flatten().copied().collect()
}

/// A tally of these outcomes.
pub(crate) fn tally(counts: &[(Outcome, u64)]) -> Tally {
    let mut tally = Tally::new();
    counts.iter().for_each(|(outcome, rows)| tally.add(*outcome, *rows));
    tally
}

/// A step from `expected` to the next checkpoint.
pub(crate) fn advance(token: u64, expected: u64) -> Advance {
    let cursor = sync_core::Cursor::from_parts(1, format!("{{\"page\":{}}}", expected + 1));
    let next = Checkpoint { seq: expected + 1, cursor: Some(cursor), ..Checkpoint::default() };
    Advance { token: FencingToken(token), expected, next }
}

/// What each change of a write expects.
pub(crate) fn expecting(mut write: Write, expect: Vec<Expect>) -> Write {
    write.expect = expect;
    write
}
