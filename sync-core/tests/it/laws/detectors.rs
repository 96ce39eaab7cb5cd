//! A detector calls a row unchanged exactly when nothing it looks at differs.

use proptest::prelude::*;
use sync_core::detect::{ByField, ByHash, ByVersion, Difference, Fingerprint, Verdict};
use sync_core::model::{Change, FieldSet, Op};
use sync_core::{ChangeDetector, StreamSpec, Value, ValueRef};

use super::fixture::{Cells, Edit, any_row, edit, items, kinds, marked_edit, page, respelled, with_upsert};
use super::{Law, catches, ensure, holds};

fn detectors() -> Vec<Box<dyn ChangeDetector>> {
    vec![Box::new(ByVersion::new()), Box::new(ByHash::new()), Box::new(ByField::new())]
}

fn every(law: impl Fn(&dyn ChangeDetector) -> Law) -> Law {
    detectors()
        .iter()
        .try_for_each(|detector| law(detector.as_ref()).map_err(|broken| format!("{detector:?}: {broken}")))
}

fn fingerprint(detector: &dyn ChangeDetector, stream: &StreamSpec, cells: &[Value]) -> Fingerprint {
    with_upsert(stream, cells, |change| detector.fingerprint(stream, &change))
}

/// What the detector says of the second row when it knows the first.
fn verdict(detector: &dyn ChangeDetector, stream: &StreamSpec, known: &[Value], incoming: &[Value]) -> Verdict {
    let known = fingerprint(detector, stream, known);
    with_upsert(stream, incoming, |change| detector.detect(stream, &change, Some(&known)))
}

fn differing(a: &[Value], b: &[Value]) -> FieldSet {
    (0..a.len()).filter(|&column| a[column] != b[column]).collect()
}

/// A row, and one that differs from it in one column at most.
fn one_off() -> impl Strategy<Value = (Cells, Cells)> {
    (any_row(), any_row(), 0..kinds().schema().width()).prop_map(|(row, other, column)| {
        let mut changed = row.clone();
        changed[column] = other[column].clone();
        (row, changed)
    })
}

fn notices_every_difference(detector: &dyn ChangeDetector, (known, incoming): &(Cells, Cells)) -> Law {
    let unchanged = verdict(detector, kinds(), known, incoming) == Verdict::Unchanged;
    ensure(unchanged == (known == incoming), "it does not say `Unchanged` exactly of equal rows")
}

fn names_the_fields(detector: &dyn ChangeDetector, (known, incoming): &(Cells, Cells)) -> Law {
    let fields = differing(known, incoming);
    let expected = if fields.is_empty() { Verdict::Unchanged } else { Verdict::Updated { fields: Some(fields) } };
    ensure(verdict(detector, kinds(), known, incoming) == expected, "it names other fields than those that differ")
}

fn knows_itself(detector: &dyn ChangeDetector, edit: &Edit) -> Law {
    let stream = items();
    let page = edit.page(stream);
    let known = detector.fingerprint(stream, &page.at(0));
    let verdict = detector.detect(stream, &page.at(0), Some(&known));
    let expected = if edit.is_delete() { Verdict::Deleted } else { Verdict::Unchanged };
    ensure(verdict == expected, format!("against its own fingerprint it is {verdict:?}"))
}

fn guard_agrees(detector: &dyn ChangeDetector, (known, incoming): &(Cells, Cells)) -> Law {
    let stream = kinds();
    let Some(difference) = detector.guard() else { return Err("it has no guard".into()) };
    let rows = page(stream, &[known, incoming]);
    let differs = difference.between(stream, rows.row(0), rows.row(1));
    let changed = verdict(detector, stream, known, incoming) != Verdict::Unchanged;
    ensure(differs == changed, "a sink that goes by the guard disagrees with the detector")
}

#[test]
fn a_change_is_unchanged_against_its_own_fingerprint() {
    holds(&marked_edit(), |edit| every(|detector| knows_itself(detector, edit)));
}

#[test]
fn another_spelling_of_equal_values_is_unchanged() {
    holds(&any_row(), |row| {
        let spelled: Cells = row.iter().map(respelled).collect();
        every(|detector| ensure(verdict(detector, kinds(), row, &spelled) == Verdict::Unchanged, "it differs"))
    });
}

#[test]
fn any_single_difference_is_noticed() {
    holds(&one_off(), |rows| notices_every_difference(&ByHash::new(), rows));
    holds(&one_off(), |rows| notices_every_difference(&ByField::new(), rows));
}

#[test]
fn the_fields_that_differ_are_named() {
    holds(&one_off(), |rows| names_the_fields(&ByField::new(), rows));
    holds(&(any_row(), any_row()), |rows| names_the_fields(&ByField::new(), rows));
}

#[test]
fn a_sink_that_goes_by_the_guard_agrees_with_the_detector() {
    holds(&one_off(), |rows| every(|detector| guard_agrees(detector, rows)));
    holds(&(any_row(), any_row()), |rows| every(|detector| guard_agrees(detector, rows)));
}

#[test]
fn by_version_looks_at_versions_and_at_content_only_where_there_is_none() {
    let version = kinds().version_index().expect("the stream has versions");
    holds(&one_off(), |(known, incoming)| {
        let unchanged = verdict(&ByVersion::new(), kinds(), known, incoming) == Verdict::Unchanged;
        let expected =
            if incoming[version].is_null() { known == incoming } else { known[version] == incoming[version] };
        ensure(unchanged == expected, "it went by something else")
    });
}

#[test]
fn ignored_columns_do_not_count_and_all_others_do() {
    let detector = ByHash::new().ignoring(["text", "float"]);
    let ignored = |column: usize| ["text", "float"].contains(&kinds().schema().fields()[column].name());
    holds(&one_off(), |(known, incoming)| {
        let expected = !differing(known, incoming).iter().any(|column| !ignored(column));
        let unchanged = verdict(&detector, kinds(), known, incoming) == Verdict::Unchanged;
        ensure(unchanged == expected, "an ignored column counts, or another one does not")
    });
}

#[test]
fn deletes_are_deletes_and_unknown_keys_are_new() {
    let stream = items();
    holds(&(edit(), edit()), |(known, incoming)| {
        let (known, page) = (known.page(stream), incoming.page(stream));
        every(|detector| {
            let known = detector.fingerprint(stream, &known.at(0));
            let fresh = if incoming.is_delete() { Verdict::Deleted } else { Verdict::Created };
            ensure(detector.detect(stream, &page.at(0), None) == fresh, "of an unknown key it says something else")?;
            let again = detector.detect(stream, &page.at(0), Some(&known));
            ensure((again == Verdict::Deleted) == incoming.is_delete(), "it does not know a delete")
        })
    });
}

#[test]
fn a_row_that_comes_back_after_its_delete_is_new() {
    let stream = items();
    let row = vec![1.into(), 1.into(), "pen".into(), Value::Null, Value::Null, Value::Null, 0.into()];
    let delete = Edit { op: Op::Delete, ..Edit::upsert(row.clone()) }.page(stream);
    for detector in detectors() {
        let known = detector.fingerprint(stream, &delete.at(0));
        let verdict = with_upsert(stream, &row, |change| detector.detect(stream, &change, Some(&known)));
        assert_eq!(verdict, Verdict::Created, "{detector:?}");
    }
}

#[test]
fn changes_of_our_own_are_echoes_and_only_those() {
    let stream = items();
    let own: [Box<dyn ChangeDetector>; 3] = [
        Box::new(ByVersion::new().own_origin("till-1")),
        Box::new(ByHash::new().own_origin("till-1")),
        Box::new(ByField::new().own_origin("till-1")),
    ];
    holds(&marked_edit(), |edit| {
        let page = edit.page(stream);
        own.iter().try_for_each(|detector| {
            let echo = detector.detect(stream, &page.at(0), None) == Verdict::Echo;
            ensure(echo == (edit.origin == Some("till-1")), format!("{detector:?} takes another change for an echo"))
        })
    });
    assert!(own.iter().all(|detector| detector.guard().is_none()), "a sink cannot tell an echo");
}

#[test]
fn where_fields_cannot_be_told_those_that_the_source_named_are_reported() {
    let stream = items();
    let cells: Cells = vec![1.into(), 1.into(), "pen".into(), Value::Null, Value::Null, Value::Null, 0.into()];
    let mut changed = Edit::upsert(cells.clone());
    changed.cells[1] = 2.into();
    changed.fields = Some([1].into_iter().collect());
    let page = changed.page(stream);
    let updated =
        |detector: &dyn ChangeDetector, known: &Fingerprint| detector.detect(stream, &page.at(0), Some(known));
    let named = Verdict::Updated { fields: changed.fields.clone() };
    for detector in &detectors() {
        let known = fingerprint(detector.as_ref(), stream, &cells);
        assert_eq!(updated(detector.as_ref(), &known), named, "{detector:?}");
    }
    let narrower = StreamSpec::new("items").key(["id"]).int("v").version("v");
    let before = fingerprint(&ByField::new(), &narrower, &cells[..2]);
    assert_eq!(updated(&ByField::new(), &before), named, "a fingerprint of other columns");
}

#[test]
fn a_renamed_column_counts_as_different() {
    let stream = |name: &str| StreamSpec::new("s").key(["id"]).text(name);
    let cells: Cells = vec![1.into(), "pen".into()];
    for detector in [&ByHash::new() as &dyn ChangeDetector, &ByField::new()] {
        let known = fingerprint(detector, &stream("name"), &cells);
        let after = stream("title");
        let verdict = with_upsert(&after, &cells, |change| detector.detect(&after, &change, Some(&known)));
        assert!(matches!(verdict, Verdict::Updated { .. }), "{detector:?}");
    }
}

/// Fingerprints are kept: a release that computes them otherwise would call every row changed.
#[test]
fn fingerprints_stay_the_same_over_releases() {
    let stream = StreamSpec::new("s").key(["id"]).int("v").version("v").text("name");
    let cells: Cells = vec![1.into(), 2.into(), "pen".into()];
    let hex = |detector: &dyn ChangeDetector| {
        fingerprint(detector, &stream, &cells).0.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    assert_eq!(hex(&ByVersion::new()), "02020000000000000000");
    assert_eq!(hex(&ByHash::new()), "bd66cdad19426b0cf46b8d0f5a6ab182");
    assert_eq!(
        hex(&ByField::new()),
        "bd66cdad19426b0cf46b8d0f5a6ab182dae8c82c7856d8dbdd011ab9c14a7b9c76a395c9086e6362"
    );
}

#[test]
fn sinks_compare_as_the_guard_says() {
    assert_eq!(ByVersion::new().guard(), Some(Difference::Version));
    assert_eq!(ByHash::new().guard(), Some(Difference::Content));
    assert_eq!(ByHash::new().ignoring(["seen"]).guard(), None);
    assert_eq!(ByField::new().guard(), Some(Difference::Content));
}

/// Remembers the displayed values, one behind the other.
#[derive(Debug)]
struct ByText;

impl ChangeDetector for ByText {
    fn fingerprint(&self, _: &StreamSpec, change: &Change<'_>) -> Fingerprint {
        let text: String = change.row().values().map(|value| value.to_string()).collect();
        Fingerprint(text.into_bytes().into())
    }

    fn detect(&self, stream: &StreamSpec, change: &Change<'_>, known: Option<&Fingerprint>) -> Verdict {
        match known {
            Some(known) if *known == self.fingerprint(stream, change) => Verdict::Unchanged,
            Some(_) => Verdict::Updated { fields: None },
            None => Verdict::Created,
        }
    }

    fn guard(&self) -> Option<Difference> {
        Some(Difference::Version)
    }
}

#[test]
fn a_detector_that_runs_values_together_is_caught() {
    catches(&one_off(), |rows| notices_every_difference(&ByText, rows));
    catches(&(any_row(), any_row()), |rows| names_the_fields(&ByText, rows));
    catches(&one_off(), |rows| guard_agrees(&ByText, rows));
    catches(&marked_edit(), |edit| knows_itself(&ByText, edit));
}

#[test]
fn a_detector_that_looks_at_versions_is_caught_missing_content() {
    catches(&one_off(), |rows| notices_every_difference(&ByVersion::new(), rows));
}

/// Takes the first float for the whole row, and compares it as the processor does.
#[derive(Debug)]
struct ByFloat;

impl ChangeDetector for ByFloat {
    fn fingerprint(&self, _: &StreamSpec, change: &Change<'_>) -> Fingerprint {
        match change.row().named("rate") {
            Some(ValueRef::Float(rate)) => Fingerprint(rate.to_le_bytes().into()),
            _ => Fingerprint::default(),
        }
    }

    fn detect(&self, stream: &StreamSpec, change: &Change<'_>, known: Option<&Fingerprint>) -> Verdict {
        let float = |print: &Fingerprint| print.0.as_ref().try_into().map(f64::from_le_bytes).ok();
        match (float(&self.fingerprint(stream, change)), known.and_then(float)) {
            (Some(now), Some(known)) if now == known => Verdict::Unchanged,
            _ => Verdict::Updated { fields: None },
        }
    }
}

#[test]
fn a_detector_to_which_nan_always_differs_is_caught() {
    catches(&edit(), |edit| if edit.is_delete() { Ok(()) } else { knows_itself(&ByFloat, edit) });
}
