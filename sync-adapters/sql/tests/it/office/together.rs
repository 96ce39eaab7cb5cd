//! Writes that come together, beside the same ones made alone.

use std::collections::BTreeMap;

use sync_core::Result;
use sync_core::two_way::{Entry, RowWrite, Tables};
use sync_testkit::Random;

use super::{Office, OnServer};

/// What is left of an office after writes: what each came to, or which was refused and why; and what stands in the feed.
type Left = (std::result::Result<Vec<u64>, (usize, String)>, Vec<String>);

async fn left<R: OnServer>(office: &Office<R>, done: Result<Vec<u64>>, at: Option<usize>) -> Left {
    let entries = office.after(0).await;
    let place = |rev: &u64| entries.iter().find(|entry| entry.stamp.rev == *rev).map_or(0, |entry| entry.seq);
    let refused = |error: sync_core::Error| {
        let code = error.context().find(|(name, _)| *name == "code").map(|(_, code)| code.to_owned());
        (at.or(error.row().map(|at| at.row)).unwrap_or(99), format!("{:?} {} {code:?}", error.kind(), error.message()))
    };
    let show = |entry: &Entry| {
        let Entry { table, key, before, after, stamp, upstream, .. } = entry;
        format!("{table} {key}: {before:?} > {after:?} {} {} {} {upstream}", stamp.origin, stamp.op, stamp.seen)
    };
    (done.map(|revs| revs.iter().map(place).collect()).map_err(refused), entries.iter().map(show).collect())
}

/// Writes at once in one office leave what they leave one by one in another, refusals included. `refused` is how many of the rounds
/// must be.
pub(crate) async fn writes_leave_what_they_leave_one_by_one<R: OnServer>(
    schema: &str,
    tables: fn() -> Tables,
    seed: u64,
    some_write: fn(&mut Random, &Tables, u64) -> RowWrite,
    refused: u64,
) {
    let (together, apart) = (Office::<R>::with(schema, tables()).await, Office::<R>::with(schema, tables()).await);
    let (mut random, mut seq, mut tally) = (Random::new(seed), 0, BTreeMap::new());
    for round in 0..60 {
        let many = 2 + random.below(6);
        let writes: Vec<RowWrite> =
            (0..many).map(|number| some_write(&mut random, &tables(), round * 10 + number)).collect();
        let mut tx = together.replica.begin().await.unwrap();
        let done = tx.write(&writes).await;
        if done.is_ok() {
            tx.commit().await.unwrap();
        } else {
            drop(tx);
        }
        let (mut tx, mut each, mut at) = (apart.replica.begin().await.unwrap(), Ok(Vec::new()), None);
        for (number, write) in writes.iter().enumerate() {
            match (tx.write(std::slice::from_ref(write)).await, &mut each) {
                (Ok(rev), Ok(revs)) => revs.extend(rev),
                (Err(error), _) => {
                    (each, at) = (Err(error), Some(number));
                    break;
                }
                (Ok(_), Err(_)) => unreachable!("it ends with the first error"),
            }
        }
        if each.is_ok() {
            tx.commit().await.unwrap();
        } else {
            drop(tx);
        }
        *tally.entry(done.is_ok()).or_insert(0) += 1;
        let (one, other) = (left(&together, done, None).await, left(&apart, each, at).await);
        assert_eq!(one.0, other.0, "round {round}: {writes:#?}");
        assert_eq!(one.1[seq..], other.1[seq..], "round {round}: {writes:#?}");
        seq = one.1.len();
    }
    println!("{tally:?}, {seq} entries");
    assert!(tally[&true] > 15 && tally[&false] > refused, "{tally:?}");
    assert_eq!((together.replica.missed().await, apart.replica.missed().await), (0, 0));
}
