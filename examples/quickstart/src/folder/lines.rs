//! One JSON Lines file as rows of cells, every value kept as it was written.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::{Error, Result};
use crate::table::{Cell, Shape, shape};

/// Levels of nesting in one value. Readers of JSON commonly stop at 64 or 128, and a page adds three of its own.
const DEEPEST: usize = 60;

/// The rows of one file. A column that a line leaves out is null there.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// All columns, in the order in which they first appear.
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Vec<Cell>>,
    /// The line each row stands on, counted from 1.
    pub(super) numbers: Vec<usize>,
}

/// Reads a file. Blank lines, carriage returns and a byte order mark are skipped.
///
/// # Errors
/// The file can't be read, or a line is not one JSON object; the error says which, and why.
pub(super) fn read(path: &Path) -> Result<Lines> {
    let unreadable = |error| Error::caused(format!("cannot read {}", path.display()), error);
    let mut reader = BufReader::new(File::open(path).map_err(unreadable)?);
    let mut lines = Builder::default();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if reader.read_until(b'\n', &mut line).map_err(unreadable)? == 0 {
            break;
        }
        let mut content = line.as_slice();
        if number == 1 {
            content = content.strip_prefix("\u{feff}".as_bytes()).unwrap_or(content);
        }
        if content.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let wrong = |why: String| Error::new(format!("{}:{number}: {why}", path.display()));
        lines.add(number, object(content).map_err(wrong)?).map_err(wrong)?;
    }
    Ok(lines.finish())
}

/// Gathers rows while later lines may still bring new columns.
#[derive(Default)]
struct Builder {
    lines: Lines,
    places: HashMap<String, usize>,
}

impl Builder {
    fn add(&mut self, number: usize, Object(members): Object) -> std::result::Result<(), String> {
        let mut row = vec![null(); self.lines.columns.len()];
        for (name, cell) in members {
            let known = self.places.get(&name).copied();
            let place = known.map_or_else(|| self.column(&name), Ok)?;
            if place >= row.len() {
                row.resize(place + 1, null());
            }
            row[place] = cell;
        }
        self.lines.rows.push(row);
        self.lines.numbers.push(number);
        Ok(())
    }

    /// The place of a column that has not been seen before.
    fn column(&mut self, name: &str) -> std::result::Result<usize, String> {
        if name.is_empty() || name.contains('\0') {
            return Err(format!("{name:?} cannot name a column: rename it"));
        }
        // SQL looks names up without regard to case.
        if let Some(twin) = self.lines.columns.iter().find(|known| known.to_lowercase() == name.to_lowercase()) {
            return Err(format!("columns {twin:?} and {name:?} would be the same one in a database: rename one"));
        }
        let place = self.lines.columns.len();
        self.lines.columns.push(name.to_owned());
        self.places.insert(name.to_owned(), place);
        Ok(place)
    }

    fn finish(mut self) -> Lines {
        for row in &mut self.lines.rows {
            row.resize(self.lines.columns.len(), null());
        }
        self.lines
    }
}

fn null() -> Cell {
    RawValue::NULL.to_owned()
}

/// One JSON object whose values are left as they are written.
struct Object(Vec<(String, Cell)>);

fn object(line: &[u8]) -> std::result::Result<Object, String> {
    let text = std::str::from_utf8(line).map_err(|error| format!("not UTF-8 after byte {}", error.valid_up_to()))?;
    // Of a value that is wrong from its first character, the parser says column 0.
    let object: Object = serde_json::from_str(text).map_err(|error| match error.is_eof() {
        true => format!("not one JSON object: {} at the line's end: complete the line, or remove it", bare(&error)),
        false => format!("not one JSON object: {} (column {})", bare(&error), error.column().max(1)),
    })?;
    for (name, cell) in &object.0 {
        sound(cell).map_err(|why| format!("column {name:?}: {why}"))?;
    }
    Ok(object)
}

/// The parser checks no escapes in values it leaves alone, and no depth that matters to others.
fn sound(cell: &RawValue) -> std::result::Result<(), String> {
    match shape(cell) {
        Shape::Text => serde_json::from_str::<String>(cell.get()).map(drop).map_err(|error| bare(&error)),
        Shape::Object | Shape::Array => {
            let value: Value = serde_json::from_str(cell.get()).map_err(|error| bare(&error))?;
            if depth(&value) > DEEPEST { Err(format!("nested more than {DEEPEST} levels deep")) } else { Ok(()) }
        }
        Shape::Null | Shape::Bool | Shape::Number => Ok(()),
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// The parser's message without its position: it counts from the start of the line, not of the file.
fn bare(error: &serde_json::Error) -> String {
    let message = error.to_string();
    message.split(" at line ").next().unwrap_or_default().to_owned()
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object on a line of its own")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Object, A::Error> {
                let mut members: Vec<(String, Cell)> = Vec::with_capacity(16);
                while let Some(name) = map.next_key::<String>()? {
                    if members.iter().any(|(known, _)| *known == name) {
                        return Err(A::Error::custom(format_args!("column {name:?} stands twice")));
                    }
                    members.push((name, map.next_value()?));
                }
                Ok(Object(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read_text(bytes: impl AsRef<[u8]>) -> Result<Lines> {
        let mut file = tempfile::Builder::new().suffix(".jsonl").tempfile().expect("a file for the test");
        file.write_all(bytes.as_ref()).expect("the file is written");
        read(file.path())
    }

    fn refusal(bytes: impl AsRef<[u8]>) -> String {
        read_text(bytes).expect_err("these lines are refused").to_string()
    }

    #[test]
    fn a_column_that_a_line_leaves_out_is_null_there() {
        let lines = read_text("{\"a\":1}\n\n{\"b\":2,\"a\":3}\r\n").expect("sound lines");
        assert_eq!(lines.columns, ["a", "b"]);
        let cells: Vec<Vec<&str>> = lines.rows.iter().map(|row| row.iter().map(|cell| cell.get()).collect()).collect();
        assert_eq!(cells, [["1", "null"], ["3", "2"]]);
        assert_eq!(lines.numbers, [1, 3]);
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        assert_eq!(read_text("\u{feff}{\"a\":1}").expect("sound lines").columns, ["a"]);
    }

    #[test]
    fn a_bad_line_is_named_with_what_is_wrong_about_it() {
        for (text, said) in [
            ("{\"a\":1}\n{\"a\":}\n", ".jsonl:2: not one JSON object: expected value (column 6)"),
            ("{\"a\":1}\n[1]\n", ".jsonl:2: not one JSON object: invalid type: sequence, expected a JSON object"),
            ("{\n\"a\":1}\n", ".jsonl:1: not one JSON object: EOF while parsing an object at the line's end: complete"),
            ("{\"a\":\"to", ".jsonl:1: not one JSON object: EOF while parsing a string at the line's end: complete"),
            ("{\"a\":1} {\"a\":2}\n", ".jsonl:1: not one JSON object: trailing characters (column 9)"),
            (
                "[1,2]\n",
                ".jsonl:1: not one JSON object: invalid type: sequence, expected a JSON object on a line of its own (column 1)",
            ),
            ("id,name\n1,x\n", ".jsonl:1: not one JSON object: expected value (column 1)"),
            ("{\"a\":1,\"a\":2}\n", ".jsonl:1: not one JSON object: column \"a\" stands twice"),
            ("{\"a\":NaN}\n", ".jsonl:1: not one JSON object: expected value"),
            ("{\"a\":1,\"A\":2}\n", ".jsonl:1: columns \"a\" and \"A\" would be the same one in a database"),
            ("{\"\":1}\n", ".jsonl:1: \"\" cannot name a column"),
            ("{\"a\":\"\\ud83d\"}\n", ".jsonl:1: column \"a\": "),
            ("{\"a\":[\"\\ud83d\"]}\n", ".jsonl:1: column \"a\": "),
        ] {
            let error = refusal(text);
            assert!(error.contains(said), "{text:?} said {error:?}");
        }
        let error = refusal(b"{\"a\":1}\n{\"a\":\"\xff\"}\n");
        assert!(error.contains(".jsonl:2: not UTF-8 after byte 6"), "{error}");
    }

    #[test]
    fn nesting_deeper_than_readers_allow_is_refused_here() {
        let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(read_text(nested(DEEPEST)).is_ok());
        let error = refusal(nested(DEEPEST + 1));
        assert!(error.contains("nested more than 60 levels deep"), "{error}");
    }
}
