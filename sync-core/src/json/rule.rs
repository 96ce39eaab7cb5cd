//! What is declared about one column, and what becomes of it: where its values come from and how its cells are made.

use super::Parse;
use super::choice::{Place, Source};
use super::convert::{Clean, Column};
use super::outer::Outers;
use super::pointer::{self, Stand};
use crate::model::{Field, Rows, Schema};

/// Where the values of one column come from and how they are written.
#[derive(Debug, Clone, Default)]
pub(super) struct Rule {
    /// Pointers and names in braces; the member of the column's own name where none are declared.
    pub(super) places: Option<Vec<String>>,
    pub(super) constant: Option<serde_json::Value>,
    pub(super) parse: Parse,
    pub(super) clean: Clean,
}

impl Rule {
    /// # Errors
    /// A phrase for the configuration error, naming the column.
    pub(super) fn compile(&self, index: usize, field: &Field, outers: &mut Outers) -> Result<(Column, Source), String> {
        let column = Column::new(index, field, &self.parse, self.clean.clone())?;
        check_meanings(&column, field)?;
        let constant = self.constant.as_ref().map(|value| constant(index, field, value)).transpose()?;
        let own = || vec![Stand::Here(vec![field.name().to_owned()])];
        let stands = match (&self.places, &constant) {
            (Some(places), _) => places.iter().map(|text| pointer::stand(text)).collect::<Result<_, _>>(),
            (None, Some(_)) => Ok(Vec::new()),
            (None, None) => Ok(own()),
        };
        let mut stands: Vec<Stand> = stands.map_err(|fault| format!("column {:?}: {fault}", field.name()))?;
        if stands.is_empty() && constant.is_none() {
            return Err(format!("column {:?}: no place to take it from, and no constant", field.name()));
        }
        if let ([Stand::Here(steps)], None) = (stands.as_mut_slice(), &constant) {
            return Ok((column, Source::At(std::mem::take(steps))));
        }
        let place = |stand| match stand {
            Stand::Here(steps) => Ok(Place::Here(steps)),
            Stand::Given(name) => Ok(Place::Outer(outers.number(&name))),
            Stand::Around(name, steps) if outers.exploded => Ok(Place::Outer(outers.number_around(&name, steps))),
            Stand::Around(name, _) => Err(format!(
                "column {:?}: {name:?} names a place in the record around, and nothing is exploded",
                field.name()
            )),
        };
        let stands = stands.into_iter().map(place).collect::<Result<_, _>>()?;
        Ok((column, Source::Chosen { stands, constant }))
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
