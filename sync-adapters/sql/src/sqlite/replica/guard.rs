//! What a host may write: a value that could not be read again is refused where it is written, with its column's name.
//!
//! Found later, it would stop whoever reads the feed, at the master as at every branch.

use sync_core::model::{Field, Kind};

use super::layout::{Layout, literal};

const DAY: &str = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]";

/// The checks of a row that is written, as a statement of a trigger.
pub(super) fn guard(layout: &Layout) -> String {
    let checks = layout.columns.iter().zip(layout.fields()).map(|(names, field)| {
        let what = format!(
            "column {:?} of table {:?} takes part in two-way sync and must hold {}",
            field.name(),
            layout.name(),
            field.kind()
        );
        let wrong = wrong(&format!("NEW.{}", names.host), field, names.is_key);
        format!("CASE WHEN {wrong} THEN RAISE(ABORT, {}) END", literal(&what))
    });
    format!("  SELECT {};\n", checks.collect::<Vec<_>>().join(",\n    "))
}

/// Whether the value is not of the column's kind.
fn wrong(value: &str, field: &Field, is_key: bool) -> String {
    let kinds: &[&str] = match field.kind() {
        Kind::Bool | Kind::Int => &["integer"],
        Kind::UInt => &["integer", "text"],
        Kind::Float => &["real", "integer"],
        Kind::Decimal { .. } => &["text", "integer", "real"],
        Kind::Bytes => &["blob"],
        _ => &["text"],
    };
    let mut kinds: Vec<String> = kinds.iter().map(|kind| literal(kind)).collect();
    if !is_key {
        kinds.push("'null'".to_owned());
    }
    let of_kind = format!("typeof({value}) NOT IN ({})", kinds.join(", "));
    let unread = match field.kind() {
        Kind::UInt => uint(value),
        Kind::Decimal { precision, scale } => decimal(value, u32::from(precision), u32::from(scale)),
        Kind::Date => no_day(value, &format!("{value} NOT GLOB '{DAY}'")),
        Kind::Timestamp => no_day(value, &no_instant(value)),
        Kind::Json => format!("NOT json_valid({value})"),
        _ => return of_kind,
    };
    format!("{of_kind} OR {value} IS NOT NULL AND ({unread})")
}

fn uint(value: &str) -> String {
    format!(
        "CASE typeof({value}) WHEN 'integer' THEN {value} < 0
      ELSE {value} = '' OR {value} GLOB '*[^0-9]*' OR length({value}) > 20 OR length({value}) = 20 AND {value} > '18446744073709551615' END"
    )
}

/// More digits than are declared, before the point or after it, or none at all.
fn decimal(value: &str, precision: u32, scale: u32) -> String {
    let whole = precision.saturating_sub(scale);
    let digits = format!("ltrim({value}, '-')");
    let point = format!("instr({digits}, '.')");
    let before = format!("CASE WHEN {point} > 0 THEN substr({digits}, 1, {point} - 1) ELSE {digits} END");
    let text = format!(
        "{value} GLOB '--*' OR {digits} GLOB '*[^0-9.]*' OR length({digits}) - length(replace({digits}, '.', '')) > 1
      OR replace({digits}, '.', '') = '' OR length(ltrim({before}, '0')) > {whole}
      OR {point} > 0 AND length(rtrim(substr({digits}, {point} + 1), '0')) > {scale}"
    );
    let large = format!("abs(CAST({value} AS REAL)) >= 1e{whole}");
    format!(
        "CASE typeof({value}) WHEN 'text' THEN {text} WHEN 'integer' THEN {large} ELSE {large} OR round({value}, {scale}) <> {value} END"
    )
}

/// No day of the calendar at the beginning, or `otherwise`.
fn no_day(value: &str, otherwise: &str) -> String {
    format!("{otherwise} OR date(substr({value}, 1, 10)) IS NOT substr({value}, 1, 10)")
}

/// Not one of the forms that are read: a day and a time, perhaps seconds and their fraction, perhaps an offset behind seconds.
fn no_instant(value: &str) -> String {
    let rest = format!("substr({value}, 20)");
    let fraction = format!(
        "CASE WHEN {rest} GLOB '*[+-][0-9][0-9]:[0-9][0-9]' THEN substr({rest}, 1, length({rest}) - 6)
      WHEN {rest} GLOB '*Z' THEN substr({rest}, 1, length({rest}) - 1) ELSE {rest} END"
    );
    format!(
        "julianday({value}) IS NULL OR substr({value}, 1, 16) NOT GLOB '{DAY}[ T][0-2][0-9]:[0-5][0-9]'
      OR substr({value}, 17) NOT IN ('', 'Z') AND (substr({value}, 17, 3) NOT GLOB ':[0-5][0-9]'
        OR ({fraction}) <> '' AND (({fraction}) NOT GLOB '.[0-9]*' OR substr(({fraction}), 2) GLOB '*[^0-9]*'))"
    )
}
