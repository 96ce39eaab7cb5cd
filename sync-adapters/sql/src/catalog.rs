//! What a database says about its tables: which there are, and how they refer to each other.

/// What to do where a table that is to be read is not there.
pub(crate) const NAME_ONE: &str = "name a table that is there and that the account may read";

/// A foreign key: rows of one table name rows of another.
///
/// Whoever copies both tables copies the one that is referred to first, unless the target leaves the check out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct ForeignKey {
    /// The table that refers, by the name that `discover` takes.
    pub table: String,
    /// Its columns.
    pub columns: Vec<String>,
    /// The table that is referred to.
    pub references: String,
    /// The columns there, in the same order.
    pub referenced: Vec<String>,
}
