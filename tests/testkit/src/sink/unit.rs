//! Units: all or nothing, in order, side by side.

use std::task::Poll;

use futures::FutureExt;
use futures::future::join_all;
use sync_core::model::Outcome::{Created, Unchanged, Updated};
use sync_core::sink::{Intent, Step, WriteUnit};
use sync_core::{ErrorKind, Key, RowAt, Sink, Value};

use super::{Bench, outcomes};
use crate::data::{ids, order, scope};
use crate::report::{Finding, Stop, broken, holds, same};

/// A row that no target of the stream may hold: its key is empty.
fn without_key() -> Vec<Value> {
    let mut row = order(0, 10, "no key");
    row[0] = Value::Null;
    row
}

pub(super) async fn a_unit_is_all_or_nothing(sink: &dyn Sink) -> Finding {
    let bench = Bench::filled(sink).await?;
    bench.needs_sight().await?;
    let good = bench.plain(&[order(1, 11, "changed"), order(4, 10, "four")]);
    let bad = bench.plain(&[order(5, 10, "five"), without_key()]);
    match bench.apply(&[Step::Write(good), Step::Write(bad)]).await {
        Ok(_) => broken("a row without key was accepted"),
        Err(error) => {
            same("kind of the error", error.kind(), ErrorKind::Data)?;
            let rows = [order(1, 10, "one"), order(2, 10, "two"), order(3, 10, "three")];
            bench.holds("after the unit that failed", &rows).await
        }
    }
}

pub(super) async fn a_bad_row_is_named_if_any_is(sink: &dyn Sink) -> Finding {
    let bench = Bench::new(sink).await?;
    let steps = [
        Step::Write(bench.plain(&[order(1, 10, "one")])),
        Step::Write(bench.plain(&[order(2, 10, "two"), without_key(), order(3, 10, "three")])),
    ];
    let Err(error) = bench.apply(&steps).await else { return broken("a row without key was accepted") };
    same("kind of the error", error.kind(), ErrorKind::Data)?;
    match error.row() {
        Some(row) => same("the row the error names", row, RowAt { step: 1, row: 1 }),
        None => Err(Stop::Skipped("the sink does not know which row is at fault".into())),
    }
}

pub(super) async fn steps_see_the_steps_before_them(sink: &dyn Sink) -> Finding {
    let bench = Bench::new(sink).await?;
    let steps = ["first", "second", "second"].map(|note| Step::Write(bench.plain(&[order(1, 10, note)])));
    same("outcomes of three steps on one row", outcomes(&bench.apply(&steps).await?), [Created, Updated, Unchanged])?;
    bench.holds("afterwards", &[order(1, 10, "second")]).await
}

pub(super) async fn scopes_are_written_at_once(sink: &dyn Sink) -> Finding {
    let bench = Bench::new(sink).await?;
    let write = |id: i64| {
        let bench = &bench;
        async move {
            let (scope, steps) =
                (scope(&format!("orders{id}")), [Step::Write(bench.plain(&[order(id, 10, "one of many")]))]);
            sink.apply(&WriteUnit { scope: &scope, steps: &steps, advance: None, intent: Intent::Commit }).await
        }
    };
    for written in join_all((1..=9).map(write)).await {
        same("outcome of a unit beside others", outcomes(&written?), [Created])?;
    }
    bench.holds("afterwards", &(1..=9).map(|id| order(id, 10, "one of many")).collect::<Vec<_>>()).await
}

/// Polls a unit ever more often before it is dropped.
pub(super) async fn a_dropped_unit_is_whole_or_nothing(sink: &dyn Sink) -> Finding {
    let bench = Bench::new(sink).await?;
    bench.needs_sight().await?;
    let mut before = 0;
    for polls in 0..12 {
        let ids: Vec<i64> = (1..=3).map(|row| polls * 10 + row).collect();
        let steps: Vec<Step> = ids.iter().map(|id| Step::Write(bench.plain(&[order(*id, 10, "dropped")]))).collect();
        let mut finished = false;
        {
            let mut unit = bench.apply(&steps).boxed();
            for _ in 0..polls {
                finished = matches!(futures::poll!(&mut unit), Poll::Ready(Ok(_)));
                if finished {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        // A unit of another kind goes last: what the dropped one still does is done by then.
        bench.write(&[order(1_000, 10, &format!("after {polls}"))]).await?;
        let found = seen(&bench, &ids, before).await?;
        holds(found == 0 || found == 3, format!("a unit of 3 rows dropped after {polls} polls left {found} of them"))?;
        holds(!finished || found == 3, "a unit that was reported as done left nothing".to_owned())?;
        before += found;
    }
    Ok(())
}

/// How many of these orders the target holds, beside the marker and those seen before.
async fn seen(bench: &Bench<'_>, orders: &[i64], before: u64) -> Result<u64, Stop> {
    if bench.sink.capabilities().read_back {
        let keys: Vec<Key> = ids(orders.iter().copied());
        return Ok(bench.stored(&keys).await?.into_iter().flatten().count() as u64);
    }
    Ok(bench.count().await?.unwrap_or_default() - before - 1)
}
