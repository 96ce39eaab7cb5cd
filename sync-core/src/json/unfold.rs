//! What is done with a record before its columns are read: it is dropped, or exploded into the records it holds.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::fault::Fault;
use super::outer::{Outers, Values};
use super::plan::Plan;
use super::pointer::{self, Stand};
use super::record::Walk;
use super::scan;
use super::walk::extra_value;
use crate::model::{Rows, Schema};

/// When a record is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum When {
    /// There is a value, and it is not null.
    Present,
    /// There is none, or it is null.
    Absent,
    /// It is one of these texts; numbers, true and false count by theirs.
    Equals(Vec<String>),
}

/// What is declared to be done with records.
#[derive(Debug, Clone, Default)]
pub(super) struct Unfolding {
    pub(super) explode: Option<String>,
    pub(super) drops: Vec<(String, When)>,
}

/// The same, made ready.
#[derive(Debug)]
pub(super) struct Unfold {
    /// The array of a record that holds the records to read, and how many brackets are open around each of those.
    children: Option<(Box<str>, usize)>,
    /// What is looked for in a record that is exploded: the array, the outer values, what is tested.
    around: Plan,
    outer: Vec<usize>,
    around_tests: Vec<When>,
    /// What is looked for in the records to read.
    inside: Plan,
    inside_tests: Vec<When>,
}

/// The records to read out of one of the body.
pub(super) struct Cut<'de> {
    pub(super) outer: Values<'de>,
    /// Each with the number of brackets that are open around it.
    pub(super) records: Vec<(&'de str, usize)>,
    /// Whether the record of the body itself is dropped.
    pub(super) dropped: bool,
}

impl Unfolding {
    /// # Errors
    /// A phrase for the configuration error, naming the declaration.
    pub(super) fn compile(&self, outers: &Outers) -> Result<Option<Unfold>, String> {
        if self.explode.is_none() && self.drops.is_empty() {
            return Ok(None);
        }
        let steps =
            self.explode.as_deref().map(pointer::steps).transpose().map_err(|fault| format!("`explode`: {fault}"))?;
        if steps.as_ref().is_some_and(Vec::is_empty) {
            return Err("`explode` names the array inside of a record, such as \"/coupons\"".to_owned());
        }
        let depth = steps.as_ref().map_or(0, |steps| steps.len() + 1);
        let mut around: Vec<Vec<String>> = steps.into_iter().collect();
        around.extend(outers.around.iter().map(|(_, steps)| steps.clone()));
        let (mut around_tests, mut inside, mut inside_tests) = (Vec::new(), Vec::new(), Vec::new());
        for (place, when) in &self.drops {
            match pointer::stand(place).map_err(|fault| format!("`drop`: {fault}"))? {
                Stand::Here(steps) => {
                    inside.push(steps);
                    inside_tests.push(when.clone());
                }
                Stand::Around(_, steps) if self.explode.is_some() => {
                    around.push(steps);
                    around_tests.push(when.clone());
                }
                _ => return Err(format!("`drop`: {place:?} is no place in the record")),
            }
        }
        Ok(Some(Unfold {
            children: self.explode.as_deref().map(|path| (path.into(), depth)),
            around: Plan::slots(around),
            outer: outers.around.iter().map(|(number, _)| *number).collect(),
            around_tests,
            inside: Plan::slots(inside),
            inside_tests,
        }))
    }
}

impl Unfold {
    fn explodes(&self) -> bool {
        self.children.is_some()
    }
}

/// The unfolding of records, one after the other, of one body.
pub(super) struct Unfolder<'p, 'de> {
    unfold: &'p Unfold,
    around: Walk<'p, 'de>,
    inside: Walk<'p, 'de>,
    scratch: Rows,
}

impl<'p, 'de> Unfolder<'p, 'de> {
    pub(super) fn new(unfold: &'p Unfold) -> Self {
        let scratch = Rows::new(Arc::new(Schema::new([])));
        Self { unfold, around: Walk::new(&unfold.around), inside: Walk::new(&unfold.inside), scratch }
    }

    /// Whether records come out of others.
    pub(super) fn explodes(&self) -> bool {
        self.unfold.explodes()
    }

    /// The records to read out of this one, and their outer values besides those that are given.
    ///
    /// # Errors
    /// The fault of the record.
    pub(super) fn cut(&mut self, raw: &'de str, depth: usize, mut outer: Values<'de>) -> Result<Cut<'de>, Fault> {
        let Some((path, deeper)) = &self.unfold.children else {
            let dropped = self.drops(raw, depth)?;
            let records = if dropped { Vec::new() } else { vec![(raw, depth)] };
            return Ok(Cut { outer, records, dropped });
        };
        if !raw.starts_with('{') {
            return Err(Fault::Refused("the record is not an object".to_owned()));
        }
        keep(&mut self.around, raw, depth, &mut self.scratch)?;
        let (children, rest) = self.around.slots.split_first().unwrap_or((&None, &[]));
        let (values, tested) = rest.split_at(self.unfold.outer.len());
        for (number, value) in self.unfold.outer.iter().zip(values) {
            outer[*number] = value.map(Into::into);
        }
        let dropped = self.unfold.around_tests.iter().zip(tested).any(|(when, value)| when.holds(*value));
        let children = match children.filter(|raw| !raw.starts_with('n') && !dropped) {
            None => Vec::new(),
            Some(raw) => serde_json::from_str::<Vec<&RawValue>>(raw)
                .map_err(|_| Fault::Refused(format!("no array at {path:?}, where the records are to come from")))?,
        };
        let mut records = Vec::with_capacity(children.len());
        for child in children {
            if !self.drops(child.get(), depth + deeper)? {
                records.push((child.get(), depth + deeper));
            }
        }
        Ok(Cut { outer, records, dropped })
    }

    fn drops(&mut self, raw: &'de str, depth: usize) -> Result<bool, Fault> {
        if self.unfold.inside_tests.is_empty() {
            return Ok(false);
        }
        keep(&mut self.inside, raw, depth, &mut self.scratch)?;
        Ok(self.unfold.inside_tests.iter().zip(&self.inside.slots).any(|(when, value)| when.holds(*value)))
    }
}

fn keep<'de>(walk: &mut Walk<'_, 'de>, raw: &'de str, depth: usize, scratch: &mut Rows) -> Result<(), Fault> {
    walk.fault = None;
    walk.keep(raw, depth, scratch)
        .map_err(|_| walk.fault.take().unwrap_or_else(|| Fault::Refused("the record cannot be read".to_owned())))
}

impl When {
    fn holds(&self, raw: Option<&str>) -> bool {
        let raw = raw.filter(|raw| !raw.starts_with('n'));
        match (self, raw) {
            (Self::Present, raw) => raw.is_some(),
            (Self::Absent, raw) => raw.is_none(),
            (Self::Equals(_), None) => false,
            (Self::Equals(texts), Some(raw)) if raw.starts_with('"') => {
                let value = extra_value(raw);
                texts.iter().any(|text| matches!(&value, crate::Value::Text(value) if **value == **text))
            }
            (Self::Equals(texts), Some(raw)) => !scan::nested(raw) && texts.iter().any(|text| text == raw),
        }
    }
}
