//! Complete listings and ranges.

use std::collections::BTreeSet;

use sync_core::model::{Boundary, RowScope};
use sync_core::source::{Listing, Reading};
use sync_core::{Batch, Key, Source, Value};

use super::Subject;
use super::reading::{Part, all_seen, changes, last_states, parts, read};
use crate::report::{Finding, Stop, holds, needs, same};

/// Reads a listing of this part, and checks how it begins and ends.
pub(super) async fn listing(source: &dyn Source, part: &Part) -> Result<Vec<Batch>, Stop> {
    let batches = read(source, changes(part).reading(Reading::Listing)).await?;
    framed(&batches, &RowScope::All)?;
    Ok(batches)
}

fn framed(batches: &[Batch], wanted: &RowScope) -> Finding {
    let Some(Batch { boundary: Boundary::Begins(scope), runs, .. }) = batches.first() else {
        return Err(Stop::Broken("a listing does not begin with `Begins`".into()));
    };
    holds(runs.iter().all(|run| run.changes.is_empty()), "rows come before the listing has begun")?;
    same("the scope that begins", scope, wanted)?;
    match batches.last().map(|batch| &batch.boundary) {
        Some(Boundary::Ends { scope, complete, .. }) => {
            same("the scope that ends", scope, wanted)?;
            holds(*complete, "the listing of data that stand still does not call itself complete")
        }
        _ => Err(Stop::Broken("a listing does not end with `Ends`".into())),
    }
}

pub(super) async fn a_listing_names_every_row_once(subject: &dyn Subject) -> Finding {
    let source = subject.source();
    needs(source.capabilities().listing != Listing::None, "a listing")?;
    for part in parts(source).await? {
        let all: BTreeSet<(String, Key)> =
            last_states(&all_seen(&read(source, changes(&part)).await?)).into_keys().collect();
        let rows = all_seen(&listing(source, &part).await?);
        let named: BTreeSet<(String, Key)> = rows.iter().map(|row| (row.stream.clone(), row.key.clone())).collect();
        same("rows the listing names", named.len(), all.len())?;
        holds(named == all, "the listing names other rows than a read brings")?;
        same("names in the listing", rows.len(), named.len())?;
    }
    Ok(())
}

pub(super) async fn a_listing_says_what_it_covers(subject: &dyn Subject) -> Finding {
    let source = subject.source();
    needs(source.capabilities().listing != Listing::None, "a listing")?;
    let whole_rows = source.capabilities().listing == Listing::Rows;
    for part in parts(source).await? {
        let rows = last_states(&all_seen(&read(source, changes(&part)).await?));
        for row in all_seen(&listing(source, &part).await?).into_iter().filter(|_| whole_rows) {
            let wanted = rows.get(&(row.stream.clone(), row.key.clone()));
            holds(wanted == Some(&row.values), "a listing of whole rows brings other values than a read")?;
        }
    }
    Ok(())
}

pub(super) async fn a_range_brings_its_rows_alone(subject: &dyn Subject) -> Finding {
    let source = subject.source();
    needs(source.capabilities().ranges, "ranges")?;
    let mut ranges = 0;
    for part in parts(source).await? {
        let [stream] = part.0.streams() else { continue };
        let rows = last_states(&all_seen(&read(source, changes(&part)).await?));
        let column = stream.version_column().unwrap_or(&stream.key_columns()[0]).to_owned();
        let Some(index) = stream.schema().index(&column) else { continue };
        let mut values: Vec<&Value> = rows.values().map(|row| &row[index]).filter(|value| !value.is_null()).collect();
        values.sort();
        if values.is_empty() {
            continue;
        }
        ranges += 1;
        let (low, high) = (values[values.len() / 4].clone(), values[values.len() * 3 / 4].clone());
        for (from, until) in [(Some(low.clone()), Some(high.clone())), (None, Some(low)), (Some(high), None)] {
            let range = RowScope::Range { column: column.clone(), from: from.clone(), until: until.clone() };
            let batches = read(source, changes(&part).reading(Reading::Range(range.clone()))).await?;
            if batches.iter().any(|batch| matches!(batch.boundary, Boundary::Begins(_))) {
                framed(&batches, &range)?;
            }
            let inside = |value: &Value| {
                !value.is_null()
                    && from.as_ref().is_none_or(|from| value >= from)
                    && until.as_ref().is_none_or(|until| value < until)
            };
            let wanted =
                rows.iter().filter(|(_, row)| inside(&row[index])).map(|(key, row)| (key.clone(), row.clone()));
            let found = last_states(&all_seen(&batches));
            let wanted: std::collections::BTreeMap<_, _> = wanted.collect();
            same("rows in a range", found.len(), wanted.len())?;
            holds(found == wanted, "a range brought other rows than lie in it")?;
        }
    }
    needs(ranges > 0, "a feed of one stream with rows")
}
