//! Leases: one holder at a time, and tokens that grow.

use sync_core::state::FencingToken;

use super::{Bench, LONG, SHORT, fenced};
use crate::report::{Finding, holds, same};

pub(super) async fn one_owner_holds_a_lease(bench: &Bench) -> Finding {
    bench.acquire("ann", LONG).await?;
    match bench.acquire("bob", LONG).await {
        Err(error) => {
            let names_owner = error.to_string().contains("ann");
            fenced("a lease that another owner holds", Err::<(), _>(error))?;
            holds(names_owner, "the error does not name the owner who holds it")
        }
        granted => fenced("a lease that another owner holds", granted),
    }
}

pub(super) async fn names_are_leased_apart(bench: &Bench) -> Finding {
    bench.acquire("ann", LONG).await?;
    let other = bench.store.acquire("testkit/other", "bob", LONG, FencingToken(0)).await?;
    same("name of the lease", other.name.as_str(), "testkit/other")?;
    same("owner of the lease", other.owner.as_str(), "bob")?;
    same("time of the lease", other.ttl, LONG)
}

pub(super) async fn tokens_grow(bench: &Bench) -> Finding {
    let mut last = FencingToken(0);
    for owner in ["ann", "ann", "bob", "ann"] {
        let lease = bench.acquire(owner, LONG).await?;
        holds(lease.token > last, format!("a token of {} came after one of {last}", lease.token))?;
        last = lease.token;
        if owner != "ann" || last.0 > 1 {
            bench.store.release(&lease).await?;
        }
    }
    Ok(())
}

pub(super) async fn a_token_is_not_below_its_floor(bench: &Bench) -> Finding {
    let lease = bench.store.acquire("testkit", "ann", LONG, FencingToken(100)).await?;
    holds(lease.token >= FencingToken(100), format!("a token of {} was given for a floor of 100", lease.token))?;
    let lower = bench.store.acquire("testkit", "ann", LONG, FencingToken(7)).await?;
    holds(lower.token > lease.token, format!("a token of {} came after one of {}", lower.token, lease.token))
}

pub(super) async fn the_same_owner_takes_over_at_once(bench: &Bench) -> Finding {
    let first = bench.acquire("ann", LONG).await?;
    let second = bench.acquire("ann", LONG).await?;
    holds(second.token > first.token, "the second claim of an owner got no higher token")?;
    fenced("renewing a lease that a second claim took over", bench.store.renew(&first).await)?;
    Ok(bench.store.renew(&second).await?)
}

pub(super) async fn an_expired_lease_may_be_taken(bench: &Bench) -> Finding {
    let first = bench.acquire("ann", SHORT).await?;
    bench.outlast_short();
    let second = bench.acquire("bob", LONG).await?;
    holds(second.token > first.token, "the lease was taken over without a higher token")?;
    fenced("a lease that another owner holds", bench.acquire("ann", LONG).await)
}

pub(super) async fn a_renewed_lease_lasts(bench: &Bench) -> Finding {
    let mut lease = bench.acquire("ann", SHORT).await?;
    lease.ttl = LONG;
    bench.store.renew(&lease).await?;
    bench.outlast_short();
    fenced("a lease that was renewed", bench.acquire("bob", LONG).await)
}

pub(super) async fn an_old_holder_cannot_renew(bench: &Bench) -> Finding {
    let first = bench.acquire("ann", SHORT).await?;
    bench.outlast_short();
    bench.acquire("bob", LONG).await?;
    fenced("renewing a lease that was taken over", bench.store.renew(&first).await)
}

pub(super) async fn a_released_lease_is_free(bench: &Bench) -> Finding {
    let first = bench.acquire("ann", LONG).await?;
    bench.store.release(&first).await?;
    let second = bench.acquire("bob", LONG).await?;
    holds(second.token > first.token, "the lease was given again without a higher token")
}

pub(super) async fn an_old_holder_releases_nothing(bench: &Bench) -> Finding {
    let first = bench.acquire("ann", SHORT).await?;
    bench.outlast_short();
    let second = bench.acquire("bob", LONG).await?;
    bench.store.release(&first).await?;
    fenced("a lease whose old holder released it", bench.acquire("carl", LONG).await)?;
    Ok(bench.store.renew(&second).await?)
}
