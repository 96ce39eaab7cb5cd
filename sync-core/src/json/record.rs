//! One record into one row: a visitor that follows the plan and skips what is not in it.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::direct::Direct;
use super::fault::Fault;
use super::number::Refusal;
use super::outer::Values;
use super::plan::{Member, Node, Plan};
use super::scan;
use crate::model::{RowWriter, Rows};

/// What stands at a place in an object: the name there last time, and the wanted member it is.
type Seen<'de> = (&'de str, Option<usize>);
/// Objects with more members than this are not remembered beyond.
const MOST_REMEMBERED: usize = 256;
/// The words of an error that only stops the parser; [`Walk::fault`] says why.
const STOPPED: &str = "stopped";

/// The reading of records, one after the other, of one body.
pub(super) struct Walk<'p, 'de> {
    pub(super) plan: &'p Plan,
    /// For each node, the members of the last object in order. Records of one page look alike, so one comparison of
    /// names is all it takes to know a member.
    layouts: Vec<Vec<Seen<'de>>>,
    /// One bit for each wanted member of the record: it was there.
    present: Vec<u64>,
    /// One bit for each column: it has a value.
    filled: Vec<u64>,
    /// Whether every value is read from its text, so that what is wrong with it can be told.
    by_text: bool,
    /// Values that columns choose from when the record has been read.
    pub(super) slots: Vec<Option<&'de str>>,
    /// Values from outside of the record that columns choose from.
    pub(super) outer: Values<'de>,
    /// Why the reading stopped, where it was not for the grammar.
    pub(super) fault: Option<Fault>,
}

impl<'p, 'de> Walk<'p, 'de> {
    pub(super) fn new(plan: &'p Plan) -> Self {
        Self {
            plan,
            layouts: vec![Vec::new(); plan.nodes],
            present: vec![0; plan.members.div_ceil(64)],
            filled: vec![0; plan.columns.len().div_ceil(64)],
            by_text: false,
            slots: vec![None; plan.slots],
            outer: Values::new(),
            fault: None,
        }
    }

    /// The same, reading every value from its text: slower, and able to say what is wrong with it.
    pub(super) fn by_text(plan: &'p Plan) -> Self {
        Self { by_text: true, ..Self::new(plan) }
    }

    /// The same with these values from outside of the records.
    pub(super) fn with(self, outer: Values<'de>) -> Self {
        Self { outer, ..self }
    }

    /// Reads one record into one row. `depth` brackets are open around it.
    ///
    /// # Errors
    /// Those of the parser; where `self.fault` is set, that is the reason. No row is added then.
    pub(super) fn record<D: Deserializer<'de>>(
        &mut self,
        record: D,
        depth: usize,
        rows: &mut Rows,
    ) -> Result<(), D::Error> {
        let plan = self.plan;
        self.present.fill(0);
        self.filled.fill(0);
        self.slots.fill(None);
        let mut row = rows.begin();
        if plan.whole.is_empty() {
            Inside { walk: self, row: &mut row, node: &plan.root, depth, top: true }.deserialize(record)?;
        } else {
            let raw = <&RawValue>::deserialize(record)?.get();
            self.cells(&plan.whole, raw, depth, &mut row).map_err(D::Error::custom)?;
            if scan::nested(raw) || !plan.root.members.is_empty() {
                self.inside(raw, &plan.root, depth, true, &mut row).map_err(D::Error::custom)?;
            }
        }
        self.choose(&mut row).map_err(D::Error::custom)?;
        self.complete().map_err(D::Error::custom)?;
        row.finish();
        Ok(())
    }

    /// Keeps the values that the plan chooses from, and reads nothing else.
    pub(super) fn keep(&mut self, raw: &'de str, depth: usize, scratch: &mut Rows) -> Result<(), &'static str> {
        let plan = self.plan;
        self.present.fill(0);
        self.slots.fill(None);
        let mut row = scratch.begin();
        self.cells(&plan.whole, raw, depth, &mut row)?;
        if scan::nested(raw) { self.inside(raw, &plan.root, depth, false, &mut row) } else { Ok(()) }
    }

    /// Whether every column that needs a value has one.
    fn complete(&mut self) -> Result<(), &'static str> {
        let lacks = |place: usize| self.filled[place / 64] & (1 << (place % 64)) == 0;
        let Some(lacking) = self.plan.required.iter().find(|place| lacks(**place)) else { return Ok(()) };
        let column = &self.plan.columns[*lacking];
        Err(self.stop(match column.key {
            true => Fault::Keyless(column.name.clone()),
            false => Fault::refused(&column.name, "missing, and it must have a value"),
        }))
    }

    pub(super) fn stop(&mut self, fault: Fault) -> &'static str {
        self.fault.get_or_insert(fault);
        STOPPED
    }

    #[inline]
    pub(super) fn skip(&mut self, raw: &str, depth: usize) -> Result<(), &'static str> {
        if scan::too_deep(raw, depth) { Err(self.stop(Fault::TooDeep)) } else { Ok(()) }
    }

    fn cells(
        &mut self,
        places: &[usize],
        raw: &'de str,
        depth: usize,
        row: &mut RowWriter<'_>,
    ) -> Result<(), &'static str> {
        self.skip(raw, depth)?;
        let plan = self.plan;
        for &place in places {
            match plan.columns.get(place) {
                Some(column) => self.written(place, column.write(raw, row))?,
                None => self.slots[place - plan.columns.len()] = Some(raw),
            }
        }
        Ok(())
    }

    /// Notes what became of a column.
    #[inline]
    pub(super) fn written(&mut self, place: usize, written: Result<bool, Refusal>) -> Result<(), &'static str> {
        if written == Ok(true) {
            self.filled[place / 64] |= 1 << (place % 64);
            return Ok(());
        }
        let column = &self.plan.columns[place];
        match written {
            Ok(_) if column.required => Err(self.unwritten(place, "no value where one is required")),
            Ok(_) => Ok(()),
            Err(why) => Err(self.unwritten(place, why)),
        }
    }

    #[cold]
    fn unwritten(&mut self, place: usize, why: Refusal) -> &'static str {
        self.stop(Fault::refused(&self.plan.columns[place].name, why))
    }

    /// Reads the members of a value that stands alone.
    fn inside(
        &mut self,
        raw: &'de str,
        node: &'p Node,
        depth: usize,
        top: bool,
        row: &mut RowWriter<'_>,
    ) -> Result<(), &'static str> {
        let mut parser = serde_json::Deserializer::from_str(raw);
        Inside { walk: self, row, node, depth, top }.deserialize(&mut parser).map_err(|_| STOPPED)
    }

    /// Notes that a member is there, for the first time.
    #[inline]
    fn meet(&mut self, member: &Member) -> Result<(), &'static str> {
        let (word, bit) = (member.id / 64, 1 << (member.id % 64));
        if self.present[word] & bit != 0 {
            return Err(self.stop(Fault::Duplicate(member.name.clone())));
        }
        self.present[word] |= bit;
        Ok(())
    }
}

/// Reads the wanted members of one object or array.
struct Inside<'w, 'r, 's, 'p, 'de> {
    walk: &'w mut Walk<'p, 'de>,
    row: &'w mut RowWriter<'r>,
    node: &'s Node,
    depth: usize,
    top: bool,
}

impl<'p, 'de> Inside<'_, '_, 'p, 'p, 'de> {
    /// A value of its own where members are wanted.
    fn scalar<E: serde::de::Error>(self) -> Result<(), E> {
        let reason = if self.top {
            "the record is not an object".to_owned()
        } else {
            let columns = &self.walk.plan.columns;
            let Some(place) = self.node.place_below(columns.len()) else { return Ok(()) };
            let name = &columns[place].name;
            format!("column {name:?}: a single value where its pointer expects nested data")
        };
        Err(E::custom(self.walk.stop(Fault::Refused(reason))))
    }

    fn value<E, V>(&mut self, member: &'p Member, mut next: V) -> Result<(), E>
    where
        E: serde::de::Error,
        V: Next<'de, Error = E>,
    {
        self.walk.meet(member).map_err(E::custom)?;
        let depth = self.depth + 1;
        match (member.columns.as_slice(), &member.inner) {
            (&[place], None) if !self.walk.by_text && self.walk.plan.is_direct(place) => {
                next.seed(Direct { walk: self.walk, row: self.row, place })
            }
            ([], Some(node)) => next.seed(Inside { walk: self.walk, row: self.row, node, depth, top: false }),
            (columns, inner) => {
                let raw = next.raw()?;
                self.walk.cells(columns, raw, depth, self.row).map_err(E::custom)?;
                match inner {
                    Some(node) if scan::nested(raw) => {
                        self.walk.inside(raw, node, depth, false, self.row).map_err(E::custom)
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    fn skip<E: serde::de::Error>(&mut self, raw: &str) -> Result<(), E> {
        self.walk.skip(raw, self.depth + 1).map_err(E::custom)
    }
}

impl<'p, 'de> DeserializeSeed<'de> for Inside<'_, '_, 'p, 'p, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'p, 'de> Visitor<'de> for Inside<'_, '_, 'p, 'p, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut at = 0;
        loop {
            let layout = &mut self.walk.layouts[self.node.id];
            match map.next_key_seed(Name { node: self.node, layout, at })? {
                None => return Ok(()),
                Some(Some(member)) => self.value(&self.node.members[member], OfMap(&mut map))?,
                Some(None) => self.skip(OfMap(&mut map).raw()?)?,
            }
            at += 1;
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        if self.top && !self.node.members.iter().any(|member| super::pointer::position(&member.name).is_some()) {
            return self.scalar();
        }
        let mut at = 0;
        while let Some(raw) = seq.next_element::<&RawValue>()? {
            match self.node.positioned(at) {
                Some(member) => self.value(&self.node.members[member], Standing(raw.get(), PhantomData))?,
                None => self.skip(raw.get())?,
            }
            at += 1;
        }
        Ok(())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        if self.top { self.scalar() } else { Ok(()) }
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        self.scalar()
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        self.scalar()
    }
}

/// The value that comes next, be it in an object or standing alone.
trait Next<'de> {
    type Error: serde::de::Error;

    fn raw(&mut self) -> Result<&'de str, Self::Error>;
    fn seed(&mut self, seed: impl DeserializeSeed<'de, Value = ()>) -> Result<(), Self::Error>;
}

struct OfMap<'m, A>(&'m mut A);

impl<'de, A: MapAccess<'de>> Next<'de> for OfMap<'_, A> {
    type Error = A::Error;

    fn raw(&mut self) -> Result<&'de str, A::Error> {
        self.0.next_value::<&RawValue>().map(RawValue::get)
    }

    fn seed(&mut self, seed: impl DeserializeSeed<'de, Value = ()>) -> Result<(), A::Error> {
        self.0.next_value_seed(seed)
    }
}

struct Standing<'de, E>(&'de str, PhantomData<E>);

impl<'de, E: serde::de::Error> Next<'de> for Standing<'de, E> {
    type Error = E;

    fn raw(&mut self) -> Result<&'de str, E> {
        Ok(self.0)
    }

    fn seed(&mut self, seed: impl DeserializeSeed<'de, Value = ()>) -> Result<(), E> {
        seed.deserialize(&mut serde_json::Deserializer::from_str(self.0)).map_err(|_| E::custom(STOPPED))
    }
}

/// The name of a member: the wanted member it is, if any.
struct Name<'n, 'l, 'de> {
    node: &'n Node,
    layout: &'l mut Vec<Seen<'de>>,
    at: usize,
}

impl<'de> DeserializeSeed<'de> for Name<'_, '_, 'de> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name<'_, '_, 'de> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, name: &'de str) -> Result<Self::Value, E> {
        if let Some((last, member)) = self.layout.get(self.at)
            && *last == name
        {
            return Ok(*member);
        }
        let member = self.node.named(name);
        if let Some(seen) = self.layout.get_mut(self.at) {
            *seen = (name, member);
        } else if self.layout.len() < MOST_REMEMBERED {
            self.layout.push((name, member));
        }
        Ok(member)
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.node.named(name))
    }
}
