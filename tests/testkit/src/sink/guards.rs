//! Guards and compare-and-set: who decides what stays.

use std::sync::Arc;

use sync_core::detect::Difference;
use sync_core::model::Outcome::{self, Created, Deleted, Existing, Stale, Unchanged, Updated};
use sync_core::model::{Changes, Op, Rows};
use sync_core::sink::{Expect, Guard, Step};
use sync_core::{ErrorKind, Sink, StreamSpec, Value};

use super::{Bench, expecting};
use crate::data::{deletes, order, upserts};
use crate::report::{Finding, broken, holds, needs, same};

const GUARDS: [Guard; 4] = [Guard::Always, Guard::NotOlder, Guard::Newer, Guard::Never];

/// Order 0 without a version.
fn unversioned(note: &str) -> Vec<Value> {
    let mut row = order(0, 0, note);
    row[1] = Value::Null;
    row
}

pub(super) async fn guards_agree_with_their_one_reading(sink: &dyn Sink) -> Finding {
    needs(sink.capabilities().guards, "guards")?;
    let bench = Bench::new(sink).await?;
    let rows = [
        order(0, 10, "b"),
        order(0, 9, "a"),
        order(0, 10, "a"),
        order(0, 10, "c"),
        order(0, 11, "a"),
        unversioned("x"),
    ];
    let deletes =
        [(0, None), (0, Some(9)), (0, Some(10)), (0, Some(11))].map(|delete| deletes(&bench.stream, &[delete]));
    let mut incoming: Vec<Changes> = rows.iter().map(|row| upserts(&bench.stream, std::slice::from_ref(row))).collect();
    incoming.extend(deletes);
    for guard in GUARDS {
        for existing in [&rows[0], &rows[5]] {
            for change in &incoming {
                bench.outcomes(bench.change(upserts(&bench.stream, std::slice::from_ref(existing)))).await?;
                let mut write = bench.change(change.clone());
                write.guard = guard;
                let found = bench.outcomes(write).await?;
                let wanted = reading(guard, &bench.stream, existing, change);
                let what = format!(
                    "{guard:?} for a {:?} of version {} against a row of version {}",
                    change.at(0).op(),
                    change.rows().row(0).at(1),
                    existing[1]
                );
                // Whether a row that exists and is equal counts as existing or as unchanged under `Never` is open.
                let open = guard == Guard::Never && wanted == Unchanged && found == [Existing];
                holds(found == [wanted] || open, format!("{what}: found {found:?}, wanted {wanted:?}"))?;
                if sink.capabilities().read_back {
                    let row = bench.stored(&crate::data::ids([0])).await?.pop().flatten();
                    let kept = match wanted {
                        Deleted => None,
                        Updated => Some(change.rows().row(0).to_values()),
                        _ => Some(existing.clone()),
                    };
                    same(&format!("row after {what}"), row, kept)?;
                }
            }
        }
    }
    Ok(())
}

/// What becomes of a change that meets a row.
fn reading(guard: Guard, stream: &StreamSpec, existing: &[Value], change: &Changes) -> Outcome {
    let mut rows = Rows::new(Arc::clone(stream.schema()));
    if rows.push(existing.iter().map(Value::as_ref)).is_err() {
        return Outcome::Rejected;
    }
    let (existing, incoming) = (rows.row(0), change.at(0));
    let is_delete = incoming.op() == Op::Delete;
    match (guard.admits(stream, existing, incoming), guard) {
        _ if !is_delete && incoming.row() == existing => Unchanged,
        (false, Guard::Never) => Existing,
        (false, _) => Stale,
        (true, _) if is_delete => Deleted,
        (true, _) => Updated,
    }
}

pub(super) async fn differences_agree_with_their_one_reading(sink: &dyn Sink) -> Finding {
    let bench = Bench::new(sink).await?;
    let rows = [order(0, 10, "a"), order(0, 10, "b"), order(0, 11, "a"), unversioned("a"), unversioned("b")];
    for difference in [Difference::Content, Difference::Version] {
        for existing in &rows {
            for incoming in &rows {
                bench.write(std::slice::from_ref(existing)).await?;
                let mut write = bench.plain(std::slice::from_ref(incoming));
                write.difference = difference;
                let found = bench.outcomes(write).await?;
                let both = upserts(&bench.stream, &[existing.clone(), incoming.clone()]);
                let differs = difference.between(&bench.stream, both.at(0).row(), both.at(1).row());
                let what = format!(
                    "outcome by {difference:?} of {} content, version {} against version {}",
                    if existing[2] == incoming[2] { "equal" } else { "other" },
                    incoming[1],
                    existing[1]
                );
                same(&what, found, [if differs { Updated } else { Unchanged }])?;
            }
        }
    }
    Ok(())
}

pub(super) async fn a_guard_that_refuses_writes_nothing(sink: &dyn Sink) -> Finding {
    needs(sink.capabilities().guards, "guards")?;
    let bench = Bench::filled(sink).await?;
    let mut write = bench.plain(&[order(1, 9, "older"), order(2, 11, "newer"), order(4, 1, "new")]);
    write.guard = Guard::NotOlder;
    same("outcomes", bench.outcomes(write).await?, [Stale, Updated, Created])?;
    let rows = [order(1, 10, "one"), order(2, 11, "newer"), order(3, 10, "three"), order(4, 1, "new")];
    bench.holds("afterwards", &rows).await
}

pub(super) async fn an_expected_absence_is_checked(sink: &dyn Sink) -> Finding {
    needs(sink.capabilities().read_back, "`stored`")?;
    let bench = Bench::filled(sink).await?;
    let write = |id| expecting(bench.plain(&[order(id, 11, "expected")]), vec![Expect::Absent]);
    same("outcome where no row was expected and none is", bench.outcomes(write(4)).await?, [Created])?;
    conflict(&bench, vec![Step::Write(write(5)), Step::Write(write(1))]).await?;
    let rows = [order(1, 10, "one"), order(2, 10, "two"), order(3, 10, "three"), order(4, 11, "expected")];
    bench.holds("afterwards", &rows).await
}

pub(super) async fn an_expected_row_is_checked(sink: &dyn Sink) -> Finding {
    needs(sink.capabilities().read_back, "`stored`")?;
    let bench = Bench::filled(sink).await?;
    let write = |id, expected| expecting(bench.plain(&[order(id, 11, "expected")]), vec![Expect::Row(expected)]);
    same("outcome where the row is as expected", bench.outcomes(write(1, order(1, 10, "one"))).await?, [Updated])?;
    conflict(&bench, vec![Step::Write(write(2, order(2, 10, "else")))]).await?;
    conflict(&bench, vec![Step::Write(write(4, order(4, 10, "four")))]).await?;
    bench.holds("afterwards", &[order(1, 11, "expected"), order(2, 10, "two"), order(3, 10, "three")]).await
}

async fn conflict(bench: &Bench<'_>, steps: Vec<Step>) -> Finding {
    match bench.apply(&steps).await {
        Ok(_) => broken("a unit was written although the target does not hold what it expects"),
        Err(error) => same("kind of the error", error.kind(), ErrorKind::Conflict),
    }
}
