//! What bodies are written in.

use serde::Deserialize;

/// What the bodies of a stream are written in. CSV and XML are turned into JSON, and go the same way from there: the same
/// columns, the same limits, the same errors. Rejected records are kept as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Format {
    /// JSON, RFC 8259, or JSON Lines.
    #[default]
    Json,
    /// CSV, RFC 4180, with a line of names before the records: `/Order ID` is the cell below `Order ID`. An empty cell
    /// is null; all others are texts. It has no place for what paging looks for in a body.
    Csv,
    /// XML 1.0 in UTF-8, without a document type. An element is an object of its elements and its attributes: `/shop`
    /// is an element, `/@id` an attribute, `/shop/#text` the text of an element that has attributes. An element without
    /// any of them is its text, or null where it is empty; one that stands several times is an array. `records` begins
    /// with the name of the outermost element: `/feed/link`. Where that one is there and has no such elements, there are
    /// no records.
    Xml,
}

/// How CSV is written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct CsvConfig {
    /// What stands between cells: one ASCII sign. A comma.
    pub delimiter: char,
    /// Whether cells may stand in quotes. Without it, a quote is a sign like others.
    pub quoted: bool,
}

impl Default for CsvConfig {
    fn default() -> Self {
        Self { delimiter: ',', quoted: true }
    }
}
