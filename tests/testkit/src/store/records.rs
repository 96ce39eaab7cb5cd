//! Records: all entries or none, by the newest holder alone.

use sync_core::model::{Frontier, FrontierProof, Lane, Outcome, Partition, RowScope, Tally, Timestamp};
use sync_core::state::{
    Advance, Checkpoint, Entry, FencingToken, LetterQuery, OpenStage, RunId, RunQuery, RunRecord, RunStatus, Spared,
    StageName,
};
use sync_core::{Ledger, Scope};

use super::{Bench, LONG, SHORT, cursor, fenced, instant, letters, run, step};
use crate::data::{at, scope};
use crate::report::{Finding, holds, same};

pub(super) async fn a_fenced_holder_records_nothing(bench: &Bench) -> Finding {
    let first = bench.acquire("ann", LONG).await?;
    bench.acquire("ann", LONG).await?;
    let entries = [step(&scope("a"), &first, 0), Entry::DeadLetter(letters::letter("a", 1))];
    fenced("a record under a lease that was taken over", bench.record(&first, &entries).await)?;
    same("checkpoint after it", bench.store.checkpoint(&scope("a")).await?, None)?;
    same("dead letters after it", bench.store.dead_letters(&LetterQuery::default()).await?, [])
}

pub(super) async fn an_expired_lease_that_nobody_took_still_records(bench: &Bench) -> Finding {
    let lease = bench.acquire("ann", SHORT).await?;
    bench.outlast_short();
    bench.record(&lease, &[step(&scope("a"), &lease, 0)]).await?;
    holds(bench.store.checkpoint(&scope("a")).await?.is_some(), "nothing was recorded")
}

fn full_checkpoint() -> Checkpoint {
    let column = "changed_at".to_owned();
    let rows = RowScope::Range { column, from: Some(at(5)), until: None };
    let mut tally = Tally::new();
    tally.add(Outcome::Created, 3);
    tally.add(Outcome::Withheld, u64::from(u32::MAX) + 1);
    Checkpoint {
        seq: 1,
        cursor: Some(cursor(1)),
        frontier: Some(Frontier { at: Timestamp::from_micros(1_234_567_890_123_456), proof: FrontierProof::Assumed }),
        stage: Some(OpenStage {
            stage: StageName::new("stage_1"),
            rows,
            staged: 12,
            before: Some(cursor(1)),
            first_load: true,
            keys_only: false,
            spared: Spared::default(),
        }),
        tally,
    }
}

pub(super) async fn a_checkpoint_comes_back_as_it_was(bench: &Bench) -> Finding {
    let lease = bench.acquire("ann", LONG).await?;
    same("checkpoint of a new scope", bench.store.checkpoint(&scope("a")).await?, None)?;
    let advance = Advance { token: lease.token, expected: 0, next: full_checkpoint() };
    bench.record(&lease, &[Entry::Checkpoint { scope: scope("a"), advance }]).await?;
    same("checkpoint", bench.store.checkpoint(&scope("a")).await?, Some(full_checkpoint()))
}

pub(super) async fn a_checkpoint_moves_step_by_step(bench: &Bench) -> Finding {
    let seq = async || Ok::<_, sync_core::Error>(bench.store.checkpoint(&scope("a")).await?.map_or(0, |c| c.seq));
    let first = bench.acquire("ann", LONG).await?;
    fenced("a first step from 3", bench.record(&first, &[step(&scope("a"), &first, 3)]).await)?;
    for expected in 0..3 {
        bench.record(&first, &[step(&scope("a"), &first, expected)]).await?;
    }
    fenced("a step that came twice", bench.record(&first, &[step(&scope("a"), &first, 2)]).await)?;
    fenced("a step that leaves one out", bench.record(&first, &[step(&scope("a"), &first, 4)]).await)?;
    same("sequence", seq().await?, 3)?;
    let second = bench.acquire("ann", LONG).await?;
    fenced("a step under an old token", bench.record(&second, &[step(&scope("a"), &first, 3)]).await)?;
    bench.record(&second, &[step(&scope("a"), &second, 3)]).await?;
    same("sequence after the takeover", seq().await?, 4)
}

pub(super) async fn scopes_stand_apart(bench: &Bench) -> Finding {
    let lease = bench.acquire("ann", LONG).await?;
    let plain = scope("a");
    let scopes = [
        plain.clone(),
        scope("b"),
        Scope { pipeline: "other".into(), ..plain.clone() },
        Scope { partition: Partition::new("p"), ..plain.clone() },
        Scope { lane: Lane::Backfill("x".into()), ..plain.clone() },
        Scope { lane: Lane::Reconcile, ..plain.clone() },
        Scope { lane: Lane::Backfill("reconcile".into()), ..plain.clone() },
    ];
    for scope in &scopes {
        same(&format!("checkpoint of {scope}"), bench.store.checkpoint(scope).await?, None)?;
        bench.record(&lease, &[step(scope, &lease, 0)]).await?;
    }
    Ok(())
}

pub(super) async fn all_entries_or_none(bench: &Bench) -> Finding {
    let lease = bench.acquire("ann", LONG).await?;
    let entries = [
        Entry::DeadLetter(letters::letter("a", 1)),
        Entry::Run(run(1, &scope("a"))),
        Entry::Hold { scope: scope("a"), until: Some(instant(9)) },
        step(&scope("a"), &lease, 0),
        step(&scope("b"), &lease, 5),
    ];
    fenced("a record whose last entry does not hold", bench.record(&lease, &entries).await)?;
    same("dead letters after it", bench.store.dead_letters(&LetterQuery::default()).await?, [])?;
    same("runs after it", bench.store.runs(&RunQuery::default()).await?, [])?;
    same("hold after it", bench.store.hold(&scope("a")).await?, None)?;
    same("checkpoint after it", bench.store.checkpoint(&scope("a")).await?, None)?;
    Ok(bench.record(&lease, &entries[..4]).await?)
}

pub(super) async fn a_hold_is_set_and_lifted(bench: &Bench) -> Finding {
    let lease = bench.acquire("ann", LONG).await?;
    same("hold of a new scope", bench.store.hold(&scope("a")).await?, None)?;
    for until in [Some(instant(5)), Some(instant(6)), None] {
        bench.record(&lease, &[Entry::Hold { scope: scope("a"), until }]).await?;
        same("hold", bench.store.hold(&scope("a")).await?, until)?;
        same("hold of another scope", bench.store.hold(&scope("b")).await?, None)?;
    }
    Ok(())
}

fn finished() -> RunRecord {
    let mut ledger = Ledger { fetched: 5, absent: 1, carried: 2, ..Ledger::default() };
    ledger.outcomes.add(Outcome::Updated, 8);
    let (finished, error) = (Some(instant(99)), Some("it's \"broken\"".to_owned()));
    RunRecord { status: RunStatus::Failed, finished, ledger, error, ..run(1, &scope("a")) }
}

pub(super) async fn runs_come_newest_first(bench: &Bench) -> Finding {
    let lease = bench.acquire("ann", LONG).await?;
    let other = Scope { pipeline: "other".into(), ..scope("a") };
    let runs = [run(2, &scope("a")), run(3, &other), run(1, &scope("a"))];
    bench.record(&lease, &runs.clone().map(Entry::Run)).await?;
    let [two, three, one] = runs;
    same("all runs", bench.store.runs(&RunQuery::default()).await?, [three, two.clone(), one.clone()])?;
    let pipeline = Some("testkit".to_owned());
    same("runs of one pipeline", bench.store.runs(&RunQuery { pipeline, ..RunQuery::default() }).await?, [two, one])
}

pub(super) async fn a_later_record_of_a_run_replaces_it(bench: &Bench) -> Finding {
    let lease = bench.acquire("ann", LONG).await?;
    bench.record(&lease, &[Entry::Run(run(1, &scope("a"))), Entry::Run(run(1, &scope("b")))]).await?;
    for _ in 0..2 {
        bench.record(&lease, &[Entry::Run(finished())]).await?;
    }
    let mut found = bench.store.runs(&RunQuery::default()).await?;
    found.sort_by(|a, b| a.scope.cmp(&b.scope));
    same("runs", found, [finished(), run(1, &scope("b"))])
}

pub(super) async fn runs_come_page_by_page(bench: &Bench) -> Finding {
    let lease = bench.acquire("ann", LONG).await?;
    let runs: Vec<Entry> =
        (1..=7).flat_map(|number| [run(number, &scope("a")), run(number, &scope("b"))]).map(Entry::Run).collect();
    bench.record(&lease, &runs).await?;
    let mut seen: Vec<(RunId, Scope)> = Vec::new();
    for _ in 0..20 {
        let before = seen.last().map(|(run, _)| run.clone());
        let page = bench.store.runs(&RunQuery { before, limit: 5, ..RunQuery::default() }).await?;
        if page.is_empty() {
            break;
        }
        seen.extend(page.into_iter().map(|run| (run.run, run.scope)));
    }
    holds(seen.is_sorted_by(|a, b| a.0 >= b.0), "older runs came before newer ones")?;
    seen.sort();
    seen.dedup();
    same("records of 7 runs in 2 scopes, seen over pages of 5", seen.len(), 14)
}

/// The first life of a durable store.
pub(super) async fn everything(bench: &Bench) -> Finding {
    let lease = bench.acquire("ann", LONG).await?;
    let advance = Advance { token: lease.token, expected: 0, next: full_checkpoint() };
    let entries = [
        Entry::Checkpoint { scope: scope("a"), advance },
        Entry::DeadLetter(letters::letter("a", 1)),
        Entry::Run(finished()),
        Entry::Hold { scope: scope("a"), until: Some(instant(9)) },
    ];
    Ok(bench.record(&lease, &entries).await?)
}

/// The second life.
pub(super) async fn everything_is_there(bench: &Bench) -> Finding {
    let found = bench.store.dead_letters(&LetterQuery::default()).await?;
    same("dead letters after the restart", found, [letters::letter("a", 1)])?;
    same("runs after the restart", bench.store.runs(&RunQuery::default()).await?, [finished()])?;
    same("hold after the restart", bench.store.hold(&scope("a")).await?, Some(instant(9)))?;
    same("checkpoint after the restart", bench.store.checkpoint(&scope("a")).await?, Some(full_checkpoint()))?;
    fenced("a lease that another owner holds since before the restart", bench.acquire("bob", LONG).await)?;
    let lease = bench.acquire("ann", LONG).await?;
    holds(lease.token > FencingToken(1), "tokens began anew after the restart")
}
