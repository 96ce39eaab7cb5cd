//! The tables that take part, and what the host declares about each.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::conflict::{ConflictPolicy, Counters, FieldMerge};
use crate::model::{Field, FieldSet, Key, Kind, Row, Rows, StreamSpec, Value};
use crate::{Error, Result};

/// One table that is kept in step: its columns, whose rows it holds, and who wins.
///
/// ```
/// use sync_core::StreamSpec;
/// use sync_core::two_way::Table;
/// let products = StreamSpec::new("products").key(["id"]).text("id").text("name").int("stock").text("branch");
/// let products = Table::new(products).counters(["stock"]).scoped_by(["branch"]);
/// assert_eq!(products.name(), "products");
/// ```
#[derive(Debug, Clone)]
pub struct Table {
    spec: Arc<StreamSpec>,
    /// The same columns with the time of the write as version: what policies see.
    timed: Arc<StreamSpec>,
    scope: Vec<String>,
    counters: Vec<String>,
    server_owned: Vec<String>,
    policy: Option<Arc<dyn ConflictPolicy>>,
    /// What the host's policy and the counters make together.
    decides: Arc<dyn ConflictPolicy>,
}

/// The column that policies see as the version: the time of the write.
const WRITTEN: &str = "_written";

impl Table {
    /// A table with the columns and the key of this stream. Edits of different fields both stay; of a field that two edits
    /// contest, the later stays.
    pub fn new(spec: impl Into<Arc<StreamSpec>>) -> Self {
        let spec = spec.into();
        let mut timed = StreamSpec::new(spec.name());
        for field in spec.schema().fields() {
            timed = timed.field(field.clone());
        }
        let timed = timed.key(spec.key_columns()).field(Field::new(WRITTEN, Kind::UInt)).version(WRITTEN);
        Self {
            spec,
            timed: Arc::new(timed),
            scope: Vec::new(),
            counters: Vec::new(),
            server_owned: Vec::new(),
            policy: None,
            decides: Arc::new(FieldMerge::new()),
        }
    }

    /// The columns that say whose a row is: a client, a branch. Who may see only some rows is confined by them.
    #[must_use]
    pub fn scoped_by<I: IntoIterator<Item: Into<String>>>(mut self, columns: I) -> Self {
        self.scope = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Numeric columns of which the *changes* are kept in step: what two tills take from one stock is taken twice.
    #[must_use]
    pub fn counters<I: IntoIterator<Item: Into<String>>>(mut self, columns: I) -> Self {
        self.counters = columns.into_iter().map(Into::into).collect();
        self.combined()
    }

    /// Columns that only the master writes: a peer that changes one is refused.
    #[must_use]
    pub fn server_owned<I: IntoIterator<Item: Into<String>>>(mut self, columns: I) -> Self {
        self.server_owned = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Who decides when an edit meets a row that has changed since. The version it sees is the time of the write.
    #[must_use]
    pub fn policy(mut self, policy: impl ConflictPolicy + 'static) -> Self {
        self.policy = Some(Arc::new(policy));
        self.combined()
    }

    fn combined(mut self) -> Self {
        let others: Arc<dyn ConflictPolicy> = self.policy.clone().unwrap_or_else(|| Arc::new(FieldMerge::new()));
        self.decides =
            if self.counters.is_empty() { others } else { Arc::new(Counters::new(self.counters.clone(), others)) };
        self
    }

    /// The table's name.
    pub fn name(&self) -> &str {
        self.spec.name()
    }

    /// Its columns and key.
    pub fn spec(&self) -> &Arc<StreamSpec> {
        &self.spec
    }

    /// The columns that say whose a row is.
    pub fn scope_columns(&self) -> &[String] {
        &self.scope
    }

    /// The positions of the counters.
    pub fn counter_indices(&self) -> Vec<usize> {
        self.counters.iter().filter_map(|name| self.spec.schema().index(name)).collect()
    }

    /// The positions of columns that only the master writes.
    pub fn server_owned_indices(&self) -> Vec<usize> {
        self.server_owned.iter().filter_map(|name| self.spec.schema().index(name)).collect()
    }

    /// Columns that only the master writes stay as they are in the row that is there.
    pub(super) fn keep_owned(&self, row: &mut [Value], existing: &[Value]) {
        for column in self.server_owned_indices() {
            row[column].clone_from(&existing[column]);
        }
    }

    /// Whether these two rows belong to the same.
    pub(super) fn same_scope(&self, one: &[Value], other: &[Value]) -> bool {
        let columns = self.scope.iter().filter_map(|name| self.spec.schema().index(name));
        columns.into_iter().all(|column| one[column] == other[column])
    }

    pub(super) fn timed(&self) -> &Arc<StreamSpec> {
        &self.timed
    }

    pub(super) fn decides(&self) -> &dyn ConflictPolicy {
        &*self.decides
    }

    /// The key of a row of this table.
    pub fn key_of(&self, row: &[Value]) -> Key {
        Key::new(self.spec.key_indices().into_iter().map(|column| row[column].clone()))
    }

    /// Whether these values are a row of this table.
    ///
    /// # Errors
    /// `Data`, naming the column that does not take its value.
    pub fn check_row(&self, row: &[Value]) -> Result<()> {
        let mut rows = Rows::new(Arc::clone(self.spec.schema()));
        rows.push(row.iter().map(Value::as_ref)).map_err(|error| error.with("table", self.name()))
    }

    /// The columns in which two rows differ.
    pub fn differing(before: &[Value], after: &[Value]) -> FieldSet {
        let mut fields = FieldSet::new();
        let differ = before.iter().zip(after).enumerate().filter(|(_, (before, after))| before != after);
        differ.for_each(|(column, _)| fields.insert(column));
        fields
    }

    pub(super) fn timed_row(&self, row: &[Value], written: u64) -> Result<Rows> {
        let mut rows = Rows::new(Arc::clone(self.timed.schema()));
        let written = Value::UInt(written);
        rows.push(row.iter().map(Value::as_ref).chain([written.as_ref()]))
            .map_err(|error| error.with("table", self.name()))?;
        Ok(rows)
    }

    /// What a later edit makes of a row that has become another meanwhile: its fields, and its changes of counters.
    pub fn onto(&self, before: Option<&[Value]>, after: &[Value], canonical: &[Value]) -> Result<Vec<Value>> {
        let Some(before) = before else { return Ok(after.to_vec()) };
        let counters = self.counter_indices();
        let mut row = canonical.to_vec();
        for column in Self::differing(before, after).iter() {
            row[column] = if counters.contains(&column) {
                self.added(column, &canonical[column], &before[column], &after[column])?
            } else {
                after[column].clone()
            };
        }
        Ok(row)
    }

    fn added(&self, column: usize, canonical: &Value, before: &Value, after: &Value) -> Result<Value> {
        let kind = self.spec.schema().fields()[column].kind();
        crate::conflict::add_to_counter(canonical.as_ref(), before.as_ref(), after.as_ref(), kind).ok_or_else(|| {
            Error::data("the sum of a counter does not fit its column")
                .with("table", self.name())
                .with("column", self.spec.schema().fields()[column].name())
        })
    }

    fn check(&self) -> Result<()> {
        self.spec.check()?;
        let schema = self.spec.schema();
        let unknown = |columns: &[String], what: &str| match columns.iter().find(|name| schema.index(name).is_none()) {
            Some(name) => {
                Err(Error::config(format!("{what} column {name:?} is not declared")).with("table", self.name()))
            }
            None => Ok(()),
        };
        unknown(&self.scope, "scope")?;
        unknown(&self.server_owned, "server-owned")?;
        if schema.index(WRITTEN).is_some() {
            return Err(
                Error::config(format!("column {WRITTEN:?} is ours: give it another name")).with("table", self.name())
            );
        }
        self.decides.check(&self.timed)
    }
}

/// All tables that take part. Parents stand before children.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    tables: Vec<Arc<Table>>,
    places: BTreeMap<String, usize>,
}

impl Tables {
    /// These tables, parents before children.
    ///
    /// # Errors
    /// `Config`, naming a table that is declared twice or wrongly.
    pub fn new(tables: impl IntoIterator<Item = Table>) -> Result<Self> {
        let mut all = Self::default();
        for table in tables {
            table.check()?;
            if all.places.insert(table.name().to_owned(), all.tables.len()).is_some() {
                return Err(Error::config("the table is declared twice").with("table", table.name()));
            }
            all.tables.push(Arc::new(table));
        }
        Ok(all)
    }

    /// All of them, parents first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Table>> {
        self.tables.iter()
    }

    /// The table of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Table>> {
        self.places.get(name).map(|&place| &self.tables[place])
    }

    /// Where it stands among the others: parents before children.
    pub fn place(&self, name: &str) -> usize {
        self.places.get(name).copied().unwrap_or(usize::MAX)
    }

    pub(super) fn require(&self, name: &str) -> Result<&Arc<Table>> {
        self.get(name).ok_or_else(|| {
            super::refuse(crate::ErrorKind::Schema, "unknown_table", "this table does not take part")
                .with("table", name)
        })
    }
}

/// The values of a row in a page of one, without the time of its write.
pub(super) fn without_time(row: Row<'_>) -> Vec<Value> {
    let mut values = row.to_values();
    values.pop();
    values
}
