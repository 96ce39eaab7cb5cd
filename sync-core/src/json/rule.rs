//! What is declared about one column, and what becomes of it: where its values come from and how its cells are made.

use super::Parse;
use super::choice::{Place, Source};
use super::convert::{Clean, Column};
use super::derive::Finder;
use super::outer::Outers;
use super::pointer::{self, Stand};
use crate::model::{Field, Kind, Rows, Schema};

/// Where the values of one column come from and how they are written.
#[derive(Debug, Clone, Default)]
pub(super) struct Rule {
    /// Pointers and names in braces; the member of the column's own name where none are declared.
    pub(super) places: Option<Vec<String>>,
    /// A list and what is looked for in it.
    pub(super) listed: Option<Listed>,
    /// The places of the values whose hash it is.
    pub(super) hash_of: Vec<String>,
    pub(super) constant: Option<serde_json::Value>,
    pub(super) parse: Parse,
    pub(super) clean: Clean,
}

/// A value in a list of named ones, as it is declared: pointers, and a name.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) list: String,
    pub(super) by: String,
    pub(super) name: String,
    pub(super) value: String,
}

impl Rule {
    /// # Errors
    /// A phrase for the configuration error, naming the column.
    pub(super) fn compile(&self, index: usize, field: &Field, outers: &mut Outers) -> Result<(Column, Source), String> {
        let column = Column::new(index, field, &self.parse, self.clean.clone())?;
        check_meanings(&column, field)?;
        let constant = self.constant.as_ref().map(|value| constant(index, field, value)).transpose()?;
        let fault = |fault: String| format!("column {:?}: {fault}", field.name());
        let derived = self.listed.is_some() || !self.hash_of.is_empty() || constant.is_some();
        let places = match &self.places {
            Some(places) => places.iter().map(|text| pointer::stand(text)).collect::<Result<_, _>>().map_err(fault)?,
            None if derived => Vec::new(),
            None => vec![Stand::Here(vec![field.name().to_owned()])],
        };
        if places.is_empty() && !derived {
            return Err(format!("column {:?}: no place to take it from, and no constant", field.name()));
        }
        if let ([Stand::Here(steps)], false) = (places.as_slice(), derived) {
            return Ok((column, Source::At(steps.clone())));
        }
        let mut stands: Vec<Place> =
            places.into_iter().map(|stand| place(stand, field, outers)).collect::<Result<_, _>>()?;
        if let Some(Listed { list, by, name, value }) = &self.listed {
            let list = place(pointer::stand(list).map_err(fault)?, field, outers)?;
            let (by, value) = (pointer::steps(by).map_err(fault)?, pointer::steps(value).map_err(fault)?);
            stands.push(Place::Listed(Box::new(list), Finder { by, name: name.as_str().into(), value }));
        }
        if !self.hash_of.is_empty() {
            if field.kind() != Kind::Text {
                return Err(fault("a hash is 32 hexadecimal digits: declare the column as text".to_owned()));
            }
            let part = |text: &String| place(pointer::stand(text).map_err(fault)?, field, outers);
            stands.push(Place::Hash(self.hash_of.iter().map(part).collect::<Result<_, _>>()?));
        }
        Ok((column, Source::Chosen { stands, constant }))
    }
}

/// Where a declared place is, once the values from outside of the record have their numbers.
fn place(stand: Stand, field: &Field, outers: &mut Outers) -> Result<Place, String> {
    match stand {
        Stand::Here(steps) => Ok(Place::Here(steps)),
        Stand::Given(name) => Ok(Place::Outer(outers.number(&name))),
        Stand::Around(name, steps) if outers.exploded => Ok(Place::Outer(outers.number_around(&name, steps))),
        Stand::Around(name, _) => Err(format!(
            "column {:?}: {name:?} names a place in the record around, and nothing is exploded",
            field.name()
        )),
    }
}

/// A constant as JSON, with the column that writes it, once it is sure that it can.
fn constant(index: usize, field: &Field, value: &serde_json::Value) -> Result<(Column, Box<str>), String> {
    let raw = value.to_string();
    let fault = |why: &str| format!("column {:?} ({}): its constant is refused: {why}", field.name(), field.kind());
    match Column::new(0, field, &Parse::Auto, Clean::default())?.write(&raw, &mut scratch(field).begin()) {
        Ok(true) => Ok((Column::new(index, field, &Parse::Auto, Clean::default())?, raw.into())),
        Ok(false) => Err(fault("it is null")),
        Err(why) => Err(fault(why)),
    }
}

/// Whether every meaning of a map can be written into the column.
fn check_meanings(column: &Column, field: &Field) -> Result<(), String> {
    let Some(map) = &column.clean.map else { return Ok(()) };
    let scratch = &mut scratch(field);
    let mut alone = column.clone();
    alone.index = 0;
    for meaning in map.values.values().chain(&map.default) {
        alone.write_meaning(meaning, &mut scratch.begin()).map_err(|why| {
            format!("column {:?} ({}): its map means {meaning:?} somewhere: {why}", field.name(), field.kind())
        })?;
    }
    Ok(())
}

/// Rows of this column alone, to try values in.
fn scratch(field: &Field) -> Rows {
    Rows::new(Schema::new([field.clone()]).into())
}
