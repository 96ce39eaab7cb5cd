//! One stream of an API: the request, where the records stand, and how reading goes on.

use std::collections::BTreeMap;

use serde::Deserialize;
use sync_core::json::{Layout, Parse};

use super::{
    CsvConfig, DropConfig, Format, PagingConfig, ParentConfig, RateConfig, RuleConfig, SinceConfig, Style, Transform,
    WindowConfig,
};

/// One stream of an API. Begin with [`get`], [`post`] or [`post_form`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Endpoint {
    /// GET or POST.
    pub method: MethodConfig,
    /// The path behind the base address. `{name}` stands for a variable of the partition or of the paging.
    pub path: String,
    /// The query. A parameter whose variable has no value (no cursor on the first page) is left out.
    pub query: BTreeMap<String, OneOrMany>,
    /// Headers that are no secret.
    pub headers: BTreeMap<String, String>,
    /// The body of a POST.
    pub body: Option<BodyConfig>,
    /// What the bodies of answers are written in.
    pub format: Format,
    /// How CSV is written.
    pub csv: CsvConfig,
    /// Where the records stand, JSON pointers; the first place that holds records is taken, none at all means the body.
    pub records: Vec<String>,
    /// How the records are laid out there.
    pub layout: Layout,
    /// The member that wraps each record.
    pub wrapper: Option<String>,
    /// The array inside of each record that holds the records to read, a JSON pointer. Columns are then looked for in
    /// those; `^/id` is a place in the record around them. Where the array is empty, null or not there, there are none.
    pub explode: Option<String>,
    /// Which records are no rows at all, such as rows of sums; one reason is enough.
    pub drop: Vec<DropConfig>,
    /// Where a column stands in a record, when it is not the member of its own name: JSON pointers, or a variable of
    /// the partition such as `{account}`.
    pub columns: BTreeMap<String, String>,
    /// How a column is written, when its kind does not say it.
    pub parse: BTreeMap<String, Parse>,
    /// What becomes of the values of a column before they are read.
    pub transforms: BTreeMap<String, Transform>,
    /// How the listing goes on.
    pub paging: PagingConfig,
    /// How to ask for changes only.
    pub since: Option<SinceConfig>,
    /// How to ask for a range of dates.
    pub window: Option<WindowConfig>,
    /// The durable parts of the stream, such as accounts.
    pub partitions: Vec<PartitionConfig>,
    /// Where the other side lists its durable parts, instead of `partitions`.
    pub partitions_from: Option<ParentConfig>,
    /// The column that holds the partition in every row. It is filled with the partition's name, or with the variable
    /// that `columns` names for it, whatever the record says. The listing of one partition then speaks for the rows of
    /// that partition alone; without it, nothing is inferred from what a listing of one of several does not name.
    pub partition_column: Option<String>,
    /// Whether rows come in the order of their key. Where pages are numbered, and asked for one after the other, rows that are added
    /// then hold nothing up; otherwise a listing whose pages were not the same at the second look is read again by the next run.
    pub ordered_by_key: bool,
    /// What answers mean, tried before the rules of the API.
    pub rules: Vec<RuleConfig>,
    /// The rate the other side allows for this class of endpoints, instead of that of the API. Streams, and sources, that
    /// give the same `key` share it; without one it is this stream's alone. The list of `partitions_from` is counted by
    /// the rate of the API.
    pub rate: Option<RateConfig>,
}

/// The request's method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[non_exhaustive]
pub enum MethodConfig {
    /// GET.
    #[default]
    Get,
    /// POST, of a request that changes nothing at the other side.
    Post,
}

/// The body of a POST, with variables.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum BodyConfig {
    /// `application/json`. A text that is one variable alone becomes a number where its value is one.
    Json(serde_json::Value),
    /// `application/x-www-form-urlencoded`.
    Form(BTreeMap<String, OneOrMany>),
}

/// One text, or several under the same name.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several, each sent under the same name.
    Many(Vec<String>),
}

impl OneOrMany {
    pub(crate) fn texts(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

/// A durable part of a stream, such as an account.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PartitionConfig {
    /// Its name; cursors are kept under it.
    pub name: String,
    /// Its variables, for path, query, body and columns. Its name is one of them: `{partition}`.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
}

/// A stream read by GET from this path.
pub fn get(path: impl Into<String>) -> Endpoint {
    Endpoint { path: path.into(), ..Endpoint::default() }
}

/// A stream read by POST of this JSON.
pub fn post(path: impl Into<String>, body: serde_json::Value) -> Endpoint {
    let body = Some(BodyConfig::Json(body));
    Endpoint { method: MethodConfig::Post, path: path.into(), body, ..Endpoint::default() }
}

/// A stream read by POST of this form.
pub fn post_form<N: Into<String>, V: Into<String>>(
    path: impl Into<String>,
    form: impl IntoIterator<Item = (N, V)>,
) -> Endpoint {
    let form = form.into_iter().map(|(name, value)| (name.into(), OneOrMany::One(value.into()))).collect();
    Endpoint {
        method: MethodConfig::Post,
        path: path.into(),
        body: Some(BodyConfig::Form(form)),
        ..Endpoint::default()
    }
}

impl Endpoint {
    /// Where the records stand. Called again, it names another place to look.
    #[must_use]
    pub fn records(mut self, pointer: impl Into<String>) -> Self {
        self.records.push(pointer.into());
        self
    }

    /// One more query parameter. Called again with the same name, it is sent twice.
    #[must_use]
    pub fn query(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        let mut texts = self.query.get(&name).map(|known| known.texts().to_vec()).unwrap_or_default();
        texts.push(value);
        self.query.insert(name, OneOrMany::Many(texts));
        self
    }

    /// A header that is no secret.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Where a column stands in a record.
    #[must_use]
    pub fn column(mut self, name: impl Into<String>, pointer: impl Into<String>) -> Self {
        self.columns.insert(name.into(), pointer.into());
        self
    }

    /// How a column is written.
    #[must_use]
    pub fn parse(mut self, name: impl Into<String>, parse: Parse) -> Self {
        self.parse.insert(name.into(), parse);
        self
    }

    /// Bodies are CSV with this sign between cells.
    #[must_use]
    pub fn csv(mut self, delimiter: char) -> Self {
        self.format = Format::Csv;
        self.csv.delimiter = delimiter;
        self
    }

    /// Bodies are XML.
    #[must_use]
    pub fn xml(mut self) -> Self {
        self.format = Format::Xml;
        self
    }

    /// Reads the records in this array of each record, instead of the record itself.
    #[must_use]
    pub fn explode(mut self, pointer: impl Into<String>) -> Self {
        self.explode = Some(pointer.into());
        self
    }

    /// One more reason to drop a record.
    #[must_use]
    pub fn drop_if(mut self, condition: DropConfig) -> Self {
        self.drop.push(condition);
        self
    }

    /// What becomes of the values of a column before they are read.
    #[must_use]
    pub fn transform(mut self, name: impl Into<String>, transform: Transform) -> Self {
        self.transforms.insert(name.into(), transform);
        self
    }

    /// Pages by a token that stands here in the body and is sent back as `cursor`; see [`Endpoint::page_param`].
    #[must_use]
    pub fn cursor(self, pointer: impl Into<String>) -> Self {
        self.paged(Style::Cursor, Some("cursor".to_owned()), Some(pointer.into()))
    }

    /// Pages by an address that stands here in the body.
    #[must_use]
    pub fn next(self, pointer: impl Into<String>) -> Self {
        self.paged(Style::Next, None, Some(pointer.into()))
    }

    /// Says that the last page leaves out the member that names the next one.
    #[must_use]
    pub fn absent_at_end(mut self) -> Self {
        self.paging.absent_at_end = true;
        self
    }

    /// Pages by the `Link` header.
    #[must_use]
    pub fn link(self) -> Self {
        self.paged(Style::Link, None, None)
    }

    /// Numbered pages, from 1.
    #[must_use]
    pub fn page(self, param: impl Into<String>) -> Self {
        self.paged(Style::Page, Some(param.into()), None)
    }

    /// Pages by how many rows to leave out.
    #[must_use]
    pub fn offset(self, param: impl Into<String>) -> Self {
        self.paged(Style::Offset, Some(param.into()), None)
    }

    /// Pages of the rows above the highest value of a column seen so far: the key of the stream, or a column that is
    /// [unique](Endpoint::unique_keyset).
    #[must_use]
    pub fn keyset(self, param: impl Into<String>, column: impl Into<String>) -> Self {
        let mut paged = self.paged(Style::Keyset, Some(param.into()), None);
        paged.paging.column = Some(column.into());
        paged
    }

    /// The same for a column that is not the key, and in which no two rows have the same value.
    #[must_use]
    pub fn unique_keyset(self, param: impl Into<String>, column: impl Into<String>) -> Self {
        let mut paged = self.keyset(param, column);
        paged.paging.unique = true;
        paged
    }

    /// The query parameter by which the next page is asked for.
    #[must_use]
    pub fn page_param(mut self, param: impl Into<String>) -> Self {
        self.paging.param = Some(param.into());
        self
    }

    /// How many rows to ask for, and in which query parameter.
    #[must_use]
    pub fn size(mut self, param: impl Into<String>, rows: u64) -> Self {
        self.paging.size_param = Some(param.into());
        self.paging.size = Some(rows);
        self
    }

    /// Where the body says how many rows there are in all.
    #[must_use]
    pub fn total(mut self, pointer: impl Into<String>) -> Self {
        self.paging.total = Some(pointer.into());
        self
    }

    /// How many numbered pages to fetch at once ([`PagingConfig::concurrency`](super::PagingConfig::concurrency)).
    #[must_use]
    pub fn concurrency(mut self, pages: usize) -> Self {
        self.paging.concurrency = Some(pages);
        self
    }

    /// Says that pages stand still while they are read; see [`PagingConfig::stable`].
    #[must_use]
    pub fn stable(mut self) -> Self {
        self.paging.stable = true;
        self
    }

    /// All there is to say about paging.
    #[must_use]
    pub fn paging(mut self, paging: PagingConfig) -> Self {
        self.paging = paging;
        self
    }

    /// Asks for changes only, by this query parameter, in RFC 3339. The stream needs a version column.
    #[must_use]
    pub fn since(self, param: impl Into<String>) -> Self {
        self.since_as(SinceConfig::new(param))
    }

    /// Asks for changes only.
    #[must_use]
    pub fn since_as(mut self, since: SinceConfig) -> Self {
        self.since = Some(since);
        self
    }

    /// Asks for ranges of dates.
    #[must_use]
    pub fn window(mut self, window: WindowConfig) -> Self {
        self.window = Some(window);
        self
    }

    /// One more durable part, with its variables.
    #[must_use]
    pub fn partition<N: Into<String>, V: Into<String>>(
        mut self,
        name: impl Into<String>,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        self.partitions.push(PartitionConfig { name: name.into(), variables });
        self
    }

    /// Takes the durable parts from a listing of the other side.
    #[must_use]
    pub fn partitions_from(mut self, listing: ParentConfig) -> Self {
        self.partitions_from = Some(listing);
        self
    }

    /// Names the column that holds the partition in every row; see [`Endpoint::partition_column`](Self#structfield.partition_column).
    #[must_use]
    pub fn partition_column(mut self, column: impl Into<String>) -> Self {
        self.partition_column = Some(column.into());
        self
    }

    /// Says that rows come in the order of their key.
    #[must_use]
    pub fn ordered_by_key(mut self) -> Self {
        self.ordered_by_key = true;
        self
    }

    /// One more rule about what answers mean.
    #[must_use]
    pub fn rule(mut self, rule: RuleConfig) -> Self {
        self.rules.push(rule);
        self
    }

    /// The rate the other side allows for this stream.
    #[must_use]
    pub fn rate(mut self, rate: RateConfig) -> Self {
        self.rate = Some(rate);
        self
    }

    pub(crate) fn has_partitions(&self) -> bool {
        self.partitions_from.is_some() || !self.partitions.is_empty()
    }

    fn paged(mut self, style: Style, param: Option<String>, at: Option<String>) -> Self {
        let old = std::mem::take(&mut self.paging);
        self.paging = PagingConfig { style, param, at, ..old };
        self
    }
}
