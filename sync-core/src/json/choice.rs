//! Columns whose value is chosen from several places, or comes from outside of the record.

use super::convert::Column;
use super::derive::{self, Finder};
use super::record::Walk;
use crate::model::RowWriter;

/// Where the values of a column come from.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// From one place in the record.
    At(Vec<String>),
    /// From the first of these places that has a value, else a constant.
    Chosen { stands: Vec<Place>, constant: Option<(Column, Box<str>)> },
}

/// One of the places to choose from.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// In the record: the steps of a pointer.
    Here(Vec<String>),
    /// Outside of it: the number among the outer values.
    Outer(usize),
    /// In a list at another place, by a name.
    Listed(Box<Place>, Finder),
    /// The hash over the values at these places.
    Hash(Vec<Place>),
}

/// A column whose value is chosen when the record has been read.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) place: usize,
    /// In the order of choice.
    pub(super) from: Vec<From>,
}

#[derive(Debug)]
pub(super) enum From {
    /// A value of the record, kept while it was read.
    Slot(usize),
    /// A value from outside of the record.
    Outer(usize),
    /// A value in a list, by a name.
    Listed(Box<From>, Finder),
    /// The hash over these values.
    Hash(Vec<From>),
    /// JSON, and the column as its own kind suggests: what is declared here is not written as the source does.
    Constant(Column, Box<str>),
}

impl Walk<'_, '_> {
    /// Fills the columns that choose: each with its first value that is there, and neither null nor taken for null.
    pub(super) fn choose(&mut self, row: &mut RowWriter<'_>) -> Result<(), &'static str> {
        let plan = self.plan;
        for choice in &plan.choices {
            let column = &plan.columns[choice.place];
            let mut written = Ok(false);
            for from in &choice.from {
                written = match from {
                    From::Constant(column, raw) => column.write(raw, row),
                    From::Hash(parts) => derive::fingerprint(parts.iter().map(|part| self.raw(part)), &column.clean)
                        .and_then(|hash| {
                            hash.map_or(Ok(false), |hash| column.write_meaning(&hash, row).map(|()| true))
                        }),
                    From::Listed(list, finder) => match self.raw(list).map(|raw| finder.find(raw)) {
                        Some(Ok(Some(raw))) => column.write(raw, row),
                        Some(Err(why)) => Err(why),
                        _ => Ok(false),
                    },
                    place => self.raw(place).map_or(Ok(false), |raw| column.write(raw, row)),
                };
                if written != Ok(false) {
                    break;
                }
            }
            self.written(choice.place, written)?;
        }
        Ok(())
    }

    /// The value that stands at a place as it is.
    fn raw(&self, from: &From) -> Option<&str> {
        match from {
            From::Slot(slot) => self.slots[*slot],
            From::Outer(at) => self.outer.get(*at)?.as_deref(),
            From::Listed(..) | From::Hash(_) | From::Constant(..) => None,
        }
    }
}
