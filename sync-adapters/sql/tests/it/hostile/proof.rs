//! Whatever it is called and whatever it holds: a row is found again exactly, or it is refused with a reason.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sync_core::model::{Field, Kind, Outcome, RowScope};
use sync_core::{Error, ErrorKind, Key, StreamSpec, Value};

use super::given;
use super::place::{Place, Target, hex};

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_name_and_value_arrives_exactly_or_is_refused_with_a_reason(
        table in given::name(),
        columns in (given::name(), given::name()),
        keys in given::keys(),
        (kind, values) in given::values(),
    ) {
        let stream = StreamSpec::new(&table).field(Field::new(columns.0.as_str(), Kind::Text).required());
        let stream = stream.key([&columns.0]).field(Field::new(columns.1.as_str(), kind));
        // What is no stream is refused before a database hears of it.
        prop_assume!(stream.check().is_ok());
        let rows: Vec<Vec<Value>> = (0..keys.len().max(values.len()))
            .zip(keys.iter().cycle().enumerate())
            .map(|(at, (turn, key))| {
                let turns = turn / keys.len();
                vec![Value::from(format!("{key}{}", "+".repeat(turns)).as_str()), values[at % values.len()].clone()]
            })
            .collect();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            for target in Target::all().await {
                prove(&target, &stream, &rows).await;
            }
        });
    }
}

async fn prove(target: &Target, stream: &StreamSpec, rows: &[Vec<Value>]) {
    let decoy = StreamSpec::new(decoy(target, stream.name())).key(["id"]).int("id").text("note");
    let decoy_row = vec![vec![1_i64.into(), "untouched".into()]];
    let has_decoy = target.sink.prepare(&decoy).await.is_ok();
    if has_decoy {
        target.write(&decoy, &decoy_row).await.unwrap();
    }
    match target.sink.prepare(stream).await {
        Ok(_) => prove_rows(target, stream, rows).await,
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::Config | ErrorKind::Schema), "{:?}: {error}", target.place);
            assert!(names_one_of(&error, stream), "{:?}: {error}", target.place);
            assert!(!is_plain(stream), "{:?}: a plain name was refused: {error}", target.place);
        }
    }
    if has_decoy {
        let stored = target.sink.stored(&decoy, &[Key::new([1_i64])]).await.unwrap();
        assert_eq!(stored[0].as_ref().map(|row| row.values.clone()), Some(decoy_row[0].clone()));
    }
}

/// A table of nearly the same name.
fn decoy(target: &Target, table: &str) -> String {
    let swapped: String = table
        .chars()
        .map(
            |letter| {
                if letter.is_ascii_lowercase() { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() }
            },
        )
        .collect();
    // SQLite does not tell them apart, and its sink says so.
    if swapped == table || matches!(target.place, Place::Sqlite(_)) { format!("{table}_") } else { swapped }
}

async fn prove_rows(target: &Target, stream: &StreamSpec, rows: &[Vec<Value>]) {
    let place = &target.place;
    let mut held: Vec<Vec<Value>> = Vec::new();
    for row in rows {
        match target.write(stream, std::slice::from_ref(row)).await {
            Ok(outcomes) => {
                assert_eq!(outcomes, [Outcome::Created], "{place:?}");
                held.push(row.clone());
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Data, "{place:?}: {error}");
                assert!(names_one_of(&error, stream), "{place:?}: {error}");
                assert!(may_refuse(place, stream, row), "{place:?} refuses {row:.99?}: {error}");
            }
        }
    }
    if held.is_empty() {
        return;
    }
    assert_eq!(target.write(stream, &held).await.unwrap(), vec![Outcome::Unchanged; held.len()], "{place:?}");
    check(target, stream, &held).await;
    check_scopes(target, stream, &held).await;
    // All at once, onto other values, and by way of a stage; the last row is gone, and it alone.
    let emptied: Vec<Vec<Value>> = held.iter().map(|row| vec![row[0].clone(), Value::Null]).collect();
    target.write(stream, &emptied).await.unwrap();
    check(target, stream, &emptied).await;
    let (last, others) = held.split_last().unwrap();
    let key = stream.schema().fields()[0].name();
    if others.is_empty() {
        return;
    }
    let elsewhere = RowScope::Equals { column: key.into(), value: others[0][0].clone() };
    assert_eq!(target.replace(stream, others, elsewhere).await.unwrap(), 0, "{place:?}");
    let in_scope = RowScope::Equals { column: key.into(), value: last[0].clone() };
    assert_eq!(target.replace(stream, others, in_scope).await.unwrap(), 1, "{place:?}");
    check(target, stream, others).await;
}

/// Both the sink and the client find these rows, and no others.
async fn check(target: &Target, stream: &StreamSpec, rows: &[Vec<Value>]) {
    let place = &target.place;
    let keys: Vec<Key> = rows.iter().map(|row| Key::new([row[0].clone()])).collect();
    let kind = stream.schema().fields()[1].kind();
    for (stored, row) in target.sink.stored(stream, &keys).await.unwrap().into_iter().zip(rows) {
        let stored = stored.unwrap_or_else(|| panic!("{place:?}: a row is not found by its key {:?}", row[0])).values;
        assert_eq!(stored[0], row[0], "{place:?}");
        assert_eq!(plain(kind, &stored[1]), plain(kind, &row[1]), "{place:?}");
    }
    let found = target.found(stream).await;
    let expected: BTreeMap<String, Option<String>> =
        rows.iter().map(|row| (row[0].as_ref().as_str().unwrap().to_owned(), plain(kind, &row[1]))).collect();
    let found: BTreeMap<String, Option<String>> =
        found.into_iter().map(|(key, seen)| (key, seen.map(|seen| one_form(kind, &seen)))).collect();
    assert_eq!(found, expected, "{place:?}");
}

async fn check_scopes(target: &Target, stream: &StreamSpec, rows: &[Vec<Value>]) {
    let (key, column) = (stream.schema().fields()[0].name(), stream.schema().fields()[1].name());
    let count = async |scope: RowScope| target.sink.count(stream, &scope).await.unwrap().unwrap();
    assert_eq!(count(RowScope::All).await, rows.len() as u64);
    for row in rows {
        let place = &target.place;
        let equal = RowScope::Equals { column: key.into(), value: row[0].clone() };
        assert_eq!(count(equal).await, 1, "{place:?}: key {:?}", row[0]);
        let behind = rows.iter().filter(|other| other[0] >= row[0]).count() as u64;
        let from = RowScope::Range { column: key.into(), from: Some(row[0].clone()), until: None };
        assert_eq!(count(from).await, behind, "{place:?}: keys from {:?}", row[0]);
        let value = &row[1];
        // Long decimals are texts here, and numbers there.
        if value.is_null()
            || rows.iter().any(|row| {
                matches!((&row[1], stream.schema().fields()[1].kind()), (Value::Text(_), Kind::Decimal { .. }))
            })
        {
            continue;
        }
        let before = rows.iter().filter(|other| !other[1].is_null() && other[1] < *value).count() as u64;
        let until = RowScope::Range { column: column.into(), from: None, until: Some(value.clone()) };
        assert_eq!(count(until).await, before, "{place:?}: {column:?} before {value:.99?}");
        let same = rows.iter().filter(|other| other[1] == *value).count() as u64;
        let equal = RowScope::Equals { column: column.into(), value: value.clone() };
        assert_eq!(count(equal).await, same, "{place:?}: {column:?} = {value:.99?}");
    }
}

/// Whether an error says which table or column it is about.
fn names_one_of(error: &Error, stream: &StreamSpec) -> bool {
    let said = error.to_string();
    let names = stream.schema().fields().iter().map(Field::name).chain([stream.name()]);
    names.into_iter().any(|name| said.contains(name) || said.contains(format!("{name:?}").trim_matches('"')))
}

/// Names that no database has a reason to refuse.
fn is_plain(stream: &StreamSpec) -> bool {
    let columns: Vec<&str> = stream.schema().fields().iter().map(Field::name).collect();
    let letters = |name: &&str| {
        name.len() <= 60 && name.chars().all(|letter| (' '..'\u{7f}').contains(&letter)) && !name.ends_with(' ')
    };
    columns.iter().chain([&stream.name()]).all(letters)
        && columns.iter().all(|name| !["xmin", "rowid"].contains(name))
        && !columns[0].eq_ignore_ascii_case(columns[1])
}

/// What a database cannot hold, by the table in the crate's documentation.
fn may_refuse(place: &Place, stream: &StreamSpec, row: &[Value]) -> bool {
    let nul = |value: &Value| value.as_ref().as_str().is_some_and(|text| text.contains('\0'));
    let key_length = row[0].as_ref().as_str().map_or(0, str::len);
    let years = |value: &Value| match value {
        Value::Date(day) => (1..=9999).contains(&chrono::Datelike::year(day)),
        Value::Timestamp(at) => at.to_datetime().is_some_and(|at| (1..=9999).contains(&chrono::Datelike::year(&at))),
        _ => true,
    };
    let finite = !matches!(row[1], Value::Float(float) if !float.is_finite());
    let digits = match (stream.schema().fields()[1].kind(), &row[1]) {
        (kind @ Kind::Decimal { precision, scale }, value) => {
            let form = one_form(kind, &value.to_string());
            let (whole, fraction) = form.trim_start_matches('-').split_once('.').unwrap_or_default();
            whole.len() <= usize::from(precision - scale) && fraction.len() <= usize::from(scale)
        }
        _ => true,
    };
    match place {
        Place::Sqlite(_) => !finite || !years(&row[1]) || !digits,
        Place::Postgres(_) => nul(&row[0]) || nul(&row[1]) || key_length > 2600 || !digits || !years(&row[1]),
        Place::MariaDb(_) => {
            !finite
                || !years(&row[1])
                || !digits
                || row[0].as_ref().as_str().is_some_and(|key| key.chars().count() > 768)
        }
    }
}

/// A value as text, in one form for all databases.
fn plain(kind: Kind, value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Bytes(bytes) => Some(hex(bytes)),
        other => Some(one_form(kind, &other.to_string())),
    }
}

fn one_form(kind: Kind, text: &str) -> String {
    match kind {
        Kind::Bool => matches!(text, "1" | "true" | "t").to_string(),
        Kind::Int | Kind::UInt => text.parse::<i128>().unwrap().to_string(),
        Kind::Float => match text.parse::<f64>().unwrap() {
            0.0 => "0".to_owned(),
            float => format!("{float:e}"),
        },
        Kind::Decimal { .. } => {
            let (sign, digits) =
                text.strip_prefix('-').map_or(("", text.trim_start_matches('+')), |digits| ("-", digits));
            let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
            let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
            if whole.is_empty() && fraction.is_empty() { "0".to_owned() } else { format!("{sign}{whole}.{fraction}") }
        }
        Kind::Timestamp => text.replace('T', " ").trim_end_matches('Z').trim_start_matches('+').to_owned(),
        // There is no year 0 in PostgreSQL: it is the first one before Christ.
        Kind::Date if text == "0001-12-31 BC" => "0000-12-31".to_owned(),
        Kind::Date => text.trim_start_matches('+').to_owned(),
        Kind::Bytes => text.to_lowercase(),
        _ => text.to_owned(),
    }
}
