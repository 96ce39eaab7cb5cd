//! Rows as JSON objects by column, exact in both directions.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::{RawValue, to_raw_value};
use sync_core::json::RecordReader;
use sync_core::model::{Field, Kind, Schema};
use sync_core::two_way::{Table, Tables};
use sync_core::{Error, ErrorKind, Key, Result, StreamSpec, Value};

use super::value::RowJson;
use crate::refusal::refuse;

/// A row or a key on its way: JSON text as it stands.
pub(crate) type Raw = Box<RawValue>;

/// Reads and writes the rows of all tables that take part.
#[derive(Debug, Clone)]
pub(crate) struct Codecs(Arc<BTreeMap<String, Codec>>);

/// Reads and writes the rows of one table.
#[derive(Debug)]
pub(crate) struct Codec {
    table: Arc<Table>,
    rows: RecordReader,
    keys: RecordReader,
    /// Rows of which only some columns are named.
    loose: RecordReader,
}

/// The key of a row that need not name its own.
const NO_KEY: &str = "_sync_no_key";

impl Codecs {
    pub(crate) fn new(tables: &Tables) -> Result<Self> {
        let codecs = tables.iter().map(|table| Ok((table.name().to_owned(), Codec::new(table)?)));
        Ok(Self(Arc::new(codecs.collect::<Result<_>>()?)))
    }

    pub(crate) fn of(&self, table: &str) -> Result<&Codec> {
        self.0.get(table).ok_or_else(|| {
            refuse(ErrorKind::Schema, "unknown_table", "this table does not take part").with("table", table)
        })
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl Codec {
    fn new(table: &Arc<Table>) -> Result<Self> {
        let spec = table.spec();
        let mut keys = StreamSpec::new(spec.name());
        for name in spec.key_columns() {
            let field = spec.schema().field(name).ok_or_else(|| Error::config("a key column is not declared"))?;
            keys = keys.field(field.clone());
        }
        let keys = RecordReader::new(Arc::new(keys.key(spec.key_columns())));
        let rows = RecordReader::new(Arc::clone(spec));
        let mut loose = StreamSpec::new(spec.name());
        for field in spec.schema().fields() {
            loose = loose.field(Field::new(field.name(), field.kind()));
        }
        let loose = RecordReader::new(Arc::new(loose.int(NO_KEY).key([NO_KEY]))).constant(NO_KEY, 1);
        [&rows, &keys, &loose].into_iter().try_for_each(RecordReader::check)?;
        Ok(Self { table: Arc::clone(table), rows, keys, loose })
    }

    pub(crate) fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// A row from its JSON object. A column that is not named is null.
    ///
    /// # Errors
    /// `bad_row`, `unknown_column`, `duplicate_column` or `wrong_type`, naming the column and never its value.
    pub(crate) fn row(&self, raw: &RawValue) -> Result<Vec<Value>> {
        self.read(&self.rows, raw)
    }

    /// The columns that a JSON object names, each in its place; `None` where it does not name one.
    pub(crate) fn named(&self, raw: &RawValue) -> Result<Vec<Option<Value>>> {
        let members: Members<'_> = serde_json::from_str(raw.get()).unwrap_or(Members(Vec::new()));
        let schema = self.table.spec().schema();
        let mut values = self.read(&self.loose, raw)?;
        values.truncate(schema.width());
        let is_named = |column: usize| members.0.iter().any(|(name, _)| schema.index(name) == Some(column));
        Ok(values.into_iter().enumerate().map(|(column, value)| is_named(column).then_some(value)).collect())
    }

    /// A key from the JSON object of its columns.
    pub(crate) fn key(&self, raw: &RawValue) -> Result<Key> {
        Ok(Key::new(self.read(&self.keys, raw)?))
    }

    pub(crate) fn row_json(&self, row: &[Value]) -> Result<Raw> {
        raw(&RowJson { schema: self.table.spec().schema(), values: row })
    }

    pub(crate) fn key_json(&self, key: &Key) -> Result<Raw> {
        raw(&RowJson { schema: self.keys.stream().schema(), values: key.values() })
    }

    fn read(&self, reader: &RecordReader, raw: &RawValue) -> Result<Vec<Value>> {
        let refused = |code, message: String| refuse(ErrorKind::Data, code, message).with("table", self.table.name());
        let schema = reader.stream().schema();
        let members: Members<'_> = serde_json::from_str(raw.get())
            .map_err(|_| refused("bad_row", "a row is a JSON object by column".to_owned()))?;
        if let Some((name, _)) = members.0.iter().find(|(name, _)| schema.index(name).is_none() || name == NO_KEY) {
            let name: String = name.escape_debug().take(64).collect();
            return Err(refuse(ErrorKind::Schema, "unknown_column", "the table has no such column")
                .with("table", self.table.name())
                .with("column", name));
        }
        let mut names: Vec<&str> = members.0.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(refused("duplicate_column", "a column is named twice".to_owned()).with("column", twice[0]));
        }
        let (text, strange) = members.without_strange_floats(schema);
        let rows = reader
            .record(text.as_deref().unwrap_or(raw.get()).as_bytes())
            .map_err(|error| refused("wrong_type", error.message().to_owned()))?;
        let mut values = rows.row(0).to_values();
        for (column, float) in strange {
            values[column] = Value::Float(float);
        }
        Ok(values)
    }
}

fn raw(row: &RowJson<'_>) -> Result<Raw> {
    to_raw_value(row).map_err(|cause| Error::internal("a row cannot be written as JSON").caused_by(cause))
}

/// The members of an object as they stand, names that come twice included.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<String, &RawValue>()? {
                    members.push(member);
                    if members.len() > 4096 {
                        return Err(A::Error::custom("too many members"));
                    }
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

impl Members<'_> {
    /// Floats that JSON has no number for come as text. The object with zeroes in their place, and what they are.
    fn without_strange_floats(&self, schema: &Schema) -> (Option<String>, Vec<(usize, f64)>) {
        let strange = |name: &str, raw: &RawValue| {
            let column = schema.index(name)?;
            let is_float = schema.fields()[column].kind() == Kind::Float;
            let float = match (is_float, raw.get()) {
                (true, "\"NaN\"") => f64::NAN,
                (true, "\"inf\"") => f64::INFINITY,
                (true, "\"-inf\"") => f64::NEG_INFINITY,
                _ => return None,
            };
            Some((column, float))
        };
        let found: Vec<(usize, f64)> = self.0.iter().filter_map(|(name, raw)| strange(name, raw)).collect();
        if found.is_empty() {
            return (None, found);
        }
        let mut text = String::from("{");
        for (name, raw) in &self.0 {
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(&serde_json::Value::from(name.as_str()).to_string());
            text.push(':');
            text.push_str(if strange(name, raw).is_some() { "0" } else { raw.get() });
        }
        text.push('}');
        (Some(text), found)
    }
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;
    use sync_core::model::Timestamp;

    use super::*;
    use crate::refusal::said;

    fn codecs() -> Codecs {
        let spec = StreamSpec::new("all")
            .text("id")
            .int("n")
            .key(["id", "n"])
            .bool("yes")
            .uint("u")
            .float("f")
            .decimal("d", 30, 4)
            .bytes("b")
            .timestamp("t")
            .date("day")
            .json("j");
        Codecs::new(&Tables::new([Table::new(spec)]).unwrap()).unwrap()
    }

    fn refusal(text: &str) -> String {
        let (codecs, raw) = (codecs(), RawValue::from_string(text.to_owned()).unwrap());
        let error = codecs.of("all").unwrap().row(&raw).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
        said(&error, "code").unwrap().to_owned()
    }

    #[test]
    fn every_value_comes_back_as_it_went() {
        let codecs = codecs();
        let codec = codecs.of("all").unwrap();
        for (n, u, f) in [(i64::MIN, u64::MAX, f64::NAN), (-1, 0, -0.0), (1 << 53, 1 << 53, f64::NEG_INFINITY)] {
            let row = vec![
                "ключ \u{0}\"".into(),
                n.into(),
                true.into(),
                u.into(),
                f.into(),
                Value::Decimal("12345678901234567890.1234".parse().unwrap()),
                Value::Bytes([0, 255, 7].into()),
                Value::Timestamp(Timestamp::from_micros(1_763_738_120_000_001)),
                Value::Date(NaiveDate::from_ymd_opt(2026, 2, 28).unwrap()),
                Value::Json(r#"{"a":[1.50,null]}"#.into()),
            ];
            let json = codec.row_json(&row).unwrap();
            assert_eq!(codec.row(&json).unwrap(), row, "{json}");
            let key = Key::new(row[..2].to_vec());
            assert_eq!(codec.key(&codec.key_json(&key).unwrap()).unwrap(), key);
        }
        let nulls = vec![Value::Null; 8];
        let row: Vec<Value> = [Value::from("k"), 1.into()].into_iter().chain(nulls).collect();
        assert_eq!(codec.row(&codec.row_json(&row).unwrap()).unwrap(), row);
    }

    #[test]
    fn integers_that_a_browser_would_round_travel_as_text() {
        let codecs = codecs();
        let codec = codecs.of("all").unwrap();
        let key = |n: i64| codec.key_json(&Key::new([Value::from("k"), n.into()])).unwrap().get().to_owned();
        assert_eq!(key((1 << 53) - 1), r#"{"id":"k","n":9007199254740991}"#);
        assert_eq!(key(1 << 53), r#"{"id":"k","n":"9007199254740992"}"#);
    }

    #[test]
    fn what_is_no_row_is_refused_by_its_code() {
        assert_eq!(refusal("[]"), "bad_row");
        assert_eq!(refusal(r#"{"id":"k","n":1,"colour":"secret"}"#), "unknown_column");
        assert_eq!(refusal(r#"{"id":"k","n":1,"n":2}"#), "duplicate_column");
        assert_eq!(refusal(r#"{"id":"k","n":"secret"}"#), "wrong_type");
        assert_eq!(refusal(r#"{"id":"k"}"#), "wrong_type");
    }
}
