//! One row into a host's own type.

use rust_decimal::prelude::ToPrimitive;
use serde::de::value::{BorrowedStrDeserializer, SeqDeserializer};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::fault::Fault;
use crate::model::{Row, ValueRef};
use crate::{Error, Result};

impl<'a> Row<'a> {
    /// The row as a type of one's own: a struct or map by the names of the columns, or a tuple by their order.
    ///
    /// # Errors
    /// `Data` where a column does not fit the type; the message names the column, never the value.
    pub fn to<T: Deserialize<'a>>(&self) -> Result<T> {
        T::deserialize(Whole(*self)).map_err(|fault| Error::data(fault.to_string()))
    }
}

struct Whole<'a>(Row<'a>);

impl<'a> Whole<'a> {
    fn columns(self) -> Columns<'a> {
        Columns { row: self.0, next: 0 }
    }
}

impl<'a> Deserializer<'a> for Whole<'a> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_map(self.columns())
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_seq(self.columns())
    }

    fn deserialize_tuple<V: Visitor<'a>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_seq(self.columns())
    }

    fn deserialize_tuple_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_seq(self.columns())
    }

    forward_to_deserialize_any! {
        <V: Visitor<'a>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct map struct
        enum identifier ignored_any
    }
}

/// The columns of a row, one after the other.
struct Columns<'a> {
    row: Row<'a>,
    next: usize,
}

impl<'a> Columns<'a> {
    fn name(&self, column: usize) -> Option<&'a str> {
        self.row.schema().fields().get(column).map(|field| field.name())
    }
}

impl<'a> MapAccess<'a> for Columns<'a> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some(name) = self.name(self.next) else { return Ok(None) };
        self.next += 1;
        seed.deserialize(BorrowedStrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let column = self.next.saturating_sub(1);
        let value = seed.deserialize(Cell(self.row.at(column)));
        value.map_err(|fault| fault.at(self.name(column).unwrap_or_default()))
    }
}

impl<'a> SeqAccess<'a> for Columns<'a> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some(name) = self.name(self.next) else { return Ok(None) };
        self.next += 1;
        seed.deserialize(Cell(self.row.at(self.next - 1))).map(Some).map_err(|fault| fault.at(name))
    }
}

/// One value of a row. JSON is handed to its own parser, whatever the type asks for.
struct Cell<'a>(ValueRef<'a>);

macro_rules! or_json {
    ($self:ident, $visitor:ident, $method:ident($($argument:expr),*), { $($pattern:pat $(if $guard:expr)? => $result:expr,)* }) => {
        match $self.0 {
            ValueRef::Json(text) => serde_json::Deserializer::from_str(text)
                .$method($($argument,)* $visitor)
                .map_err(|cause| Fault::nested(&cause)),
            $($pattern $(if $guard)? => $result,)*
            _ => $self.deserialize_any($visitor),
        }
    };
}

macro_rules! integers {
    ($($method:ident)+) => {$(
        fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
            or_json!(self, visitor, $method(), { ValueRef::Timestamp(at) => visitor.visit_i64(at.micros()), })
        }
    )+};
}

macro_rules! floats {
    ($($method:ident)+) => {$(
        fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
            or_json!(self, visitor, $method(), {
                ValueRef::Decimal(value) => visitor.visit_f64(value.to_f64().unwrap_or(f64::NAN)),
            })
        }
    )+};
}

macro_rules! plain {
    ($($method:ident)+) => {$(
        fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
            or_json!(self, visitor, $method(), {})
        }
    )+};
}

impl<'a> Deserializer<'a> for Cell<'a> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            ValueRef::Null => visitor.visit_unit(),
            ValueRef::Bool(value) => visitor.visit_bool(value),
            ValueRef::Int(value) => visitor.visit_i64(value),
            ValueRef::UInt(value) => visitor.visit_u64(value),
            ValueRef::Float(value) => visitor.visit_f64(value),
            ValueRef::Text(text) => visitor.visit_borrowed_str(text),
            ValueRef::Bytes(bytes) => visitor.visit_borrowed_bytes(bytes),
            ValueRef::Json(text) => {
                serde_json::Deserializer::from_str(text).deserialize_any(visitor).map_err(|cause| Fault::nested(&cause))
            }
            ValueRef::Decimal(_) | ValueRef::Timestamp(_) | ValueRef::Date(_) => {
                visitor.visit_string(self.0.to_string())
            }
        }
    }

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    }

    floats! { deserialize_f32 deserialize_f64 }

    plain! {
        deserialize_bool deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf
        deserialize_unit deserialize_map deserialize_identifier
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit_struct<V: Visitor<'a>>(self, name: &'static str, visitor: V) -> Result<V::Value, Fault> {
        or_json!(self, visitor, deserialize_unit_struct(name), {})
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(self, name: &'static str, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            ValueRef::Json(_) => or_json!(self, visitor, deserialize_newtype_struct(name), {}),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        or_json!(self, visitor, deserialize_seq(), {
            ValueRef::Bytes(bytes) => visitor.visit_seq(SeqDeserializer::new(bytes.iter().copied())),
        })
    }

    fn deserialize_tuple<V: Visitor<'a>>(self, length: usize, visitor: V) -> Result<V::Value, Fault> {
        or_json!(self, visitor, deserialize_tuple(length), {
            ValueRef::Bytes(bytes) => visitor.visit_seq(SeqDeserializer::new(bytes.iter().copied())),
        })
    }

    fn deserialize_tuple_struct<V: Visitor<'a>>(
        self,
        name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        or_json!(self, visitor, deserialize_tuple_struct(name, length), {})
    }

    fn deserialize_struct<V: Visitor<'a>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        or_json!(self, visitor, deserialize_struct(name, fields), {})
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        or_json!(self, visitor, deserialize_enum(name, variants), {
            ValueRef::Text(text) => visitor.visit_enum(text.into_deserializer()),
        })
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }
}
