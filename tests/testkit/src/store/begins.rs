//! Runs that are recorded together with their lease: whoever holds it is the only one who runs.

use sync_core::state::{Entry, FencingToken, Lease, RunQuery, RunRecord, RunStatus};
use sync_core::{Error, Ledger};

use super::{Bench, LONG, fenced, instant, run, step};
use crate::data::scope;
use crate::report::{Finding, holds, same};

impl Bench {
    async fn begin(&self, owner: &str, first: &RunRecord) -> Result<Lease, Error> {
        self.store.begin("testkit", owner, LONG, FencingToken(0), first).await
    }

    async fn all_runs(&self) -> Result<Vec<RunRecord>, Error> {
        self.store.runs(&RunQuery::default()).await
    }
}

fn ended(record: RunRecord) -> RunRecord {
    let ledger = Ledger { fetched: 7, ..Ledger::default() };
    RunRecord { status: RunStatus::Completed, finished: Some(instant(50)), ledger, ..record }
}

pub(super) async fn a_run_begins_with_its_lease(bench: &Bench) -> Finding {
    let before = bench.acquire("ann", LONG).await?;
    let lease = bench.store.begin("testkit", "ann", LONG, FencingToken(40), &run(1, &scope("a"))).await?;
    holds(lease.token > before.token, "a run began without a higher token")?;
    holds(lease.token >= FencingToken(40), "a run began below the floor of its token")?;
    fenced("a lease that a run holds", bench.acquire("bob", LONG).await)?;
    bench.store.renew(&lease).await?;
    same("runs", bench.all_runs().await?, [run(1, &scope("a"))])
}

pub(super) async fn a_refused_run_leaves_no_record(bench: &Bench) -> Finding {
    let lease = bench.begin("ann", &run(1, &scope("a"))).await?;
    fenced("a run beside another", bench.begin("bob", &run(2, &scope("a"))).await)?;
    same("runs", bench.all_runs().await?, [run(1, &scope("a"))])?;
    Ok(bench.store.renew(&lease).await?)
}

pub(super) async fn a_run_that_died_is_closed_by_the_next(bench: &Bench) -> Finding {
    let done = ended(run(1, &scope("a")));
    let lease = bench.begin("ann", &run(1, &scope("a"))).await?;
    bench.record(&lease, &[Entry::Run(done.clone()), Entry::Run(run(2, &scope("b")))]).await?;
    bench.begin("ann", &run(3, &scope("a"))).await?;
    bench.begin("ann", &run(4, &scope("a"))).await?;
    let mut found = bench.all_runs().await?;
    holds(found.len() == 4, format!("{} of 4 runs are there", found.len()))?;
    let dead = found.remove(1);
    same("status of a run that died", dead.status, RunStatus::Failed)?;
    holds(dead.finished.is_some() && dead.error.is_some(), "a run that died does not say so")?;
    same("the other runs", found, [run(4, &scope("a")), run(2, &scope("b")), done])
}

pub(super) async fn the_same_run_begun_twice_is_one(bench: &Bench) -> Finding {
    let first = bench.begin("ann", &run(1, &scope("a"))).await?;
    let second = bench.begin("ann", &run(1, &scope("a"))).await?;
    holds(second.token > first.token, "the second claim of an owner got no higher token")?;
    same("runs", bench.all_runs().await?, [run(1, &scope("a"))])
}

pub(super) async fn a_run_that_finishes_is_recorded_and_its_lease_is_free(bench: &Bench) -> Finding {
    let lease = bench.begin("ann", &run(1, &scope("a"))).await?;
    let done = ended(run(1, &scope("a")));
    bench.store.finish(&lease, &[Entry::Run(done.clone()), step(&scope("a"), &lease, 0)]).await?;
    same("runs", bench.all_runs().await?, [done])?;
    holds(bench.store.checkpoint(&scope("a")).await?.is_some(), "an entry was left out")?;
    let next = bench.acquire("bob", LONG).await?;
    holds(next.token > lease.token, "the lease was given again without a higher token")
}

pub(super) async fn a_fenced_holder_finishes_nothing(bench: &Bench) -> Finding {
    let old = bench.begin("ann", &run(1, &scope("a"))).await?;
    let newest = bench.acquire("ann", LONG).await?;
    let done = Entry::Run(ended(run(1, &scope("a"))));
    fenced("finishing under a lease that was taken over", bench.store.finish(&old, &[done]).await)?;
    same("runs", bench.all_runs().await?, [run(1, &scope("a"))])?;
    bench.store.renew(&newest).await?;
    fenced("a lease whose old holder finished", bench.acquire("bob", LONG).await)
}
