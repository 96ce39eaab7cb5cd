//! The source suite.

use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use sync_core::memory::{Feeding, FirstLoad, MemorySource};
use sync_core::model::Timestamp;
use sync_core::source::Listing;
use sync_core::{Error, Key, Result, StreamSpec, Value};
use sync_testkit::source::{self, Act, Hand, with_hand};

const ROWS: i64 = 40;

fn at(seconds: i64) -> Value {
    Value::Timestamp(Timestamp::from_micros(seconds * 1_000_000))
}

/// A shop whose orders share a version three by three.
pub(super) fn shop() -> MemorySource {
    let orders = StreamSpec::new("orders").key(["id"]).version("changed_at").text("note");
    let shop = MemorySource::of([orders]).page(7);
    for id in 0..ROWS {
        shop.upsert("orders", [((id * 17) % ROWS).into(), at(id / 3), "as it was".into()]);
    }
    shop
}

/// Changes orders of the shop.
pub(super) struct Clerk {
    shop: MemorySource,
    acts: AtomicI64,
}

impl Clerk {
    pub(super) fn of(shop: &MemorySource) -> Self {
        Self { shop: shop.clone(), acts: AtomicI64::new(0) }
    }
}

#[async_trait]
impl Hand for Clerk {
    async fn act(&self, act: Act) -> Result<Option<(String, Key)>> {
        let number = self.acts.fetch_add(1, Ordering::Relaxed);
        let newest = self.shop.rows("orders").into_iter().map(|(_, row)| row[1].clone()).max().unwrap_or_default();
        let id = match act {
            Act::Change => number % 5,
            Act::Remove => 20 + number,
            Act::TieAbove => 1000 + number,
            _ => -number - 1,
        };
        let key = Key::new([id]);
        match act {
            Act::Remove => self.shop.delete("orders", &key),
            Act::AddGroup => self.shop.transaction(|changes| {
                (0..20)
                    .for_each(|row| changes.upsert("orders", [(id * 100 - row).into(), at(2000), "of a group".into()]));
            }),
            Act::TieAbove | Act::TieBelow => self.shop.upsert("orders", [id.into(), newest, "a tie".into()]),
            _ => self.shop.upsert("orders", [id.into(), at(1000 + number), "new".into()]),
        }
        Ok(Some(("orders".to_owned(), key)))
    }
}

async fn proves(shape: impl Fn(MemorySource) -> MemorySource) -> sync_testkit::Report {
    let report = source::conformance(async |_| {
        let shop = shape(shop());
        let clerk = Clerk::of(&shop);
        Ok::<_, Error>(with_hand(shop, clerk))
    });
    report.await
}

#[tokio::test]
async fn a_log_keeps_the_whole_specification() {
    let report = proves(|shop| shop).await;
    report.assert_no_skips();
    assert_eq!(report.held(), source::names());
}

#[tokio::test]
async fn a_feed_by_version_keeps_what_it_claims() {
    let report = proves(|shop| shop.feeding(Feeding::Version)).await;
    report.assert();
    assert_eq!(
        report.skipped(),
        ["groups_are_not_torn", "a_deleted_row_is_reported", "a_row_deleted_during_a_first_load_is_reported"]
    );
}

#[tokio::test]
async fn a_source_read_as_a_whole_keeps_what_it_claims() {
    let report = proves(|shop| shop.feeding(Feeding::Whole)).await;
    report.assert();
    assert!(report.skipped().contains(&"no_row_is_lost_behind_a_cursor"), "{report}");
    assert!(report.held().contains(&"a_listing_names_every_row_once"), "{report}");
}

#[tokio::test]
async fn scattered_rows_partitions_and_key_listings_keep_the_specification() {
    for feeding in [Feeding::Log, Feeding::Version, Feeding::Whole] {
        proves(|shop| shop.feeding(feeding).first_load(FirstLoad::Scattered)).await.assert();
        proves(|shop| shop.feeding(feeding).page(3).partitioned(3)).await.assert();
        proves(|shop| shop.feeding(feeding).listing(Listing::Keys)).await.assert();
        proves(|shop| shop.feeding(feeding).listing(Listing::None).without_ranges()).await.assert();
    }
}

#[tokio::test]
#[should_panic(expected = "these checks were not held: [\"a_row_below_the_cursor_at_its_position_comes_too\"]")]
async fn what_must_hold_must_not_be_left_out() {
    let report = source::conformance(async |_| Ok::<_, Error>(shop())).await;
    report.assert();
    report.assert_held(["no_row_is_lost_behind_a_cursor", "a_row_below_the_cursor_at_its_position_comes_too"]);
}

#[tokio::test]
#[should_panic(expected = "checks were left out")]
async fn a_source_without_a_hand_is_not_wholly_proven() {
    source::conformance(async |_| Ok::<_, Error>(shop())).await.assert_no_skips();
}
