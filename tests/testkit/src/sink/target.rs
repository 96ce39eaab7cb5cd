//! The target itself: its shape, what it tells about itself, and rehearsals that must not touch it.

use sync_core::model::Outcome::{Created, Unchanged, Updated};
use sync_core::model::RowScope;
use sync_core::sink::{Altered, Intent, Step};
use sync_core::{ErrorKind, Sink, StreamSpec, Value};

use super::{Bench, outcomes};
use crate::data::{at, ids, order, orders, scope, wider_orders};
use crate::report::{Finding, Stop, needs, same};

pub(super) async fn a_rehearsal_leaves_no_trace(sink: &dyn Sink) -> Finding {
    needs(sink.capabilities().rehearsal, "rehearsal")?;
    // Before the target is prepared: a rehearsal creates no table either.
    let bench = Bench { sink, stream: orders(), scope: scope("orders") };
    let first = [Step::Write(bench.plain(&[order(1, 10, "one")]))];
    let rehearsed = bench.unit(&first, None, Intent::Rehearse).await?;
    same("outcomes of a rehearsal before there is a target", outcomes(&rehearsed), [Created])?;

    let bench = Bench::filled(sink).await?;
    let second = [Step::Write(bench.plain(&[order(1, 11, "new"), order(2, 10, "two"), order(4, 10, "four")]))];
    for _ in 0..2 {
        let rehearsed = bench.unit(&second, None, Intent::Rehearse).await?;
        same("outcomes of a rehearsal", outcomes(&rehearsed), [Updated, Unchanged, Created])?;
        bench.holds("after it", &[order(1, 10, "one"), order(2, 10, "two"), order(3, 10, "three")]).await?;
    }
    same("outcomes in earnest", outcomes(&bench.apply(&second).await?), [Updated, Unchanged, Created])
}

pub(super) async fn a_target_is_there_once_it_is_prepared(sink: &dyn Sink) -> Finding {
    let before = sink.exists(&orders()).await?;
    sink.prepare(&orders()).await?;
    same("a prepared target is there", sink.exists(&orders()).await?, true)?;
    needs(!before, "a sink that can tell")
}

pub(super) async fn preparing_again_is_harmless(sink: &dyn Sink) -> Finding {
    let bench = Bench::filled(sink).await?;
    sink.prepare(&bench.stream).await?;
    let rows = [order(1, 10, "one"), order(2, 10, "two"), order(3, 10, "three")];
    same("outcomes of rows that were there", bench.write(&rows).await?, [Unchanged; 3])
}

pub(super) async fn a_new_column_keeps_the_rows(sink: &dyn Sink) -> Finding {
    Bench::filled(sink).await?;
    let bench = Bench::with(sink, wider_orders()).await?;
    let row = |comment: Value| [order(1, 10, "one"), vec![comment]].concat();
    same("outcome of an old row with the new column empty", bench.write(&[row(Value::Null)]).await?, [Unchanged])?;
    same("outcome of an old row with the new column filled", bench.write(&[row("filled".into())]).await?, [Updated])?;
    needs(sink.capabilities().read_back, "`stored`")?;
    same("the row", bench.stored(&ids([1])).await?, [Some(row("filled".into()))])
}

pub(super) async fn what_is_changed_is_foreseen_and_told(sink: &dyn Sink) -> Finding {
    Bench::filled(sink).await?;
    let wider = wider_orders();
    let foreseen = sink.lacking(&wider).await?;
    same("what is lacking, asked again", sink.lacking(&wider).await?, foreseen.clone())?;
    same("what is changed", sink.prepare(&wider).await?, foreseen.clone())?;
    same("what is lacking then", sink.lacking(&wider).await?, Altered::default())?;
    same("what is changed then", sink.prepare(&wider).await?, Altered::default())?;
    needs(foreseen != Altered::default(), "a sink that says what it changes")
}

pub(super) async fn preparing_loses_no_data(sink: &dyn Sink) -> Finding {
    let bench = Bench::filled(sink).await?;
    let other = StreamSpec::new("testkit_orders").key(["id"]).version("changed_at").int("note").decimal("total", 12, 2);
    if let Err(error) = sink.prepare(&other).await {
        same("kind of the error", error.kind(), ErrorKind::Schema)?;
    }
    let rows = [order(1, 10, "one"), order(2, 10, "two"), order(3, 10, "three")];
    same("outcomes of rows that were there", bench.write(&rows).await?, [Unchanged; 3])
}

pub(super) async fn stored_rows_come_in_the_order_of_the_keys(sink: &dyn Sink) -> Finding {
    needs(sink.capabilities().read_back, "`stored`")?;
    let bench = Bench::filled(sink).await?;
    let found = bench.stored(&ids([3, 7, 1, 3])).await?;
    let three = Some(order(3, 10, "three"));
    same("rows 3, 7, 1 and 3", found, [three.clone(), None, Some(order(1, 10, "one")), three])
}

pub(super) async fn rows_are_counted_in_their_scope(sink: &dyn Sink) -> Finding {
    let bench = Bench::filled(sink).await?;
    bench.write(&[order(4, 20, "four"), order(5, 30, "five")]).await?;
    let Some(all) = bench.count().await? else {
        return Err(Stop::Skipped("the sink does not count".into()));
    };
    same("all rows", all, 5)?;
    for (from, until, rows) in [(Some(10), Some(20), 3), (Some(20), None, 2), (None, Some(30), 4), (Some(31), None, 0)]
    {
        let column = "changed_at".to_owned();
        let range = RowScope::Range { column, from: from.map(at), until: until.map(at) };
        let found = sink.count(&bench.stream, &range).await?;
        same(&format!("rows from {from:?} until {until:?}"), found.unwrap_or(rows), rows)?;
    }
    let note = RowScope::All.within("note", "two");
    same("rows of one note", sink.count(&bench.stream, &note).await?.unwrap_or(1), 1)?;
    let range = RowScope::Range { column: "changed_at".into(), from: Some(at(20)), until: None };
    let found = sink.count(&bench.stream, &range.within("note", "two")).await?;
    same("rows of one note in a range", found.unwrap_or(0), 0)?;
    Ok(())
}
