//! One field of a struct into one cell, by the column's kind. JSON columns are written elsewhere: as JSON.

use std::fmt::Display;

use serde::ser::{Error as _, Impossible, Serialize, SerializeSeq, SerializeTuple, Serializer};

use super::fault::Fault;
use crate::json::{base64, number, time};
use crate::model::{Kind, RowWriter, Timestamp, ValueRef};

/// The largest integer up to which a float holds every integer.
const EXACT_IN_FLOAT: u64 = 1 << 53;

/// A cell to write; says whether there was a value.
pub(super) struct Cell<'c, 'r> {
    pub(super) column: usize,
    pub(super) kind: Kind,
    pub(super) row: &'c mut RowWriter<'r>,
}

impl<'c, 'r> Cell<'c, 'r> {
    fn set(self, value: ValueRef<'_>) -> Result<bool, Fault> {
        self.row.set_unchecked(self.column, value);
        Ok(true)
    }

    fn misfit(&self, found: &str) -> Fault {
        Fault::new(format!("{found} where {} is declared", self.kind))
    }

    /// A number from its text, for kinds that hold it exactly.
    fn exact(self, text: &str, found: &str) -> Result<bool, Fault> {
        let refused = |why: &str| Fault::new(why);
        match self.kind {
            Kind::Int => self.set(ValueRef::Int(number::int(text).map_err(refused)?)),
            Kind::UInt => self.set(ValueRef::UInt(number::uint(text).map_err(refused)?)),
            Kind::Decimal { precision, scale } => {
                self.set(number::decimal(text, precision, scale).map_err(refused)?.as_value())
            }
            Kind::Text => self.set(ValueRef::Text(text)),
            _ => Err(self.misfit(found)),
        }
    }

    fn integer<N: Copy + Display + TryInto<i64> + TryInto<u64>>(self, number: N) -> Result<bool, Fault> {
        let (signed, unsigned): (Option<i64>, Option<u64>) = (number.try_into().ok(), number.try_into().ok());
        match (self.kind, signed, unsigned) {
            (Kind::Int, Some(value), _) => self.set(ValueRef::Int(value)),
            (Kind::UInt, _, Some(value)) => self.set(ValueRef::UInt(value)),
            (Kind::Timestamp, Some(value), _) => self.set(ValueRef::Timestamp(Timestamp::from_micros(value))),
            (Kind::Float, Some(value), _) if value.unsigned_abs() <= EXACT_IN_FLOAT => {
                self.set(ValueRef::Float(value as f64))
            }
            (Kind::Float, ..) => Err(Fault::new("an integer that a float cannot hold exactly")),
            _ => self.exact(&number.to_string(), "an integer"),
        }
    }

    fn nested<T>(self) -> Result<T, Fault> {
        Err(Fault::new(format!("nested data where {} is declared: declare the column as JSON", self.kind)))
    }

    /// A sequence of bytes, as `Vec<u8>` comes.
    fn bytes(self, length: Option<usize>) -> Result<Bytes<'c, 'r>, Fault> {
        if self.kind != Kind::Bytes {
            return self.nested();
        }
        Ok(Bytes { bytes: Vec::with_capacity(length.unwrap_or(0).min(1 << 16)), cell: self })
    }
}

impl<'c, 'r> Serializer for Cell<'c, 'r> {
    type Ok = bool;
    type Error = Fault;
    type SerializeSeq = Bytes<'c, 'r>;
    type SerializeTuple = Bytes<'c, 'r>;
    type SerializeTupleStruct = Impossible<bool, Fault>;
    type SerializeTupleVariant = Impossible<bool, Fault>;
    type SerializeMap = Impossible<bool, Fault>;
    type SerializeStruct = Impossible<bool, Fault>;
    type SerializeStructVariant = Impossible<bool, Fault>;

    fn serialize_bool(self, value: bool) -> Result<bool, Fault> {
        match self.kind {
            Kind::Bool => self.set(ValueRef::Bool(value)),
            Kind::Text => self.set(ValueRef::Text(if value { "true" } else { "false" })),
            _ => Err(self.misfit("a bool")),
        }
    }

    fn serialize_i8(self, value: i8) -> Result<bool, Fault> {
        self.integer(value)
    }

    fn serialize_i16(self, value: i16) -> Result<bool, Fault> {
        self.integer(value)
    }

    fn serialize_i32(self, value: i32) -> Result<bool, Fault> {
        self.integer(value)
    }

    fn serialize_i64(self, value: i64) -> Result<bool, Fault> {
        self.integer(value)
    }

    fn serialize_i128(self, value: i128) -> Result<bool, Fault> {
        self.integer(value)
    }

    fn serialize_u8(self, value: u8) -> Result<bool, Fault> {
        self.integer(value)
    }

    fn serialize_u16(self, value: u16) -> Result<bool, Fault> {
        self.integer(value)
    }

    fn serialize_u32(self, value: u32) -> Result<bool, Fault> {
        self.integer(value)
    }

    fn serialize_u64(self, value: u64) -> Result<bool, Fault> {
        self.integer(value)
    }

    fn serialize_u128(self, value: u128) -> Result<bool, Fault> {
        self.integer(value)
    }

    fn serialize_f32(self, value: f32) -> Result<bool, Fault> {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<bool, Fault> {
        match self.kind {
            _ if !value.is_finite() => Err(Fault::new("a float that is no number")),
            Kind::Float => self.set(ValueRef::Float(value)),
            Kind::Text => self.set(ValueRef::Text(&value.to_string())),
            Kind::Decimal { .. } => {
                Err(Fault::new("a float where an exact decimal is declared: use a decimal type, an integer or text"))
            }
            _ => Err(self.misfit("a float")),
        }
    }

    fn serialize_char(self, value: char) -> Result<bool, Fault> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, text: &str) -> Result<bool, Fault> {
        let refused = |why: &str| Fault::new(why);
        match self.kind {
            Kind::Text => self.set(ValueRef::Text(text)),
            Kind::Float => self.set(ValueRef::Float(number::float(text).map_err(refused)?)),
            Kind::Date => self.set(ValueRef::Date(time::date(text).map_err(refused)?)),
            Kind::Timestamp => {
                let micros = time::rfc3339(text).ok_or_else(|| Fault::new("text that is no instant in RFC 3339"))?;
                self.set(ValueRef::Timestamp(Timestamp::from_micros(micros)))
            }
            Kind::Bytes => {
                let bytes = base64::decode(text).ok_or_else(|| Fault::new("text that is not standard base64"))?;
                self.set(ValueRef::Bytes(&bytes))
            }
            _ => self.exact(text, "text"),
        }
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<bool, Fault> {
        match self.kind {
            Kind::Bytes => self.set(ValueRef::Bytes(bytes)),
            _ => Err(self.misfit("bytes")),
        }
    }

    fn serialize_none(self) -> Result<bool, Fault> {
        Ok(false)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<bool, Fault> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<bool, Fault> {
        Ok(false)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<bool, Fault> {
        Ok(false)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<bool, Fault> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<bool, Fault> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<bool, Fault> {
        self.nested()
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Bytes<'c, 'r>, Fault> {
        self.bytes(length)
    }

    fn serialize_tuple(self, length: usize) -> Result<Bytes<'c, 'r>, Fault> {
        self.bytes(Some(length))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Fault> {
        self.nested()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Fault> {
        self.nested()
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Fault> {
        self.nested()
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, Fault> {
        self.nested()
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Fault> {
        self.nested()
    }
}

/// Bytes that come one by one.
pub(super) struct Bytes<'c, 'r> {
    bytes: Vec<u8>,
    cell: Cell<'c, 'r>,
}

impl SerializeSeq for Bytes<'_, '_> {
    type Ok = bool;
    type Error = Fault;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        let byte = serde_json::to_value(value).ok().and_then(|value| value.as_u64());
        let byte = byte.and_then(|byte| u8::try_from(byte).ok());
        self.bytes.push(byte.ok_or_else(|| Fault::custom("a sequence of something else where bytes are declared"))?);
        Ok(())
    }

    fn end(self) -> Result<bool, Fault> {
        self.cell.set(ValueRef::Bytes(&self.bytes))
    }
}

impl SerializeTuple for Bytes<'_, '_> {
    type Ok = bool;
    type Error = Fault;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        SerializeSeq::serialize_element(self, value)
    }

    fn end(self) -> Result<bool, Fault> {
        SerializeSeq::end(self)
    }
}
