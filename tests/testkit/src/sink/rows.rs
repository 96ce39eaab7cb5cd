//! What becomes of rows, and how they are counted.

use std::sync::Arc;

use sync_core::model::Outcome::{Created, Deleted, Existing, Unchanged, Updated};
use sync_core::model::{Changes, Decimal, Disposition, Mark};
use sync_core::sink::WriteMode;
use sync_core::{Key, Sink, StreamSpec};

use super::Bench;
use crate::data::{deletes, ids, name_rows, names, order, sample_rows, samples, upserts};
use crate::report::{Finding, needs, same};

pub(super) async fn a_new_row_is_created(sink: &dyn Sink) -> Finding {
    let bench = Bench::new(sink).await?;
    let rows = [order(1, 10, "one"), order(2, 10, "two")];
    same("outcomes of two new rows", bench.write(&rows).await?, [Created, Created])?;
    bench.holds("after two new rows", &rows).await
}

pub(super) async fn an_equal_row_is_unchanged(sink: &dyn Sink) -> Finding {
    let bench = Bench::filled(sink).await?;
    let rows = [order(1, 10, "one"), order(2, 10, "two"), order(3, 10, "three")];
    same("outcomes of rows that are there", bench.write(&rows).await?, [Unchanged; 3])?;
    bench.holds("afterwards", &rows).await
}

pub(super) async fn a_differing_row_is_updated(sink: &dyn Sink) -> Finding {
    let bench = Bench::filled(sink).await?;
    let rows = [order(1, 10, "one"), order(2, 11, "new"), order(3, 10, "three")];
    same("outcome of a differing row", bench.write(&rows[1..2]).await?, [Updated])?;
    bench.holds("after the update", &rows).await
}

pub(super) async fn fields_that_are_not_named_stay_as_they_are(sink: &dyn Sink) -> Finding {
    let bench = Bench::filled(sink).await?;
    let partial = |id: i64, total: i64, columns: &[usize]| {
        let mut row = order(id, 11, "not meant");
        row[3] = Decimal::new(total, 2).into();
        let mut mark = Mark::default();
        mark.fields = Some(columns.iter().copied().collect());
        Changes::marked(upserts(&bench.stream, &[row]).rows().clone(), vec![mark])
    };
    let updated = bench.outcomes(bench.change(partial(2, 5, &[1, 3]))).await?;
    same("outcome of a change of two fields", updated, [Updated])?;
    let unchanged = bench.outcomes(bench.change(partial(2, 5, &[3]))).await?;
    same("outcome of a field that is the same", unchanged, [Unchanged])?;
    let mut second = order(2, 11, "two");
    second[3] = Decimal::new(5, 2).into();
    bench.holds("afterwards", &[order(1, 10, "one"), second, order(3, 10, "three")]).await
}

pub(super) async fn a_mixed_write_is_counted_row_by_row(sink: &dyn Sink) -> Finding {
    let bench = Bench::filled(sink).await?;
    let rows = [order(3, 10, "three"), order(5, 10, "five"), order(2, 10, "other"), order(4, 10, "four")];
    same("outcomes", bench.write(&rows).await?, [Unchanged, Created, Updated, Created])?;
    let all = [order(1, 10, "one"), rows[2].clone(), rows[0].clone(), rows[3].clone(), rows[1].clone()];
    bench.holds("after the mixed write", &all).await
}

pub(super) async fn a_delete_removes_the_row(sink: &dyn Sink) -> Finding {
    let bench = Bench::filled(sink).await?;
    let deleted = bench.outcomes(bench.change(deletes(&bench.stream, &[(2, None)]))).await?;
    same("outcome of the delete", deleted, [Deleted])?;
    bench.holds("after the delete", &[order(1, 10, "one"), order(3, 10, "three")]).await
}

pub(super) async fn a_delete_of_no_row_writes_nothing(sink: &dyn Sink) -> Finding {
    let bench = Bench::filled(sink).await?;
    let deleted = bench.outcomes(bench.change(deletes(&bench.stream, &[(7, None)]))).await?;
    same("outcome of a delete of no row", deleted, [Unchanged])
}

pub(super) async fn a_row_may_come_back_after_its_delete(sink: &dyn Sink) -> Finding {
    let bench = Bench::filled(sink).await?;
    bench.outcomes(bench.change(deletes(&bench.stream, &[(2, None)]))).await?;
    same("outcome of the row that came back", bench.write(&[order(2, 12, "back")]).await?, [Created])?;
    bench.holds("afterwards", &[order(1, 10, "one"), order(2, 12, "back"), order(3, 10, "three")]).await
}

pub(super) async fn existing_rows_are_left_alone_by_insert_only(sink: &dyn Sink) -> Finding {
    let bench = Bench::filled(sink).await?;
    let mut write = bench.plain(&[order(1, 11, "changed"), order(4, 10, "four")]);
    write.mode = WriteMode::InsertOnly;
    same("outcomes", bench.outcomes(write).await?, [Existing, Created])?;
    let rows = [order(1, 10, "one"), order(2, 10, "two"), order(3, 10, "three"), order(4, 10, "four")];
    bench.holds("afterwards", &rows).await
}

pub(super) async fn appended_rows_are_always_new(sink: &dyn Sink) -> Finding {
    needs(sink.capabilities().atomic_checkpoint, "an atomic checkpoint")?;
    let stream = StreamSpec::new("testkit_events").text("what").disposition(Disposition::Append);
    let bench = Bench::with(sink, Arc::new(stream)).await?;
    for round in 1..=2 {
        let mut write = bench.plain(&[vec!["same".into()], vec!["same".into()]]);
        write.mode = WriteMode::Append;
        same("outcomes of appended rows", bench.outcomes(write).await?, [Created, Created])?;
        if let Some(count) = bench.count().await? {
            same("rows that were appended", count, round * 2)?;
        }
    }
    Ok(())
}

pub(super) async fn values_come_back_as_they_were(sink: &dyn Sink) -> Finding {
    let bench = Bench::with(sink, samples()).await?;
    let rows = sample_rows();
    same("outcomes", bench.write(&rows).await?, vec![Created; rows.len()])?;
    same("outcomes of the same values again", bench.write(&rows).await?, vec![Unchanged; rows.len()])?;
    stored_values(&bench).await
}

/// The second life of a sink that was asked for its values in the first.
pub(super) async fn values_are_still_as_they_were(sink: &dyn Sink) -> Finding {
    let bench = Bench::with(sink, samples()).await?;
    stored_values(&bench).await?;
    same("outcomes of the same values again", bench.write(&sample_rows()).await?, vec![Unchanged; sample_rows().len()])
}

async fn stored_values(bench: &Bench<'_>) -> Finding {
    needs(bench.sink.capabilities().read_back, "`stored`")?;
    for (id, row) in ids(1..=9).into_iter().zip(sample_rows()) {
        let found = bench.stored(&[id]).await?.pop().flatten().unwrap_or_default();
        for ((field, found), wanted) in bench.stream.schema().fields().iter().zip(&found).zip(&row) {
            same(&format!("column {:?}", field.name()), found, wanted)?;
        }
        same("columns", found.len(), row.len())?;
    }
    Ok(())
}

pub(super) async fn keys_that_look_alike_stay_apart(sink: &dyn Sink) -> Finding {
    let bench = Bench::with(sink, names()).await?;
    let rows = name_rows();
    same("outcomes of ten keys", bench.write(&rows).await?, vec![Created; rows.len()])?;
    same("outcomes of the same again", bench.write(&rows).await?, vec![Unchanged; rows.len()])?;
    if let Some(count) = bench.count().await? {
        same("rows", count, rows.len() as u64)?;
    }
    needs(sink.capabilities().read_back, "`stored`")?;
    let keys: Vec<Key> = rows.iter().map(|row| Key::new(row[..2].to_vec())).collect();
    same("rows by key", bench.stored(&keys).await?, rows.into_iter().map(Some).collect::<Vec<_>>())
}

/// The first life of a durable sink.
pub(super) async fn some_rows(sink: &dyn Sink) -> Finding {
    Bench::filled(sink).await?;
    Ok(())
}

/// The second life.
pub(super) async fn some_rows_are_there(sink: &dyn Sink) -> Finding {
    let rows = [order(1, 10, "one"), order(2, 10, "two"), order(3, 10, "three")];
    Bench::new(sink).await?.holds("after the restart", &rows).await?;
    same("outcomes of the same rows again", Bench::new(sink).await?.write(&rows).await?, [Unchanged; 3])
}
