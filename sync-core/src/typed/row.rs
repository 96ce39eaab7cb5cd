//! One struct or map into one row.

use serde::ser::{Error as _, Impossible, Serialize, SerializeMap, SerializeStruct, Serializer};

use super::cell::Cell;
use super::fault::Fault;
use super::misspelt::Names;
use crate::model::{FieldSet, Kind, RowWriter, Rows, Schema, ValueRef};

/// Writes items of one type, one after the other.
pub(super) struct Items<'s> {
    schema: &'s Schema,
    /// The fields of the last struct in order, and the columns they are. Items of one type have the same fields.
    layout: Vec<(&'static str, Option<usize>)>,
    names: Names,
}

impl<'s> Items<'s> {
    pub(super) fn new(schema: &'s Schema) -> Self {
        Self { schema, layout: Vec::new(), names: Names::default() }
    }

    pub(super) fn add<T: Serialize>(&mut self, item: &T, rows: &mut Rows) -> Result<(), Fault> {
        let mut row = rows.begin();
        let filled = item.serialize(Item { items: self, row: &mut row })?;
        let empty = |at: &usize| !self.schema.fields()[*at].is_nullable() && !filled.contains(*at);
        if let Some(at) = (0..self.schema.width()).find(empty) {
            return Err(Fault::new("no value where one is required").at(self.schema.fields()[at].name()));
        }
        row.finish();
        Ok(())
    }

    /// What is wrong with the name of a column, as far as these items show.
    pub(super) fn misspelt(&self) -> Option<Fault> {
        self.names.misspelt(self.schema)
    }

    /// The column of the field at this place of a struct.
    fn column(&mut self, place: usize, name: &'static str) -> Option<usize> {
        if let Some((last, column)) = self.layout.get(place)
            && *last == name
        {
            return *column;
        }
        let column = self.schema.index(name);
        self.names.field(name, column);
        self.layout.truncate(place);
        self.layout.push((name, column));
        column
    }
}

/// One item; gives back the columns that have a value.
struct Item<'i, 's, 'r> {
    items: &'i mut Items<'s>,
    row: &'i mut RowWriter<'r>,
}

const NOT_A_ROW: &str = "a row is made of a struct or a map";

macro_rules! not_a_row {
    ($($method:ident($($plain:ty),*);)+) => {$(
        fn $method(self, $(_: $plain),*) -> Result<FieldSet, Fault> {
            Err(Fault::custom(NOT_A_ROW))
        }
    )+};
}

impl<'i, 's, 'r> Serializer for Item<'i, 's, 'r> {
    type Ok = FieldSet;
    type Error = Fault;
    type SerializeSeq = Impossible<FieldSet, Fault>;
    type SerializeTuple = Impossible<FieldSet, Fault>;
    type SerializeTupleStruct = Impossible<FieldSet, Fault>;
    type SerializeTupleVariant = Impossible<FieldSet, Fault>;
    type SerializeMap = Members<'i, 's, 'r>;
    type SerializeStruct = Members<'i, 's, 'r>;
    type SerializeStructVariant = Impossible<FieldSet, Fault>;

    not_a_row! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_f32(f32);
        serialize_f64(f64);
        serialize_char(char);
        serialize_str(&str);
        serialize_bytes(&[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(&'static str);
        serialize_unit_variant(&'static str, u32, &'static str);
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<FieldSet, Fault> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<FieldSet, Fault> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<FieldSet, Fault> {
        Err(Fault::custom(NOT_A_ROW))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Fault> {
        Err(Fault::custom(NOT_A_ROW))
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Fault> {
        Err(Fault::custom(NOT_A_ROW))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Fault> {
        Err(Fault::custom(NOT_A_ROW))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Fault> {
        Err(Fault::custom(NOT_A_ROW))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Members<'i, 's, 'r>, Fault> {
        Ok(Members { item: self, place: 0, filled: FieldSet::new(), next: None })
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Members<'i, 's, 'r>, Fault> {
        Ok(Members { item: self, place: 0, filled: FieldSet::new(), next: None })
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Fault> {
        Err(Fault::custom(NOT_A_ROW))
    }
}

/// The fields of an item as they come.
struct Members<'i, 's, 'r> {
    item: Item<'i, 's, 'r>,
    place: usize,
    filled: FieldSet,
    /// In a map, the column that the next value is for.
    next: Option<usize>,
}

impl Members<'_, '_, '_> {
    fn write<T: Serialize + ?Sized>(&mut self, column: usize, value: &T) -> Result<(), Fault> {
        let field = &self.item.items.schema.fields()[column];
        let filled = if field.kind() == Kind::Json {
            let text =
                serde_json::to_string(value).map_err(|_| Fault::new("cannot be written as JSON").at(field.name()))?;
            let filled = text != "null";
            if filled {
                self.item.row.set_unchecked(column, ValueRef::Json(&text));
            }
            filled
        } else {
            let cell = Cell { column, kind: field.kind(), row: self.item.row };
            value.serialize(cell).map_err(|fault| fault.at(field.name()))?
        };
        if filled {
            self.filled.insert(column);
        }
        Ok(())
    }
}

impl SerializeStruct for Members<'_, '_, '_> {
    type Ok = FieldSet;
    type Error = Fault;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Fault> {
        let column = self.item.items.column(self.place, name);
        self.place += 1;
        column.map_or(Ok(()), |column| self.write(column, value))
    }

    /// A field that is left out of this item is one of the struct's all the same.
    fn skip_field(&mut self, name: &'static str) -> Result<(), Fault> {
        self.item.items.column(self.place, name);
        self.place += 1;
        Ok(())
    }

    fn end(self) -> Result<FieldSet, Fault> {
        Ok(self.filled)
    }
}

impl SerializeMap for Members<'_, '_, '_> {
    type Ok = FieldSet;
    type Error = Fault;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, name: &T) -> Result<(), Fault> {
        self.next = name.serialize(Name(self.item.items))?;
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.next.take().map_or(Ok(()), |column| self.write(column, value))
    }

    fn end(self) -> Result<FieldSet, Fault> {
        Ok(self.filled)
    }
}

/// The name of a map's member: the column it is, if any.
struct Name<'i, 's>(&'i mut Items<'s>);

const NOT_A_NAME: &str = "the names of a map's members must be text";

macro_rules! not_a_name {
    ($($method:ident($($plain:ty),*);)+) => {$(
        fn $method(self, $(_: $plain),*) -> Result<Option<usize>, Fault> {
            Err(Fault::custom(NOT_A_NAME))
        }
    )+};
}

macro_rules! no_nested_name {
    ($($method:ident($($plain:ty),*);)+) => {$(
        fn $method(self, $(_: $plain),*) -> Result<Impossible<Option<usize>, Fault>, Fault> {
            Err(Fault::custom(NOT_A_NAME))
        }
    )+};
}

impl Serializer for Name<'_, '_> {
    type Ok = Option<usize>;
    type Error = Fault;
    type SerializeSeq = Impossible<Option<usize>, Fault>;
    type SerializeTuple = Impossible<Option<usize>, Fault>;
    type SerializeTupleStruct = Impossible<Option<usize>, Fault>;
    type SerializeTupleVariant = Impossible<Option<usize>, Fault>;
    type SerializeMap = Impossible<Option<usize>, Fault>;
    type SerializeStruct = Impossible<Option<usize>, Fault>;
    type SerializeStructVariant = Impossible<Option<usize>, Fault>;

    not_a_name! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_f32(f32);
        serialize_f64(f64);
        serialize_char(char);
        serialize_bytes(&[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(&'static str);
    }

    no_nested_name! {
        serialize_seq(Option<usize>);
        serialize_tuple(usize);
        serialize_tuple_struct(&'static str, usize);
        serialize_tuple_variant(&'static str, u32, &'static str, usize);
        serialize_map(Option<usize>);
        serialize_struct(&'static str, usize);
        serialize_struct_variant(&'static str, u32, &'static str, usize);
    }

    fn serialize_str(self, name: &str) -> Result<Option<usize>, Fault> {
        let column = self.0.schema.index(name);
        self.0.names.member(name, column);
        Ok(column)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, name: &'static str) -> Result<Option<usize>, Fault> {
        self.serialize_str(name)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<Option<usize>, Fault> {
        Err(Fault::custom(NOT_A_NAME))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        name: &T,
    ) -> Result<Option<usize>, Fault> {
        name.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Option<usize>, Fault> {
        Err(Fault::custom(NOT_A_NAME))
    }
}
