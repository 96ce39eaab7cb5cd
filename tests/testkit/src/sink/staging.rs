//! Rows that are kept where nobody sees them, until all of them are shown at once.

use std::sync::Arc;

use sync_core::detect::Difference;
use sync_core::model::Outcome::{Created, Deleted, Duplicate, Missing, Staged, Stale, Unchanged, Updated, Withheld};
use sync_core::model::{Absent, Changes, Decimal, Mark, Outcome, RowScope, Tally};
use sync_core::sink::{Guard, MostDeletes, Publish, Stage, Step, StepReport, WriteMode};
use sync_core::state::StageName;
use sync_core::{Key, Sink, StreamSpec, Value};

use super::{Bench, tally};
use crate::data::{at, deletes, ids, order, orders, upserts};
use crate::report::{Finding, Stop, broken, needs, same};

async fn staging(sink: &dyn Sink) -> Result<Bench<'_>, Stop> {
    needs(sink.capabilities().staging, "staging")?;
    Ok(Bench::filled(sink).await?)
}

impl Bench<'_> {
    fn staged(&self, rows: &[Vec<Value>]) -> Step {
        let (stage, stream) = (StageName::new("testkit_stage"), Arc::clone(&self.stream));
        Step::Stage(Stage { stage, stream, changes: upserts(&self.stream, rows) })
    }

    async fn stage(&self, rows: &[Vec<Value>]) -> Finding {
        let report = self.apply(&[self.staged(rows)]).await?;
        same("outcomes of staged rows", super::outcomes(&report), vec![Staged; rows.len()])
    }

    /// A publish of the suite's stage that deletes as much as it takes.
    fn publish(&self) -> Publish {
        Publish {
            stage: StageName::new("testkit_stage"),
            stream: Arc::clone(&self.stream),
            rows: RowScope::All,
            absent: Absent::Delete,
            most: MostDeletes::Any,
            guard: Guard::Always,
            difference: Difference::Content,
            mode: WriteMode::Upsert,
            keys_only: false,
            skip: Vec::new(),
            spared: Vec::new(),
        }
    }

    async fn published(&self, publish: Publish) -> Result<(Tally, Tally), Stop> {
        match self.apply(&[Step::Publish(publish)]).await?.steps.as_slice() {
            [StepReport::Published { staged, absent }] => Ok((*staged, *absent)),
            other => {
                Err(broken(format!("a publish was reported as {other:?}")).err().unwrap_or_else(|| unreachable!()))
            }
        }
    }

    async fn publishes(&self, publish: Publish, staged: &[(Outcome, u64)], absent: &[(Outcome, u64)]) -> Finding {
        same("outcomes of staged and absent rows", self.published(publish).await?, (tally(staged), tally(absent)))
    }
}

pub(super) async fn staged_rows_are_invisible(sink: &dyn Sink) -> Finding {
    let bench = staging(sink).await?;
    bench.needs_sight().await?;
    bench.stage(&[order(1, 11, "staged"), order(4, 10, "staged")]).await?;
    bench.holds("while rows are staged", &[order(1, 10, "one"), order(2, 10, "two"), order(3, 10, "three")]).await
}

pub(super) async fn published_rows_are_counted_row_by_row(sink: &dyn Sink) -> Finding {
    let bench = staging(sink).await?;
    bench.stage(&[order(1, 11, "new"), order(2, 10, "two")]).await?;
    bench.stage(&[order(4, 10, "four"), order(3, 10, "three")]).await?;
    bench.publishes(bench.publish(), &[(Updated, 1), (Unchanged, 2), (Created, 1)], &[]).await?;
    let rows = [order(1, 11, "new"), order(2, 10, "two"), order(3, 10, "three"), order(4, 10, "four")];
    bench.holds("after the publish", &rows).await?;
    // A published stage is empty: the same again finds nothing to publish.
    let mut again = bench.publish();
    again.absent = Absent::Keep;
    bench.publishes(again, &[], &[]).await
}

pub(super) async fn the_highest_staged_version_is_published(sink: &dyn Sink) -> Finding {
    let bench = staging(sink).await?;
    bench.stage(&[order(1, 12, "high"), order(2, 11, "low"), order(3, 10, "three")]).await?;
    bench.stage(&[order(1, 11, "low"), order(2, 12, "high")]).await?;
    bench.publishes(bench.publish(), &[(Updated, 2), (Unchanged, 1), (Duplicate, 2)], &[]).await?;
    bench.holds("after the publish", &[order(1, 12, "high"), order(2, 12, "high"), order(3, 10, "three")]).await
}

pub(super) async fn staged_deletes_are_published(sink: &dyn Sink) -> Finding {
    let bench = staging(sink).await?;
    bench.stage(&[order(4, 10, "four")]).await?;
    let (stage, stream) = (StageName::new("testkit_stage"), Arc::clone(&bench.stream));
    let changes = deletes(&bench.stream, &[(4, None), (2, Some(11))]);
    bench.apply(&[Step::Stage(Stage { stage, stream, changes })]).await?;
    let publish = Publish { absent: Absent::Keep, ..bench.publish() };
    bench.publishes(publish, &[(Unchanged, 1), (Deleted, 1), (Duplicate, 1)], &[]).await?;
    bench.holds("after the publish", &[order(1, 10, "one"), order(3, 10, "three")]).await
}

pub(super) async fn absent_rows_are_deleted(sink: &dyn Sink) -> Finding {
    let bench = staging(sink).await?;
    bench.stage(&[order(2, 10, "two")]).await?;
    bench.publishes(bench.publish(), &[(Unchanged, 1)], &[(Deleted, 2)]).await?;
    bench.holds("after the publish", &[order(2, 10, "two")]).await
}

pub(super) async fn absent_rows_may_be_kept(sink: &dyn Sink) -> Finding {
    let bench = staging(sink).await?;
    bench.stage(&[order(2, 11, "new")]).await?;
    let mut publish = bench.publish();
    publish.absent = Absent::Keep;
    bench.publishes(publish, &[(Updated, 1)], &[]).await?;
    bench.holds("after the publish", &[order(1, 10, "one"), order(2, 11, "new"), order(3, 10, "three")]).await
}

pub(super) async fn absent_rows_may_be_marked(sink: &dyn Sink) -> Finding {
    needs(sink.capabilities().staging, "staging")?;
    let mark = Absent::Mark("gone_at".into());
    let stream = StreamSpec::clone(&orders()).timestamp("gone_at").absent(mark.clone());
    let bench = Bench::with(sink, Arc::new(stream)).await?;
    let row = |id, note| [order(id, 10, note), vec![Value::Null]].concat();
    bench.write(&[row(1, "one"), row(2, "two")]).await?;
    for (round, marked) in [(1, [(Deleted, 1)].as_slice()), (2, &[])] {
        bench.stage(&[row(2, "two")]).await?;
        let publish = Publish { absent: mark.clone(), ..bench.publish() };
        let found = bench.published(publish).await?;
        same(&format!("outcomes of round {round}"), found, (tally(&[(Unchanged, 1)]), tally(marked)))?;
    }
    needs(sink.capabilities().read_back, "`stored`")?;
    let rows = bench.stored(&ids([1, 2])).await?;
    let marks: Vec<_> = rows.iter().map(|row| row.as_ref().map(|row| row[4].is_null())).collect();
    same("whether the absent and the named row are free of marks", marks, [Some(false), Some(true)])
}

pub(super) async fn a_publish_speaks_for_its_scope_alone(sink: &dyn Sink) -> Finding {
    let bench = staging(sink).await?;
    bench.write(&[order(4, 20, "at the end"), order(5, 15, "inside"), order(6, 9, "before")]).await?;
    bench.stage(&[order(1, 10, "one")]).await?;
    let range = RowScope::Range { column: "changed_at".into(), from: Some(at(10)), until: Some(at(20)) };
    bench.publishes(Publish { rows: range.clone(), ..bench.publish() }, &[(Unchanged, 1)], &[(Deleted, 3)]).await?;
    let rest = [order(1, 10, "one"), order(4, 20, "at the end"), order(6, 9, "before")];
    bench.holds("after the publish", &rest).await?;
    for (part, deleted) in
        [(range.within("note", "before"), &[][..]), (RowScope::All.within("note", "before"), &[(Deleted, 1)])]
    {
        bench.stage(&[order(4, 20, "at the end")]).await?;
        bench.publishes(Publish { rows: part, ..bench.publish() }, &[(Unchanged, 1)], deleted).await?;
    }
    bench.holds("after a publish for a part", &rest[..2]).await
}

pub(super) async fn too_many_deletes_are_withheld(sink: &dyn Sink) -> Finding {
    let bench = staging(sink).await?;
    bench.stage(&[order(1, 11, "new")]).await?;
    let publish = Publish { most: MostDeletes::Limited { rows: 1, share: 0.5 }, ..bench.publish() };
    bench.publishes(publish, &[(Updated, 1)], &[(Withheld, 2)]).await?;
    bench.holds("after the publish", &[order(1, 11, "new"), order(2, 10, "two"), order(3, 10, "three")]).await?;
    bench.stage(&[order(1, 11, "new")]).await?;
    let allowed = Publish { most: MostDeletes::Limited { rows: 1, share: 0.7 }, ..bench.publish() };
    bench.publishes(allowed, &[(Unchanged, 1)], &[(Deleted, 2)]).await
}

pub(super) async fn a_key_listing_writes_nothing(sink: &dyn Sink) -> Finding {
    let bench = staging(sink).await?;
    let key = |id: i64| vec![Value::Int(id), Value::Null, Value::Null, Value::Null];
    bench.stage(&[key(1), key(3), key(4)]).await?;
    let publish = Publish { keys_only: true, ..bench.publish() };
    bench.publishes(publish, &[(Unchanged, 2), (Missing, 1)], &[(Deleted, 1)]).await?;
    bench.holds("after the key listing", &[order(1, 10, "one"), order(3, 10, "three")]).await
}

pub(super) async fn skipped_keys_are_left_out(sink: &dyn Sink) -> Finding {
    let bench = staging(sink).await?;
    bench.stage(&[order(1, 11, "skipped"), order(2, 10, "two"), order(4, 10, "skipped")]).await?;
    let skip: Vec<Key> = ids([1, 4]);
    bench.publishes(Publish { skip, ..bench.publish() }, &[(Unchanged, 1)], &[(Deleted, 1)]).await?;
    bench.holds("after the publish", &[order(1, 10, "one"), order(2, 10, "two")]).await
}

pub(super) async fn staged_fields_leave_the_others_as_they_are(sink: &dyn Sink) -> Finding {
    let bench = staging(sink).await?;
    let mut row = order(2, 11, "not meant");
    row[3] = Decimal::new(5, 2).into();
    let mut mark = Mark::default();
    mark.fields = Some([1, 3].into_iter().collect());
    let changes = Changes::marked(upserts(&bench.stream, &[row]).rows().clone(), vec![mark]);
    let stage = Stage { stage: StageName::new("testkit_stage"), stream: Arc::clone(&bench.stream), changes };
    bench.apply(&[Step::Stage(stage)]).await?;
    bench.publishes(Publish { absent: Absent::Keep, ..bench.publish() }, &[(Updated, 1)], &[]).await?;
    let mut second = order(2, 11, "two");
    second[3] = Decimal::new(5, 2).into();
    bench.holds("after the publish", &[order(1, 10, "one"), second, order(3, 10, "three")]).await
}

pub(super) async fn publishing_again_does_nothing(sink: &dyn Sink) -> Finding {
    let bench = staging(sink).await?;
    bench.stage(&[order(1, 10, "one")]).await?;
    bench.publishes(bench.publish(), &[(Unchanged, 1)], &[(Deleted, 2)]).await?;
    bench.publishes(bench.publish(), &[], &[]).await?;
    bench.holds("after the second publish", &[order(1, 10, "one")]).await
}

pub(super) async fn an_empty_stage_names_no_row(sink: &dyn Sink) -> Finding {
    let bench = staging(sink).await?;
    bench.stage(&[]).await?;
    bench.publishes(bench.publish(), &[], &[(Deleted, 3)]).await?;
    bench.holds("after the publish of nothing", &[]).await
}

pub(super) async fn spared_keys_are_not_absent(sink: &dyn Sink) -> Finding {
    let bench = staging(sink).await?;
    bench.stage(&[order(1, 10, "one")]).await?;
    let spared: Vec<Key> = ids([3, 7]);
    bench.publishes(Publish { spared, ..bench.publish() }, &[(Unchanged, 1)], &[(Deleted, 1)]).await?;
    bench.holds("after the publish", &[order(1, 10, "one"), order(3, 10, "three")]).await
}

pub(super) async fn a_guard_holds_for_staged_rows(sink: &dyn Sink) -> Finding {
    let bench = staging(sink).await?;
    needs(sink.capabilities().guards, "guards")?;
    bench.stage(&[order(1, 9, "older"), order(2, 11, "newer"), order(3, 10, "three")]).await?;
    let publish = Publish { guard: Guard::NotOlder, ..bench.publish() };
    bench.publishes(publish, &[(Stale, 1), (Updated, 1), (Unchanged, 1)], &[]).await?;
    bench.holds("after the publish", &[order(1, 10, "one"), order(2, 11, "newer"), order(3, 10, "three")]).await
}

pub(super) async fn discarded_rows_are_forgotten(sink: &dyn Sink) -> Finding {
    let bench = staging(sink).await?;
    bench.stage(&[order(4, 10, "four"), order(5, 10, "five")]).await?;
    let discard = Step::Discard { stage: StageName::new("testkit_stage"), stream: Arc::clone(&bench.stream) };
    let report = bench.apply(&[discard]).await?;
    let discarded = match report.steps.as_slice() {
        [StepReport::Discarded(rows)] => *rows,
        other => return broken(format!("a discard was reported as {other:?}")),
    };
    same("rows that were forgotten", discarded, 2)?;
    bench.publishes(Publish { absent: Absent::Keep, ..bench.publish() }, &[], &[]).await?;
    bench.holds("afterwards", &[order(1, 10, "one"), order(2, 10, "two"), order(3, 10, "three")]).await
}

pub(super) async fn a_failed_unit_stages_nothing(sink: &dyn Sink) -> Finding {
    let bench = staging(sink).await?;
    let mut bad = order(5, 10, "no key");
    bad[0] = Value::Null;
    if bench.apply(&[bench.staged(&[order(4, 10, "four")]), Step::Write(bench.plain(&[bad]))]).await.is_ok() {
        return broken("a row without key was accepted");
    }
    bench.publishes(Publish { absent: Absent::Keep, ..bench.publish() }, &[], &[]).await
}

/// The first life of a durable sink.
pub(super) async fn some_staged(sink: &dyn Sink) -> Finding {
    let bench = staging(sink).await?;
    bench.stage(&[order(1, 10, "one"), order(2, 11, "staged")]).await
}

/// The second life.
pub(super) async fn some_staged_are_there(sink: &dyn Sink) -> Finding {
    let bench = Bench::new(sink).await?;
    bench.publishes(bench.publish(), &[(Unchanged, 1), (Updated, 1)], &[(Deleted, 1)]).await
}
