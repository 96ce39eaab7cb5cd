//! A table at the source: its columns, its key, and its rows as JSON text.

use serde_json::value::RawValue;
use sync_core::StreamSpec;
use sync_core::model::Field;

/// One value exactly as it is served: a JSON token, so that no number is ever rounded on the way.
pub(crate) type Cell = Box<RawValue>;

/// Everything the source holds.
#[derive(Debug)]
pub(crate) struct DataSet {
    /// What the user would call it; changes at the source are remembered under this name.
    pub(crate) name: String,
    pub(crate) tables: Vec<Table>,
}

/// One table. A row has as many cells as there are fields.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) fields: Vec<Field>,
    /// How many leading columns identify a row.
    pub(crate) key_width: usize,
    /// The column that says when a row was last changed, where there is one.
    pub(crate) version: Option<usize>,
    /// The columns that `--mutate` may change.
    pub(crate) editable: Vec<usize>,
    pub(crate) rows: Vec<Vec<Cell>>,
}

impl Table {
    /// The names of the key columns.
    pub(crate) fn key_columns(&self) -> impl Iterator<Item = &str> {
        self.fields[..self.key_width].iter().map(Field::name)
    }

    /// What the engine is told about this table.
    pub(crate) fn spec(&self) -> StreamSpec {
        let spec = self.fields.iter().cloned().fold(StreamSpec::new(self.name.as_str()), StreamSpec::field);
        let spec = spec.key(self.key_columns());
        match self.version {
            Some(column) => spec.version(self.fields[column].name()),
            None => spec,
        }
    }

    /// The key of a row, and the cursor that stands behind it, as JSON text.
    pub(crate) fn key_text(&self, row: &[Cell]) -> String {
        let cells: Vec<&str> = row[..self.key_width].iter().map(|cell| cell.get()).collect();
        format!("[{}]", cells.join(","))
    }
}

/// `1 row`, `23 rows`.
pub(crate) fn rows(count: usize) -> String {
    if count == 1 { "1 row".to_owned() } else { format!("{count} rows") }
}

/// The values that identify a row, in an order that never changes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Part {
    Bool(bool),
    Number(i128),
    Text(String),
}

impl Key {
    /// The key that these cells hold. None where one of them is null, nested, or not a whole number.
    pub(crate) fn of(cells: &[Cell]) -> Option<Self> {
        cells.iter().map(|cell| Part::of(cell)).collect::<Option<_>>().map(Self)
    }

    /// The key that was written by [`Table::key_text`].
    pub(crate) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str::<Vec<Cell>>(text).ok().and_then(|cells| Self::of(&cells))
    }

    /// Whether the key has this many columns.
    pub(crate) fn is_of_width(&self, width: usize) -> bool {
        self.0.len() == width
    }
}

impl Part {
    fn of(cell: &RawValue) -> Option<Self> {
        match shape(cell) {
            Shape::Bool => Some(Self::Bool(cell.get() == "true")),
            Shape::Number => cell.get().parse().ok().map(Self::Number),
            Shape::Text => serde_json::from_str(cell.get()).ok().map(Self::Text),
            Shape::Null | Shape::Object | Shape::Array => None,
        }
    }
}

/// What kind of JSON a cell is, told by its first character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Null,
    Bool,
    Number,
    Text,
    Object,
    Array,
}

/// What kind of JSON a cell is.
pub(crate) fn shape(cell: &RawValue) -> Shape {
    match cell.get().as_bytes().first() {
        Some(b'n') => Shape::Null,
        Some(b't' | b'f') => Shape::Bool,
        Some(b'"') => Shape::Text,
        Some(b'{') => Shape::Object,
        Some(b'[') => Shape::Array,
        _ => Shape::Number,
    }
}

/// A cell that holds this text.
pub(crate) fn text_cell(text: &str) -> Cell {
    token(serde_json::Value::from(text).to_string())
}

/// A cell of JSON that this program has put together itself.
pub(crate) fn token(json: String) -> Cell {
    RawValue::from_string(json).expect("only complete JSON values are made into cells")
}

#[cfg(test)]
mod tests {
    use sync_core::model::Kind;

    use super::*;

    fn cells(json: &str) -> Vec<Cell> {
        serde_json::from_str(json).expect("a JSON array")
    }

    #[test]
    fn whole_numbers_order_by_value_and_text_by_its_characters() {
        let key = |json: &str| Key::of(&cells(json)).expect("a key");
        assert!(key("[9]") < key("[10]"));
        assert!(key("[-1]") < key("[0]"));
        assert!(key("[1, \"b\"]") > key("[1, \"a\"]"));
        assert_eq!(key(r#"["\u00e9"]"#), key(r#"["é"]"#));
    }

    #[test]
    fn nulls_fractions_and_nested_values_identify_nothing() {
        for json in ["[null]", "[1.5]", "[1e2]", "[[1]]", "[{}]"] {
            assert_eq!(Key::of(&cells(json)), None, "{json}");
        }
    }

    #[test]
    fn a_table_tells_the_engine_its_columns_key_and_version() {
        let table = Table {
            name: "lines".into(),
            fields: vec![
                Field::new("invoice", Kind::Int).required(),
                Field::new("line", Kind::Int).required(),
                Field::new("note", Kind::Text),
                Field::new("updated_at", Kind::Timestamp).required(),
            ],
            key_width: 2,
            version: Some(3),
            editable: vec![2],
            rows: vec![cells(r#"[7, 1, null, "2026-01-01T00:00:00Z"]"#)],
        };
        let spec = table.spec();
        assert!(spec.check().is_ok());
        assert_eq!(spec.key_columns(), ["invoice", "line"]);
        assert_eq!(spec.version_column(), Some("updated_at"));
        assert_eq!(spec.schema().fields(), table.fields);
        assert_eq!(Key::parse(&table.key_text(&table.rows[0])), Key::of(&table.rows[0][..2]));
    }
}
