//! For each check of the sink suite a sink that is broken in one way, which that check must reject.

mod broken;

use std::collections::BTreeSet;

use sync_core::Error;
use sync_testkit::sink;

use self::broken::{Broken, Bug};

/// What is broken, and the checks that must see it.
const TWINS: &[(Bug, &[&str])] = &[
    (Bug::CountsCreatedAsUpdated, &["a_new_row_is_created"]),
    (Bug::WritesUnchangedRows, &["an_equal_row_is_unchanged"]),
    (Bug::KeepsOldRows, &["a_differing_row_is_updated"]),
    (
        Bug::WritesAllFields,
        &["fields_that_are_not_named_stay_as_they_are", "staged_fields_leave_the_others_as_they_are"],
    ),
    (Bug::CountsByGuess, &["a_mixed_write_is_counted_row_by_row"]),
    (Bug::IgnoresDeletes, &["a_delete_removes_the_row"]),
    (Bug::CountsEveryDelete, &["a_delete_of_no_row_writes_nothing"]),
    (Bug::BuriesDeletedRows, &["a_row_may_come_back_after_its_delete"]),
    (Bug::UpdatesOnInsertOnly, &["existing_rows_are_left_alone_by_insert_only"]),
    (Bug::AppendsOnce, &["appended_rows_are_always_new"]),
    (Bug::TrimsText, &["values_come_back_as_they_were"]),
    (Bug::FoldsCase, &["keys_that_look_alike_stay_apart"]),
    (Bug::AppliesHalfAUnit, &["a_unit_is_all_or_nothing", "a_failed_unit_stages_nothing"]),
    (Bug::PausesHalfWay, &["a_dropped_unit_is_whole_or_nothing"]),
    (Bug::BlamesTheFirstRow, &["a_bad_row_is_named_if_any_is"]),
    (Bug::GoesBackwards, &["steps_see_the_steps_before_them"]),
    (Bug::TakesOneAtATime, &["scopes_are_written_at_once"]),
    (
        Bug::IgnoresGuards,
        &[
            "guards_agree_with_their_one_reading",
            "a_guard_that_refuses_writes_nothing",
            "a_guard_holds_for_staged_rows",
        ],
    ),
    (Bug::ComparesContentAlways, &["differences_agree_with_their_one_reading"]),
    (Bug::IgnoresExpectations, &["an_expected_absence_is_checked", "an_expected_row_is_checked"]),
    (Bug::InventsACheckpoint, &["a_scope_begins_without_checkpoint"]),
    (Bug::LosesTheCheckpoint, &["the_checkpoint_comes_with_the_rows"]),
    (Bug::CheckpointFirst, &["a_failed_unit_moves_no_checkpoint"]),
    (Bug::IgnoresTokens, &["a_lower_token_cannot_claim", "a_fenced_holder_writes_nothing"]),
    (Bug::IgnoresSequence, &["a_unit_that_comes_twice_is_refused"]),
    (Bug::LetsClaimOnce, &["claiming_again_is_harmless"]),
    (Bug::KnowsOneScope, &["scopes_stand_apart"]),
    (Bug::FencesLanesAlone, &["a_holder_of_a_side_lane_is_fenced_by_the_live_one"]),
    (Bug::LookingClaims, &["looking_claims_nothing"]),
    (Bug::StagesVisibly, &["staged_rows_are_invisible"]),
    (Bug::GuessesWhatItPublished, &["published_rows_are_counted_row_by_row"]),
    (Bug::StagesNoDeletes, &["staged_deletes_are_published"]),
    (Bug::LastStagedWins, &["the_highest_staged_version_is_published"]),
    (Bug::KeepsAbsentRows, &["absent_rows_are_deleted"]),
    (Bug::DeletesAbsentRows, &["absent_rows_may_be_kept", "absent_rows_may_be_marked"]),
    (Bug::PublishesForAll, &["a_publish_speaks_for_its_scope_alone"]),
    (Bug::DeletesWithoutLimit, &["too_many_deletes_are_withheld"]),
    (Bug::TakesKeysForRows, &["a_key_listing_writes_nothing"]),
    (Bug::SkipsNothing, &["skipped_keys_are_left_out"]),
    (Bug::TakesNoStageForEmpty, &["publishing_again_does_nothing"]),
    (Bug::StagesNoEmptyPage, &["an_empty_stage_names_no_row"]),
    (Bug::SparesNothing, &["spared_keys_are_not_absent"]),
    (Bug::DiscardsNothing, &["discarded_rows_are_forgotten"]),
    (Bug::RehearsesInEarnest, &["a_rehearsal_leaves_no_trace"]),
    (Bug::SeesNoTarget, &["a_target_is_there_once_it_is_prepared"]),
    (Bug::TellsOfNoChange, &["what_is_changed_is_foreseen_and_told"]),
    (Bug::ForeseesInEarnest, &["what_is_changed_is_foreseen_and_told"]),
    (Bug::PreparesAnew, &["preparing_again_is_harmless", "a_new_column_keeps_the_rows", "preparing_loses_no_data"]),
    (Bug::SortsWhatItStored, &["stored_rows_come_in_the_order_of_the_keys"]),
    (Bug::CountsEverything, &["rows_are_counted_in_their_scope"]),
];

#[tokio::test]
async fn every_broken_sink_is_rejected_by_its_check() {
    for (bug, checks) in TWINS {
        let report = sink::conformance(async |_| Ok::<_, Error>(Broken::by(*bug))).await;
        for check in *checks {
            assert!(report.broken().contains(check), "{bug:?} was not seen by {check}\n{report}");
        }
    }
}

#[test]
fn every_check_of_the_sink_suite_has_a_twin() {
    let twins: BTreeSet<&str> = TWINS.iter().flat_map(|(_, checks)| *checks).copied().collect();
    assert_eq!(twins, sink::names().into_iter().collect());
}
