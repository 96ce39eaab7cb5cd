//! Columns that no item names while an item names something like them: misspelt on one of the two sides. Nothing else
//! would tell, since a column without a value is no error.

use std::collections::BTreeSet;

use super::fault::Fault;
use crate::model::{FieldSet, Schema};

/// So many names that are no columns are remembered.
const MOST: usize = 1000;

/// The names that items have used.
#[derive(Debug, Default)]
pub(super) struct Names {
    columns: FieldSet,
    /// Fields of structs that are no columns. A struct names all its fields in every item, even those that it skips.
    fields: BTreeSet<&'static str>,
    /// Members of maps that are no columns. A map may lack a column in every item of a page and have it in the next, as a
    /// struct with `#[serde(flatten)]` may.
    members: BTreeSet<String>,
}

impl Names {
    /// A field of a struct, and the column it is.
    pub(super) fn field(&mut self, name: &'static str, column: Option<usize>) {
        match column {
            Some(column) => self.columns.insert(column),
            None if self.fields.len() < MOST => drop(self.fields.insert(name)),
            None => {}
        }
    }

    /// A member of a map, and the column it is.
    pub(super) fn member(&mut self, name: &str, column: Option<usize>) {
        match column {
            Some(column) => self.columns.insert(column),
            None if self.members.len() < MOST && !self.members.contains(name) => {
                self.members.insert(name.to_owned());
            }
            None => {}
        }
    }

    /// What is wrong with a column that nothing names, if something is named so much like it that it must be meant. What
    /// only *may* be meant is let pass where it is a map's: the column may be one that these items happen to lack.
    pub(super) fn misspelt(&self, schema: &Schema) -> Option<Fault> {
        let unnamed = schema.fields().iter().enumerate().filter(|(column, _)| !self.columns.contains(*column));
        unnamed.map(|(_, field)| field.name()).find_map(|column| {
            let fields = self.fields.iter().copied();
            let field = fields.filter(|name| is_alike(column, name)).min_by_key(|name| distance(column, name));
            let member = || self.members.iter().map(String::as_str).find(|name| folded(column) == folded(name));
            let meant = field.or_else(member)?;
            let what =
                format!("no item names it, and {meant:?}, which the items name, is no column: correct one of the two");
            Some(Fault::new(what).at(column))
        })
    }
}

/// Whether one name is the other, misspelt: letters left out, doubled, changed or exchanged, but not the first one; names
/// that count, such as `line1` and `line2`, are two names.
fn is_alike(one: &str, other: &str) -> bool {
    let (one, other) = (folded(one), folded(other));
    if one == other {
        return true;
    }
    let digits = |name: &str| name.chars().filter(char::is_ascii_digit).collect::<String>();
    let slips = match one.chars().count() {
        0..=3 => 0,
        4..=5 => 1,
        _ => 2,
    };
    one.chars().next() == other.chars().next()
        && digits(&one) == digits(&other)
        && strsim::osa_distance(&one, &other) <= slips
}

fn distance(one: &str, other: &str) -> usize {
    strsim::osa_distance(&folded(one), &folded(other))
}

/// `dueDate`, `due-date` and `due_date` are one name in the conventions of three languages.
fn folded(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::is_alike;

    #[test]
    fn slips_of_the_pen_and_other_conventions_are_alike() {
        for (one, other) in [
            ("titel", "title"),
            ("due_date", "dueDate"),
            ("quantitiy", "quantity"),
            ("adress", "address"),
            ("ID", "id"),
        ] {
            assert!(is_alike(one, other) && is_alike(other, one), "{one} {other}");
        }
    }

    #[test]
    fn names_that_only_resemble_each_other_are_two_names() {
        for (one, other) in
            [("line1", "line2"), ("date", "rate"), ("created_at", "updated_at"), ("id", "in"), ("name", "note")]
        {
            assert!(!is_alike(one, other) && !is_alike(other, one), "{one} {other}");
        }
    }
}
