//! For each check of the source suite a source that is broken in one way, which that check must reject.

mod broken;
mod hands;

use std::collections::BTreeSet;

use sync_core::Error;
use sync_testkit::{Verdict, source};

use self::broken::{Broken, Bug};

/// What is broken, and the checks that must see it.
const TWINS: &[(Bug, &[&str])] = &[
    (Bug::StopsAfterOneBatch, &["there_is_enough_to_read"]),
    (Bug::RenamesFeeds, &["feeds_and_partitions_stay_the_same"]),
    (Bug::BringsStrangers, &["rows_belong_to_their_feed"]),
    (Bug::OverlapsPartitions, &["partitions_share_no_row"]),
    (Bug::EndsInside, &["a_read_ends_where_one_may_stop"]),
    (Bug::ForgetsWhatItGave, &["reading_again_brings_the_same"]),
    (Bug::TripsOverDroppedReads, &["a_dropped_read_leaves_nothing_behind"]),
    (Bug::LoadsInAnyOrder, &["a_first_load_comes_by_key"]),
    (Bug::TearsGroups, &["groups_are_not_torn"]),
    (Bug::CursorBeforeRows, &["no_row_is_lost_behind_a_cursor"]),
    (Bug::GivesNoCursor, &["every_read_can_be_continued"]),
    (Bug::GoesOnAfterTheEnd, &["the_last_cursor_has_everything_behind_it"]),
    (Bug::StartsOver, &["the_last_cursor_has_everything_behind_it"]),
    (Bug::TakesAnyCursor, &["a_foreign_cursor_is_gone"]),
    (Bug::TakesReceiptsOnce, &["receipts_may_come_twice"]),
    (Bug::ListsHalf, &["a_listing_names_every_row_once"]),
    (Bug::ListsOldValues, &["a_listing_says_what_it_covers"]),
    (Bug::RangesBringEverything, &["a_range_brings_its_rows_alone"]),
    (Bug::DropsTheLastPage, &["an_added_row_comes_next"]),
    (Bug::BringsNewRowsOnly, &["a_changed_row_comes_next"]),
    (Bug::SkipsTies, &["a_row_at_the_same_position_comes_too"]),
    (Bug::SkipsTiesBelow, &["a_row_below_the_cursor_at_its_position_comes_too"]),
    (Bug::CursorOfTheHead, &["a_change_during_a_read_is_not_lost"]),
    (Bug::PagesByAnotherOrder, &["a_first_load_brings_every_row_whatever_changed_before"]),
    (Bug::GoesBackwards, &["changes_of_one_row_come_in_order"]),
    (Bug::SwallowsDeletes, &["a_deleted_row_is_reported"]),
    (Bug::BeginsWithRows, &["a_row_deleted_during_a_first_load_is_reported"]),
    (Bug::ListsTheDead, &["a_deleted_row_is_not_listed"]),
];

#[tokio::test]
async fn every_broken_source_is_rejected_by_its_check() {
    for (bug, checks) in TWINS {
        let report = source::conformance(async |_| Ok::<_, Error>(Broken::by(*bug))).await;
        for check in *checks {
            let found = report.checks().iter().find(|found| found.name == *check).map(|found| &found.verdict);
            match found {
                Some(Verdict::Broken(how)) => assert!(!how.contains("the hand is at fault"), "{bug:?}: {how}"),
                _ => panic!("{bug:?} was not seen by {check}\n{report}"),
            }
        }
    }
}

#[test]
fn every_check_of_the_source_suite_has_a_twin() {
    let twins: BTreeSet<&str> = TWINS.iter().flat_map(|(_, checks)| *checks).copied().collect();
    assert_eq!(twins, source::names().into_iter().collect());
}
