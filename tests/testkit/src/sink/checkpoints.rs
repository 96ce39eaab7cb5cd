//! Checkpoints that move with the rows, and the tokens that guard them.

use sync_core::model::Outcome::Created;
use sync_core::model::{Lane, Partition};
use sync_core::sink::{Intent, Step};
use sync_core::state::{Checkpoint, FencingToken};
use sync_core::{Error, ErrorKind, Scope, Sink, Value};

use super::{Bench, advance, tally};
use crate::data::{order, scope};
use crate::report::{Finding, broken, needs, same};

async fn claimed(sink: &dyn Sink, token: u64) -> Result<Bench<'_>, crate::report::Stop> {
    needs(sink.capabilities().atomic_checkpoint, "an atomic checkpoint")?;
    let bench = Bench::new(sink).await?;
    sink.open(&bench.scope, FencingToken(token)).await?;
    Ok(bench)
}

impl Bench<'_> {
    /// A unit with one row that moves the scope forward.
    async fn step(&self, token: u64, expected: u64, row: Vec<Value>) -> Result<(), Error> {
        self.unit(&[Step::Write(self.plain(&[row]))], Some(&advance(token, expected)), Intent::Commit).await.map(drop)
    }
}

/// Where a scope stands after a unit with one new row.
fn after_one(expected: u64) -> Option<Checkpoint> {
    Some(Checkpoint { tally: tally(&[(Created, 1)]), ..advance(1, expected).next })
}

fn fenced(what: &str, result: Result<(), Error>) -> Finding {
    match result {
        Ok(()) => broken(format!("{what} was accepted")),
        Err(error) => same(&format!("kind of the error of {what}"), error.kind(), ErrorKind::Fenced),
    }
}

pub(super) async fn a_scope_begins_without_checkpoint(sink: &dyn Sink) -> Finding {
    let bench = claimed(sink, 1).await?;
    same("checkpoint of a new scope", sink.open(&bench.scope, FencingToken(1)).await?, None)?;
    same("checkpoint of a scope nobody claimed", sink.checkpoint(&scope("other")).await?, None)
}

pub(super) async fn the_checkpoint_comes_with_the_rows(sink: &dyn Sink) -> Finding {
    let bench = claimed(sink, 1).await?;
    bench.step(1, 0, order(1, 10, "one")).await?;
    same("checkpoint after a unit", sink.open(&bench.scope, FencingToken(1)).await?, after_one(0))?;
    bench.step(1, 1, order(2, 10, "two")).await?;
    same("checkpoint after a second unit", sink.checkpoint(&bench.scope).await?, after_one(1))?;
    bench.holds("after two units", &[order(1, 10, "one"), order(2, 10, "two")]).await
}

pub(super) async fn a_failed_unit_moves_no_checkpoint(sink: &dyn Sink) -> Finding {
    let bench = claimed(sink, 1).await?;
    let mut bad = order(1, 10, "no key");
    bad[0] = Value::Null;
    if bench.step(1, 0, bad).await.is_ok() {
        return broken("a row without key was accepted");
    }
    same("checkpoint after a unit that failed", sink.open(&bench.scope, FencingToken(1)).await?, None)?;
    bench.step(1, 0, order(1, 10, "one")).await?;
    same("checkpoint after the next unit", sink.checkpoint(&bench.scope).await?, after_one(0))
}

pub(super) async fn a_lower_token_cannot_claim(sink: &dyn Sink) -> Finding {
    let bench = claimed(sink, 2).await?;
    fenced("a claim with a lower token", sink.open(&bench.scope, FencingToken(1)).await.map(drop))?;
    bench.step(2, 0, order(1, 10, "one")).await?;
    Ok(())
}

pub(super) async fn a_fenced_holder_writes_nothing(sink: &dyn Sink) -> Finding {
    let bench = claimed(sink, 1).await?;
    bench.step(1, 0, order(1, 10, "one")).await?;
    same("checkpoint at the takeover", sink.open(&bench.scope, FencingToken(2)).await?, after_one(0))?;
    fenced("a unit of a fenced holder", bench.step(1, 1, order(2, 10, "two")).await)?;
    bench.holds("after the unit of a fenced holder", &[order(1, 10, "one")]).await?;
    same("checkpoint after it", sink.checkpoint(&bench.scope).await?, after_one(0))
}

pub(super) async fn a_unit_that_comes_twice_is_refused(sink: &dyn Sink) -> Finding {
    let bench = claimed(sink, 1).await?;
    bench.step(1, 0, order(1, 10, "one")).await?;
    fenced("a unit that came twice", bench.step(1, 0, order(2, 10, "two")).await)?;
    fenced("a unit from the future", bench.step(1, 5, order(3, 10, "three")).await)?;
    bench.holds("after both", &[order(1, 10, "one")]).await?;
    same("checkpoint after both", sink.checkpoint(&bench.scope).await?, after_one(0))
}

pub(super) async fn claiming_again_is_harmless(sink: &dyn Sink) -> Finding {
    let bench = claimed(sink, 3).await?;
    for seq in 0..3 {
        sink.open(&bench.scope, FencingToken(3)).await?;
        let id = i64::try_from(seq).unwrap_or_default() + 1;
        bench.step(3, seq, order(id, 10, "again")).await?;
    }
    let seq = sink.checkpoint(&bench.scope).await?.map(|checkpoint| checkpoint.seq);
    same("sequence after three units", seq, Some(3))
}

pub(super) async fn scopes_stand_apart(sink: &dyn Sink) -> Finding {
    let mut bench = claimed(sink, 9).await?;
    bench.step(9, 0, order(1, 10, "one")).await?;
    let other = scope("orders");
    let others = [
        Scope { pipeline: "other".into(), ..other.clone() },
        Scope { feed: "other".into(), ..other.clone() },
        Scope { partition: Partition::new("other"), ..other.clone() },
        Scope { lane: Lane::Backfill("other".into()), ..other.clone() },
        Scope { lane: Lane::Reconcile, ..other.clone() },
        Scope { lane: Lane::Backfill("reconcile".into()), ..other.clone() },
    ];
    for (other, id) in others.into_iter().zip(2..) {
        // Lanes of one scope share a token.
        let token = if other.live() == scope("orders") { 9 } else { 1 };
        same(&format!("checkpoint of {other}"), sink.open(&other, FencingToken(token)).await?, None)?;
        bench.scope = other;
        bench.step(token, 0, order(id, 10, "another scope")).await?;
    }
    same("checkpoint of the first scope", sink.checkpoint(&scope("orders")).await?, after_one(0))
}

pub(super) async fn a_holder_of_a_side_lane_is_fenced_by_the_live_one(sink: &dyn Sink) -> Finding {
    let mut bench = claimed(sink, 1).await?;
    let live = std::mem::replace(&mut bench.scope, Scope { lane: Lane::Reconcile, ..scope("orders") });
    sink.open(&bench.scope, FencingToken(1)).await?;
    bench.step(1, 0, order(1, 10, "one")).await?;
    sink.open(&live, FencingToken(2)).await?;
    fenced("a unit of the side lane", bench.step(1, 1, order(2, 10, "two")).await)?;
    bench.holds("after it", &[order(1, 10, "one")]).await?;
    sink.open(&bench.scope, FencingToken(2)).await?;
    bench.step(2, 1, order(3, 10, "three")).await?;
    Ok(())
}

pub(super) async fn looking_claims_nothing(sink: &dyn Sink) -> Finding {
    let bench = claimed(sink, 1).await?;
    sink.checkpoint(&bench.scope).await?;
    bench.step(1, 0, order(1, 10, "one")).await?;
    same("checkpoint seen", sink.checkpoint(&bench.scope).await?, after_one(0))?;
    bench.step(1, 1, order(2, 10, "two")).await?;
    Ok(())
}

/// The first life of a durable sink.
pub(super) async fn one_step(sink: &dyn Sink) -> Finding {
    let bench = claimed(sink, 4).await?;
    bench.step(4, 0, order(1, 10, "one")).await?;
    Ok(())
}

/// The second life: the claim outlives it too.
pub(super) async fn one_step_is_there(sink: &dyn Sink) -> Finding {
    let bench = Bench::new(sink).await?;
    same("checkpoint after the restart", sink.checkpoint(&bench.scope).await?, after_one(0))?;
    fenced("a claim with a lower token", sink.open(&bench.scope, FencingToken(3)).await.map(drop))?;
    sink.open(&bench.scope, FencingToken(5)).await?;
    fenced("a unit of the first life", bench.step(4, 1, order(2, 10, "two")).await)
}
