//! Which columns say whose a row is, and which rows a client and a branch may therefore see.

use sync_core::model::Kind;
use sync_core::two_way::{Access, Tables};
use sync_core::{Error, Result, Value};

/// The scope columns that the claims of a token speak about.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    client: Column,
    branch: Column,
}

#[derive(Debug, Clone)]
struct Column {
    name: String,
    /// What it holds, where a table is scoped by it.
    kind: Option<Kind>,
}

impl Scope {
    /// # Errors
    /// `Config`, when a table is scoped by a column that no claim speaks about, or by one of another kind.
    pub(super) fn new(tables: &Tables, client: &str, branch: &str) -> Result<Self> {
        for table in tables.iter() {
            if let Some(other) = table.scope_columns().iter().find(|name| *name != client && *name != branch) {
                return Err(Error::config("the table is scoped by a column that no claim of a token speaks about")
                    .with("table", table.name())
                    .with("column", other));
            }
        }
        Ok(Self { client: Column::new(tables, client)?, branch: Column::new(tables, branch)? })
    }

    /// The rows of this client and branch; `None` where an id is none that its column could hold.
    pub(super) fn access(&self, client: &str, branch: Option<&str>) -> Option<Access> {
        let access = Access::rows_with(&self.client.name, self.client.value(client)?);
        match branch {
            Some(branch) => Some(access.and(&self.branch.name, self.branch.value(branch)?)),
            None => Some(access),
        }
    }

    /// What this scope column holds in a row of this client and branch.
    pub(super) fn value(&self, column: &str, client: &str, branch: Option<&str>) -> Option<Value> {
        match (column == self.client.name, column == self.branch.name) {
            (true, _) => self.client.value(client),
            (false, true) => self.branch.value(branch?),
            _ => None,
        }
    }
}

impl Column {
    fn new(tables: &Tables, name: &str) -> Result<Self> {
        let mut kind = None;
        for table in tables.iter().filter(|table| table.scope_columns().iter().any(|column| column == name)) {
            let field = table.spec().schema().field(name);
            let this = field.map(sync_core::model::Field::kind);
            if !matches!(this, Some(Kind::Text | Kind::Int | Kind::UInt)) || kind.is_some_and(|kind| Some(kind) != this)
            {
                return Err(Error::config("a scope column holds text or integers, and the same in every table")
                    .with("table", table.name())
                    .with("column", name));
            }
            kind = this;
        }
        Ok(Self { name: name.to_owned(), kind })
    }

    fn value(&self, id: &str) -> Option<Value> {
        match self.kind {
            Some(Kind::Int) => id.parse::<i64>().ok().map(Value::Int),
            Some(Kind::UInt) => id.parse::<u64>().ok().map(Value::UInt),
            _ => Some(Value::from(id)),
        }
    }
}
