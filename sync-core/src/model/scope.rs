//! What a position belongs to, and which rows a listing covers.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Value;

/// A durable part of a feed with a cursor of its own, such as an account or a shard. A date slice is not one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Partition(String);

impl Partition {
    /// The part of this name. The empty name is the only part of a feed that has no parts.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// Which of a scope's two ways of reading a position belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// The position that runs follow day by day.
    #[default]
    Live,
    /// A backfill of this name. It has a position of its own and never touches the live one.
    Backfill(String),
    /// A listing that looks for deleted rows. It never touches the live position.
    Reconcile,
    /// Dead letters that are tried again.
    Replay,
}

/// What one checkpoint belongs to: a feed of a pipeline, one of its partitions, and the lane.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Scope {
    /// The pipeline's name.
    pub pipeline: String,
    /// The feed's name.
    pub feed: String,
    /// The part of the feed.
    pub partition: Partition,
    /// Live, or one backfill.
    pub lane: Lane,
}

impl Scope {
    /// The same in the lane that runs follow day by day. Its lease, and its token, hold for all lanes.
    #[must_use]
    pub fn live(&self) -> Self {
        Self { lane: Lane::Live, ..self.clone() }
    }

    /// What leases and checkpoints are kept under: `pipeline/feed@partition#lane`, unique for a scope, since each part is
    /// escaped. It never changes its form; people read [`Display`](fmt::Display).
    pub fn id(&self) -> String {
        let mut id = format!("{}/{}", escape(&self.pipeline), escape(&self.feed));
        if !self.partition.0.is_empty() {
            id.push('@');
            id.push_str(&escape(&self.partition.0));
        }
        match &self.lane {
            Lane::Live => {}
            Lane::Backfill(name) => {
                id.push('#');
                id.push_str(&escape(name));
            }
            Lane::Reconcile => id.push_str("##reconcile"),
            Lane::Replay => id.push_str("##replay"),
        }
        id
    }
}

impl fmt::Display for Scope {
    /// For people: `shop/orders`, `shop/orders@eu`, `shop/orders (reconcile)`, `shop/orders@eu (backfill 2024)`. What is kept
    /// is [`Scope::id`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.pipeline, self.feed)?;
        if !self.partition.0.is_empty() {
            write!(f, "@{}", self.partition.0)?;
        }
        match &self.lane {
            Lane::Live => Ok(()),
            Lane::Backfill(name) => write!(f, " (backfill {name})"),
            Lane::Reconcile => f.write_str(" (reconcile)"),
            Lane::Replay => f.write_str(" (replay)"),
        }
    }
}

fn escape(part: &str) -> String {
    let mut out = String::with_capacity(part.len());
    for c in part.chars() {
        if matches!(c, '/' | '@' | '#' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Which rows of a stream a complete listing covers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RowScope {
    /// Every row of the stream.
    #[default]
    All,
    /// The rows whose column lies in a half-open range: `from` belongs to it, `until` does not.
    Range {
        /// The column that is compared.
        column: String,
        /// The first value inside; `None` is no lower bound.
        from: Option<Value>,
        /// The first value outside; `None` is no upper bound.
        until: Option<Value>,
    },
    /// The rows whose column holds this value: those of one account, or of one branch.
    Equals {
        /// The column that is compared.
        column: String,
        /// The value it holds.
        value: Value,
    },
    /// The rows that both cover.
    Both(Box<RowScope>, Box<RowScope>),
}

impl RowScope {
    /// Of these rows, those whose column holds this value: what the listing of one partition speaks for.
    #[must_use]
    pub fn within(self, column: impl Into<String>, value: impl Into<Value>) -> Self {
        let part = Self::Equals { column: column.into(), value: value.into() };
        if self == Self::All { part } else { Self::Both(Box::new(part), Box::new(self)) }
    }

    /// Whether it is confined to a range of a column.
    pub fn is_range(&self) -> bool {
        match self {
            Self::All | Self::Equals { .. } => false,
            Self::Range { from, until, .. } => from.is_some() || until.is_some(),
            Self::Both(one, other) => one.is_range() || other.is_range(),
        }
    }

    /// Whether it is confined to a part of the rows that a value tells apart from the others.
    pub fn is_part(&self) -> bool {
        match self {
            Self::All | Self::Range { .. } => false,
            Self::Equals { .. } => true,
            Self::Both(one, other) => one.is_part() || other.is_part(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(partition: &str, lane: Lane) -> Scope {
        Scope { pipeline: "shop".into(), feed: "a/b".into(), partition: Partition::new(partition), lane }
    }

    #[test]
    fn a_scope_reads_well() {
        let read = |partition, lane| scope(partition, lane).to_string();
        assert_eq!(read("", Lane::Live), "shop/a/b");
        assert_eq!(read("eu", Lane::Live), "shop/a/b@eu");
        assert_eq!(read("", Lane::Reconcile), "shop/a/b (reconcile)");
        assert_eq!(read("eu", Lane::Backfill("2024".into())), "shop/a/b@eu (backfill 2024)");
        assert_eq!(read("", Lane::Replay), "shop/a/b (replay)");
    }

    /// Stores of earlier releases are full of these.
    #[test]
    fn what_is_kept_under_never_changes_its_form() {
        let id = |partition, lane| scope(partition, lane).id();
        assert_eq!(id("", Lane::Live), "shop/a\\/b");
        assert_eq!(id("e#u", Lane::Live), "shop/a\\/b@e\\#u");
        assert_eq!(id("", Lane::Reconcile), "shop/a\\/b##reconcile");
        assert_eq!(id("eu", Lane::Backfill("#replay".into())), "shop/a\\/b@eu#\\#replay");
        assert_eq!(id("", Lane::Replay), "shop/a\\/b##replay");
    }
}
