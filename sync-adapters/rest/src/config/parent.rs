//! Partitions that the other side lists: accounts, ad spaces, campaigns.

use std::collections::BTreeMap;

use serde::Deserialize;
use sync_core::json::Layout;

use super::{BodyConfig, CsvConfig, Endpoint, Format, MethodConfig, OneOrMany, PagingConfig, RuleConfig};

/// A listing whose records are the partitions of a stream. It is asked for at the beginning of every run, page by page,
/// and counts against the rate like any other request.
///
/// A partition that is no longer listed is no longer read: its rows and its position stay as they are, and it goes on
/// from there when it comes back. A list that cannot be read to its end is an error, and nothing is read by half of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ParentConfig {
    /// GET or POST.
    #[serde(default)]
    pub method: MethodConfig,
    /// As for [`Endpoint::path`].
    pub path: String,
    /// As for [`Endpoint::query`].
    #[serde(default)]
    pub query: BTreeMap<String, OneOrMany>,
    /// As for [`Endpoint::headers`].
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// As for [`Endpoint::body`].
    #[serde(default)]
    pub body: Option<BodyConfig>,
    /// What the list is written in, whatever the stream itself is. As for [`Endpoint::format`].
    #[serde(default)]
    pub format: Format,
    /// As for [`Endpoint::csv`].
    #[serde(default)]
    pub csv: CsvConfig,
    /// As for [`Endpoint::records`].
    #[serde(default)]
    pub records: Vec<String>,
    /// As for [`Endpoint::layout`].
    #[serde(default)]
    pub layout: Layout,
    /// As for [`Endpoint::wrapper`].
    #[serde(default)]
    pub wrapper: Option<String>,
    /// As for [`Endpoint::paging`].
    #[serde(default)]
    pub paging: PagingConfig,
    /// As for [`Endpoint::rules`].
    #[serde(default)]
    pub rules: Vec<RuleConfig>,
    /// Where a record holds the partition's name, a JSON pointer. Cursors are kept under it: take an id that stays.
    pub name: String,
    /// Where a record holds the values of the partition's variables, JSON pointers.
    pub variables: BTreeMap<String, String>,
    /// The most partitions there may be. 1000. A longer list is an error.
    #[serde(default = "thousand")]
    pub most: usize,
    /// Whether the list may be empty. Otherwise an empty list is an error: it is more often a fault than the truth.
    #[serde(default)]
    pub may_be_empty: bool,
}

impl ParentConfig {
    /// A listing by GET from this path, whose records hold the name of a partition here.
    pub fn new(path: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            method: MethodConfig::Get,
            path: path.into(),
            query: BTreeMap::new(),
            headers: BTreeMap::new(),
            body: None,
            format: Format::default(),
            csv: CsvConfig::default(),
            records: Vec::new(),
            layout: Layout::default(),
            wrapper: None,
            paging: PagingConfig::default(),
            rules: Vec::new(),
            name: name.into(),
            variables: BTreeMap::new(),
            most: thousand(),
            may_be_empty: false,
        }
    }

    /// Where the records stand. Called again, it names another place to look.
    #[must_use]
    pub fn records(mut self, pointer: impl Into<String>) -> Self {
        self.records.push(pointer.into());
        self
    }

    /// The list is CSV with this sign between cells.
    #[must_use]
    pub fn csv(mut self, delimiter: char) -> Self {
        self.format = Format::Csv;
        self.csv.delimiter = delimiter;
        self
    }

    /// The list is XML.
    #[must_use]
    pub fn xml(mut self) -> Self {
        self.format = Format::Xml;
        self
    }

    /// A variable of the partition, and where a record holds its value.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, pointer: impl Into<String>) -> Self {
        self.variables.insert(name.into(), pointer.into());
        self
    }

    /// How the listing goes on.
    #[must_use]
    pub fn paging(mut self, paging: PagingConfig) -> Self {
        self.paging = paging;
        self
    }

    /// The request, with these columns.
    pub(crate) fn endpoint(&self, columns: BTreeMap<String, String>) -> Endpoint {
        let listing = self.clone();
        Endpoint {
            method: listing.method,
            path: listing.path,
            query: listing.query,
            headers: listing.headers,
            body: listing.body,
            format: listing.format,
            csv: listing.csv,
            records: listing.records,
            layout: listing.layout,
            wrapper: listing.wrapper,
            paging: listing.paging,
            rules: listing.rules,
            columns,
            ..Endpoint::default()
        }
    }
}

fn thousand() -> usize {
    1000
}
