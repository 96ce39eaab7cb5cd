//! From the beginning of a body to its records: a visitor that follows the pointers of an envelope.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::fault::Fault;
use super::{Envelope, Layout, number, pointer, scan};
use crate::model::Value;

const STOPPED: &str = "stopped";

/// What is done with records where they are found.
pub(super) trait Records<'de> {
    /// Takes one record; `depth` brackets are open around it.
    fn record<D: Deserializer<'de>>(&mut self, record: D, depth: usize) -> Result<(), D::Error>;

    /// Forgets the records so far: a better place for them was found.
    fn restart(&mut self);
}

/// The pointers of an envelope as a tree.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// The records may be here; the lowest number is the best place.
    records: Option<usize>,
    /// The extras that take the value here.
    extras: Vec<usize>,
    members: Vec<(String, Place)>,
}

impl Place {
    /// The tree of an envelope, and a second one for extras that stand inside of the records.
    ///
    /// # Errors
    /// A phrase for the configuration error: a pointer that is none.
    pub(super) fn of(envelope: &Envelope) -> Result<(Self, Option<Self>), String> {
        let mut records: Vec<Vec<String>> =
            envelope.records.iter().map(|text| pointer::steps(text)).collect::<Result<_, _>>()?;
        if records.is_empty() {
            records.push(Vec::new());
        }
        let (mut tree, mut second) = (Self::default(), None);
        for (rank, steps) in records.iter().enumerate() {
            tree.descend(steps).records.get_or_insert(rank);
        }
        for (extra, text) in envelope.also.iter().enumerate() {
            let steps = pointer::steps(text)?;
            let inside = records.iter().any(|place| {
                let next = steps.strip_prefix(place.as_slice()).and_then(<[String]>::first);
                next.is_some_and(|step| envelope.layout == Layout::Keyed || pointer::position(step).is_some())
            });
            let tree = if inside { second.get_or_insert_default() } else { &mut tree };
            tree.descend(&steps).extras.push(extra);
        }
        Ok((tree, second))
    }

    fn descend(&mut self, steps: &[String]) -> &mut Self {
        let Some((first, rest)) = steps.split_first() else { return self };
        let at = self.members.iter().position(|(name, _)| name == first).unwrap_or_else(|| {
            self.members.push((first.clone(), Self::default()));
            self.members.len() - 1
        });
        self.members[at].1.descend(rest)
    }
}

/// The walk through one body.
pub(super) struct Search<R> {
    pub(super) records: R,
    pub(super) extras: Vec<Option<Value>>,
    pub(super) found: bool,
    pub(super) fault: Option<Fault>,
    layout: Layout,
    taken: Option<usize>,
}

impl<R> Search<R> {
    pub(super) fn new(envelope: &Envelope, records: R) -> Self {
        let extras = vec![None; envelope.also.len()];
        Self { records, extras, found: false, fault: None, layout: envelope.layout, taken: None }
    }

    /// Walks through the body.
    ///
    /// # Errors
    /// Those of the parser; where a fault is set, here or in the records, that is the reason.
    pub(super) fn walk<'de>(&mut self, text: &'de str, tree: &Place) -> serde_json::Result<()>
    where
        R: Records<'de>,
    {
        let mut parser = serde_json::Deserializer::from_str(text);
        At { search: self, place: tree, depth: 0 }.deserialize(&mut parser)?;
        parser.end()
    }

    /// Whether the records of this rank are to be taken.
    fn take<'de>(&mut self, rank: Option<usize>, layout: Layout) -> bool
    where
        R: Records<'de>,
    {
        let Some(rank) = rank.filter(|rank| layout == self.layout && self.taken.is_none_or(|taken| *rank < taken))
        else {
            return false;
        };
        if self.taken.replace(rank).is_some() {
            self.records.restart();
        }
        self.found = true;
        true
    }

    fn stop(&mut self, fault: Fault) -> &'static str {
        self.fault.get_or_insert(fault);
        STOPPED
    }

    fn skip(&mut self, raw: &str, depth: usize) -> Result<(), &'static str> {
        if scan::too_deep(raw, depth) { Err(self.stop(Fault::TooDeep)) } else { Ok(()) }
    }
}

/// The value at one place. `depth` brackets are open around it.
struct At<'w, R> {
    search: &'w mut Search<R>,
    place: &'w Place,
    depth: usize,
}

impl<'de, R: Records<'de>> DeserializeSeed<'de> for At<'_, R> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.place.extras.is_empty() {
            return deserializer.deserialize_any(self);
        }
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        self.search.skip(raw, self.depth).map_err(D::Error::custom)?;
        for extra in &self.place.extras {
            self.search.extras[*extra] = Some(extra_value(raw));
        }
        if self.place.records.is_none() && self.place.members.is_empty() {
            return Ok(());
        }
        serde_json::Deserializer::from_str(raw).deserialize_any(self).map_err(|_| D::Error::custom(STOPPED))
    }
}

impl<'de, R: Records<'de>> Visitor<'de> for At<'_, R> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a body")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { search, place, depth } = self;
        if search.take(place.records, Layout::Keyed) {
            while map.next_key::<IgnoredAny>()?.is_some() {
                map.next_value_seed(Record { records: &mut search.records, depth: depth + 1 })?;
            }
            return Ok(());
        }
        let mut met = vec![false; place.members.len()];
        while let Some(member) = map.next_key_seed(Name(place))? {
            let Some(member) = member else {
                let raw = map.next_value::<&RawValue>()?.get();
                search.skip(raw, depth + 1).map_err(A::Error::custom)?;
                continue;
            };
            let (name, inner) = &place.members[member];
            if std::mem::replace(&mut met[member], true) {
                return Err(A::Error::custom(search.stop(Fault::Duplicate(name.as_str().into()))));
            }
            map.next_value_seed(At { search, place: inner, depth: depth + 1 })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { search, place, depth } = self;
        if search.take(place.records, Layout::Array) {
            while seq.next_element_seed(Record { records: &mut search.records, depth: depth + 1 })?.is_some() {}
            return Ok(());
        }
        let mut at = 0;
        loop {
            let inner = place.members.iter().find(|(name, _)| pointer::position(name) == Some(at));
            let more = match inner {
                Some((_, place)) => seq.next_element_seed(At { search, place, depth: depth + 1 })?.is_some(),
                None => match seq.next_element::<&RawValue>()? {
                    Some(raw) => search.skip(raw.get(), depth + 1).map(|()| true).map_err(A::Error::custom)?,
                    None => false,
                },
            };
            if !more {
                return Ok(());
            }
            at += 1;
        }
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.search.found |= self.place.records.is_some();
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

struct Record<'w, R> {
    records: &'w mut R,
    depth: usize,
}

impl<'de, R: Records<'de>> DeserializeSeed<'de> for Record<'_, R> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.records.record(deserializer, self.depth)
    }
}

/// The name of a member: its number among those of the place, if it is one of them.
struct Name<'p>(&'p Place);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.members.iter().position(|(member, _)| member == name))
    }
}

/// A value of its own from JSON text, as exact as it can be. Nested data stays JSON.
pub(super) fn extra_value(raw: &str) -> Value {
    match raw.as_bytes().first() {
        Some(b'n') | None => Value::Null,
        Some(b't' | b'f') => Value::Bool(raw == "true"),
        Some(b'"') => serde_json::from_str::<String>(raw).map_or(Value::Null, Value::from),
        Some(b'{' | b'[') => Value::Json(scan::compact(raw).into()),
        Some(_) => {
            let whole = number::int(raw).map(Value::Int).or_else(|_| number::uint(raw).map(Value::UInt));
            let exact = whole.or_else(|_| number::any_decimal(raw).map(number::Exactly::into_value));
            exact.unwrap_or_else(|_| Value::Text(raw.into()))
        }
    }
}
