//! What kind of world a seed draws: how the source feeds, what the target can do, and what goes wrong.

use std::time::Duration;

use sync_core::StreamSpec;
use sync_core::memory::{Feeding, FirstLoad, MemorySink, MemorySource};
use sync_core::sink::SinkCapabilities;
use sync_core::source::Listing;
use sync_testkit::Random;
use sync_testkit::fault::{At, Call, Fault, FaultPlan};

/// What does not change in the life of a world.
#[derive(Debug)]
pub(crate) struct Nature {
    pub(crate) feeding: Feeding,
    pub(crate) incoming_wins: bool,
    pub(crate) partitions: usize,
    /// Rows and position in one transaction of the target; otherwise the position follows in the store.
    pub(crate) atomic: bool,
    /// The shop writes some rows together.
    pub(crate) groups: bool,
    /// The shop has rows that cannot be read.
    pub(crate) spoils: bool,
    /// The target refuses some rows, and says which, or not.
    pub(crate) poison: Option<bool>,
}

impl Nature {
    pub(crate) fn draw(random: &mut Random) -> Self {
        let partitions = if random.chance(0.3) { 2 + random.below(2) as usize } else { 1 };
        // Nothing in a row tells its partition, so only a log brings their deletes.
        let feeding = if partitions > 1 || random.chance(0.5) { Feeding::Log } else { Feeding::Version };
        // A first load that begins anew, since no position was saved with its rows, leaves rows that were deleted meanwhile.
        let atomic = partitions > 1 || random.chance(0.7);
        Self {
            feeding,
            // Without a position beside the rows, old rows may come again: only versions keep them out.
            incoming_wins: atomic && random.chance(0.5),
            partitions,
            atomic,
            // Only a log knows what belongs together, and a partition has only its part of it.
            groups: feeding == Feeding::Log && partitions == 1 && random.chance(0.5),
            // A letter of a row that was deleted while nobody looked may come back, until a listing finds it gone.
            spoils: partitions == 1 && random.chance(0.2),
            poison: (partitions == 1 && random.chance(0.2)).then(|| random.chance(0.5)),
        }
    }

    /// Whether a range or a listing of rows is ahead of the live position, which would then bring states back that the
    /// target has passed already.
    pub(crate) fn rows_come_ahead(&self) -> bool {
        self.incoming_wins || self.feeding == Feeding::Log
    }

    /// Whether the target refuses the units of a holder that lost its lease.
    pub(crate) fn is_fenced(&self) -> bool {
        self.atomic
    }

    /// Whether rows may become dead letters.
    pub(crate) fn rejects(&self) -> bool {
        self.spoils || self.poison.is_some()
    }

    pub(crate) fn shop(&self, random: &mut Random) -> MemorySource {
        let first_load = if random.chance(0.5) { FirstLoad::ByKey } else { FirstLoad::Scattered };
        let listing = if self.rows_come_ahead() || random.chance(0.5) { Listing::Keys } else { Listing::Rows };
        let spec = StreamSpec::new("orders").key(["id"]).uint("id").version("changed_at").text("note");
        let page = 1 + random.below(9) as usize;
        let shop = MemorySource::of([spec]).feeding(self.feeding).first_load(first_load).listing(listing);
        shop.page(page).partitioned(self.partitions)
    }

    pub(crate) fn target(&self) -> MemorySink {
        let mut capabilities = SinkCapabilities::all();
        capabilities.atomic_checkpoint = self.atomic;
        MemorySink::with_capabilities(capabilities)
    }

    pub(crate) fn faults(&self, seed: u64, random: &mut Random) -> FaultPlan {
        let rate = |random: &mut Random, most: u64| At::Chance(random.below(most + 1) as f64 / 100.0);
        let plan = FaultPlan::new(seed)
            .on(Call::Apply, rate(random, 15), Fault::LostReply)
            .on(Call::Apply, rate(random, 15), Fault::LostRequest)
            .on(Call::Batch, rate(random, 15), Fault::Fail)
            .on(Call::Batch, rate(random, 15), Fault::Duplicate)
            .on(Call::Record, rate(random, 8), Fault::LostReply)
            .on(Call::Any, rate(random, 2), Fault::CrashBefore)
            .on(Call::Any, rate(random, 2), Fault::CrashAfter)
            .on(Call::Any, rate(random, 8), Fault::Slow(Duration::from_secs(3)));
        match self.poison {
            Some(named) => plan.poison_share(0.03, named),
            None => plan,
        }
    }
}
