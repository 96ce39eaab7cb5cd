//! Columns that hold something else than when their table was made: they are kept otherwise now, and nobody asked for it.

use std::path::Path;

use sync_core::StreamSpec;
use sync_core::model::{Field, Kind};
use sync_sql::SqliteSource;

use crate::table::DataSet;

/// One line for each such column. Tables that are not there yet, or that cannot be read, have none: what is wrong with those,
/// the run itself will say.
pub(crate) async fn changed(db: &Path, data: &DataSet) -> Vec<String> {
    let mut lines = Vec::new();
    let Ok(database) = SqliteSource::open(db).await else { return lines };
    for table in &data.tables {
        let Ok(made) = database.discover(table.name.as_str()).await else { continue };
        lines.extend(table.fields.iter().filter_map(|field| line(&table.name, &made, field)));
    }
    database.close().await;
    lines
}

fn line(table: &str, made: &StreamSpec, field: &Field) -> Option<String> {
    let before = made.schema().field(field.name())?.kind();
    let now = field.kind();
    let kept = match now {
        _ if form(before) == form(now) => return None,
        Kind::Json => {
            "values of several kinds now: all of them are kept as JSON, in which texts stand in quotes".to_owned()
        }
        _ => format!("{now} now"),
    };
    Some(format!("{table}.{}: the table was made for {}, and the files hold {kept}", field.name(), called(before)))
}

/// Kinds that are kept in one form: numbers of any width are.
fn form(kind: Kind) -> u8 {
    match kind {
        Kind::Int | Kind::UInt => 0,
        Kind::Decimal { .. } => 1,
        Kind::Bool => 2,
        Kind::Json => 3,
        _ => 4,
    }
}

fn called(kind: Kind) -> String {
    if kind == Kind::Json { "values of several kinds".to_owned() } else { kind.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(before: Kind, now: Kind) -> Option<String> {
        line("people", &StreamSpec::new("people").field(Field::new("code", before)), &Field::new("code", now))
    }

    #[test]
    fn a_column_that_turns_mixed_is_named_with_what_becomes_of_it() {
        let line = said(Kind::Text, Kind::Json).expect("it is kept otherwise");
        assert!(line.starts_with("people.code: the table was made for text"), "{line}");
        assert!(line.contains("kept as JSON, in which texts stand in quotes"), "{line}");
    }

    #[test]
    fn wider_numbers_of_the_same_form_are_nothing_to_tell() {
        assert_eq!(said(Kind::Int, Kind::UInt), None);
        assert_eq!(said(Kind::Decimal { precision: 4, scale: 2 }, Kind::Decimal { precision: 9, scale: 3 }), None);
        assert!(said(Kind::Decimal { precision: 4, scale: 2 }, Kind::Text).is_some());
    }
}
