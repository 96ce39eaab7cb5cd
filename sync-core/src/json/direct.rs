//! One value taken as the parser gives it: the quick way for what is as it should be.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::fault::Fault;
use super::record::Walk;
use crate::model::{RowWriter, ValueRef};

/// Takes a value as the parser gives it, where it is of the type that the column suggests.
pub(super) struct Direct<'w, 'r, 'p, 'de> {
    pub(super) walk: &'w mut Walk<'p, 'de>,
    pub(super) row: &'w mut RowWriter<'r>,
    pub(super) place: usize,
}

impl Direct<'_, '_, '_, '_> {
    #[inline]
    fn take<E: serde::de::Error>(self, value: ValueRef<'_>) -> Result<(), E> {
        match self.walk.plan.columns[self.place].write_direct(value, self.row) {
            Some(written) => self.walk.written(self.place, written).map_err(E::custom),
            None => self.read_again(),
        }
    }

    #[cold]
    fn read_again<E: serde::de::Error>(self) -> Result<(), E> {
        self.walk.plan.by_text(self.place);
        Err(E::custom(self.walk.stop(Fault::ByText)))
    }
}

impl<'de> DeserializeSeed<'de> for Direct<'_, '_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Direct<'_, '_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a single value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.walk.written(self.place, Ok(false)).map_err(E::custom)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.take(ValueRef::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.take(ValueRef::Int(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.take(ValueRef::UInt(value))
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        self.read_again()
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        self.take(ValueRef::Text(value))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        self.read_again()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        self.read_again()
    }
}
