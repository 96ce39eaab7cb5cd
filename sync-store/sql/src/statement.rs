//! Statements in the neutral form: what the databases have in common, with marks where they differ.

use crate::dialect::Dialect;
use crate::key::fitted;

/// A statement and the values it is bound to.
///
/// Its text is put together from pieces of this program alone; whatever comes from outside is a bound value.
#[derive(Debug)]
pub(crate) struct Statement {
    form: Form,
    values: Vec<Value>,
}

/// What a statement is bound to. These two types and their nulls mean the same in every database.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Number(Option<i64>),
    Text(String),
}

#[derive(Debug)]
enum Form {
    /// SQL with the marks of [`Dialect::render`].
    Text(String),
    /// A row that is inserted, or takes the place of the one with its key.
    Upsert { table: &'static str, key: &'static [&'static str], columns: &'static [&'static str] },
}

impl Statement {
    pub(crate) fn new(text: &'static str) -> Self {
        Self { form: Form::Text(text.to_owned()), values: Vec::new() }
    }

    /// Inserts a row, or changes `columns` where one with this `key` stands. Values are bound in the order of `key` and
    /// then `columns`.
    pub(crate) fn upsert(table: &'static str, key: &'static [&'static str], columns: &'static [&'static str]) -> Self {
        Self { form: Form::Upsert { table, key, columns }, values: Vec::new() }
    }

    /// Goes on with more text.
    #[must_use]
    pub(crate) fn and(mut self, more: &'static str) -> Self {
        match &mut self.form {
            Form::Text(text) => text.push_str(more),
            Form::Upsert { .. } => debug_assert!(false, "an upsert is whole from the beginning"),
        }
        self
    }

    /// Goes on with a condition, where there is something to ask for.
    #[must_use]
    pub(crate) fn and_if(self, condition: &'static str, key: Option<&str>) -> Self {
        match key {
            Some(key) => self.and(condition).key(key),
            None => self,
        }
    }

    /// Binds something that is looked up by: it is compared byte by byte, and may have any length.
    #[must_use]
    pub(crate) fn key(mut self, key: &str) -> Self {
        self.values.push(Value::Text(fitted(key)));
        self
    }

    #[must_use]
    pub(crate) fn text(mut self, text: impl Into<String>) -> Self {
        self.values.push(Value::Text(text.into()));
        self
    }

    #[must_use]
    pub(crate) fn number(mut self, number: impl Into<Option<i64>>) -> Self {
        self.values.push(Value::Number(number.into()));
        self
    }

    /// The text in this dialect, and the values.
    pub(crate) fn spoken(self, dialect: Dialect) -> (String, Vec<Value>) {
        let text = match &self.form {
            Form::Text(text) => dialect.render(text),
            Form::Upsert { table, key, columns } => dialect.render(&dialect.upsert(table, key, columns)),
        };
        (text, self.values)
    }
}
