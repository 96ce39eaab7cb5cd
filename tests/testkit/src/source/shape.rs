//! What the source offers: feeds, partitions, streams.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::model::Partition;

use super::Subject;
use super::reading::{all_seen, changes, parts, read};
use crate::report::{Finding, Stop, holds, same};

pub(super) async fn there_is_enough_to_read(subject: &dyn Subject) -> Finding {
    let source = subject.source();
    source.check().await?;
    let mut most = 0;
    for part in parts(source).await? {
        let batches = read(source, changes(&part)).await?;
        most = most.max(batches.iter().filter(|batch| batch.records() > 0).count());
    }
    holds(most >= 3, format!("its longest read has {most} batches with rows"))
}

pub(super) async fn feeds_and_partitions_stay_the_same(subject: &dyn Subject) -> Finding {
    let source = subject.source();
    let mut before = None;
    for _ in 0..2 {
        let mut names = BTreeSet::new();
        for feed in source.feeds().await? {
            for stream in feed.streams() {
                stream.check()?;
            }
            for partition in source.partitions(&feed).await? {
                let part = (feed.name().to_owned(), partition.name().to_owned());
                holds(names.insert(part), format!("feed {:?} has two partitions of one name", feed.name()))?;
            }
        }
        holds(!names.is_empty(), "there is no feed")?;
        if let Some(before) = before.replace(names.clone()) {
            same("feeds and partitions when asked again", names, before)?;
        }
    }
    Ok(())
}

pub(super) async fn rows_belong_to_their_feed(subject: &dyn Subject) -> Finding {
    let source = subject.source();
    for part in parts(source).await? {
        for batch in read(source, changes(&part)).await? {
            for run in &batch.runs {
                let name = run.stream.name();
                let Some(stream) = part.0.stream(name) else {
                    return Err(Stop::Broken(format!(
                        "feed {:?} brought rows of {name:?}, which is not in it",
                        part.0.name()
                    )));
                };
                let fits = run.changes.rows().schema() == stream.schema();
                holds(fits, format!("rows of {name:?} have other columns than the feed declares"))?;
                let keys = run.stream.key_indices();
                let empty = run.changes.iter().any(|change| keys.iter().any(|&key| change.row().at(key).is_null()));
                holds(!empty, format!("a row of {name:?} has an empty key column"))?;
            }
        }
    }
    Ok(())
}

pub(super) async fn partitions_share_no_row(subject: &dyn Subject) -> Finding {
    let source = subject.source();
    let mut places: BTreeMap<_, Partition> = BTreeMap::new();
    for part in parts(source).await? {
        for row in all_seen(&read(source, changes(&part)).await?) {
            let (feed, partition) = &part;
            let id = (feed.name().to_owned(), row.stream, row.key);
            let other = places.insert(id, partition.clone()).filter(|other| other != partition);
            if let Some(other) = other {
                let names = (other.name(), partition.name());
                return Err(Stop::Broken(format!("partitions {names:?} of feed {:?} hold the same row", feed.name())));
            }
        }
    }
    Ok(())
}
