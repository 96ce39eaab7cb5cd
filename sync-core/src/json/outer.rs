//! Values from outside of the records: what they are, and records that carry theirs with them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Values as JSON, by their number among the [`Outers`].
pub(super) type Values<'de> = Vec<Option<Cow<'de, str>>>;

/// The values from outside that columns take, as they are declared.
#[derive(Debug, Default)]
pub(super) struct Outers {
    names: Vec<Box<str>>,
    /// Those that stand in the record around, with the steps of their pointers.
    pub(super) around: Vec<(usize, Vec<String>)>,
    /// Whether records come out of others: those that are rejected carry their values with them even if there are
    /// none, so that they are not taken for the others.
    pub(super) exploded: bool,
}

/// A record with its outer values, so that it can be read again alone.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Packed<'a> {
    #[serde(borrow)]
    record: &'a RawValue,
    #[serde(borrow)]
    outer: BTreeMap<Cow<'a, str>, &'a RawValue>,
}

impl Outers {
    pub(super) fn new(exploded: bool) -> Self {
        Self { exploded, ..Self::default() }
    }

    /// The number of a value.
    pub(super) fn number(&mut self, name: &str) -> usize {
        self.names.iter().position(|known| **known == *name).unwrap_or_else(|| {
            self.names.push(name.into());
            self.names.len() - 1
        })
    }

    /// The number of a value in the record around.
    pub(super) fn number_around(&mut self, name: &str, steps: Vec<String>) -> usize {
        let known = self.names.len();
        let number = self.number(name);
        if number == known {
            self.around.push((number, steps));
        }
        number
    }

    fn packs(&self) -> bool {
        self.exploded || !self.names.is_empty()
    }

    /// The values of those that are given with the read, by their names without braces.
    pub(super) fn given<'de>(&self, variables: &BTreeMap<String, String>) -> Values<'de> {
        let value = |name: &str| variables.get(name.strip_prefix('{')?.strip_suffix('}')?);
        let json = |text: &String| Cow::Owned(serde_json::Value::from(text.as_str()).to_string());
        self.names.iter().map(|name| value(name).map(json)).collect()
    }

    /// The record with these values.
    pub(super) fn pack<'r>(&self, record: &'r str, values: &Values<'_>) -> Cow<'r, [u8]> {
        let raw = |json| serde_json::from_str::<&RawValue>(json).ok();
        let there = self
            .names
            .iter()
            .zip(values)
            .filter_map(|(name, value)| Some((Cow::from(&**name), raw(value.as_deref()?)?)));
        let packed = raw(record).filter(|_| self.packs());
        let packed = packed.map(|record| serde_json::to_vec(&Packed { record, outer: there.collect() }));
        packed.and_then(Result::ok).map_or(Cow::Borrowed(record.as_bytes()), Cow::Owned)
    }

    /// A record and its values; `None` where it carries none.
    pub(super) fn unpack<'de>(&self, text: &'de str) -> Option<(&'de str, Values<'de>)> {
        let packed = serde_json::from_str::<Packed<'de>>(text).ok().filter(|_| self.packs())?;
        let value = |name: &str| packed.outer.get(name).map(|raw| Cow::Borrowed(raw.get()));
        Some((packed.record.get(), self.names.iter().map(|name| value(name)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_carries_its_outer_values_and_gives_them_back() {
        let mut outers = Outers::default();
        assert_eq!((outers.number("{account}"), outers.number("{zone}"), outers.number("{account}")), (0, 1, 0));
        let values = outers.given(&[("account".to_owned(), "a\"b".to_owned())].into());
        let packed = outers.pack(r#"{"id":1}"#, &values).into_owned();
        assert_eq!(packed, br#"{"record":{"id":1},"outer":{"{account}":"a\"b"}}"#);
        let (record, again) = outers.unpack(std::str::from_utf8(&packed).unwrap()).unwrap();
        assert_eq!((record, again), (r#"{"id":1}"#, values));
    }

    #[test]
    fn a_record_without_outer_values_stays_as_it_is() {
        let outers = Outers::default();
        let packed = r#"{"record":1,"outer":{}}"#;
        assert_eq!(&*outers.pack(packed, &Vec::new()), packed.as_bytes());
        assert_eq!(outers.unpack(packed), None);
    }
}
