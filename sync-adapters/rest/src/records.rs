//! What is declared about the records of a stream, made into their reader.

use std::sync::Arc;

use sync_core::json::{Envelope, RecordReader};
use sync_core::{Error, Result, StreamSpec};

use crate::config::Endpoint;
use crate::paging::Pager;
use crate::partition::{self, PARTITION};
use crate::template;

/// The reader of a stream's records, and where they stand in a body.
///
/// # Errors
/// `Config`, naming the column or the field.
pub(crate) fn compile(spec: &Arc<StreamSpec>, endpoint: &Endpoint, pager: &Pager) -> Result<(RecordReader, Envelope)> {
    let mut reader = RecordReader::new(Arc::clone(spec));
    for (column, pointer) in &endpoint.columns {
        check_variable(endpoint, column, pointer)?;
        reader = reader.column(column, pointer);
    }
    if let Some(column) = &endpoint.partition_column {
        reader = reader.column(column, &partition::place(endpoint, column));
    }
    for (column, parse) in &endpoint.parse {
        reader = reader.parse(column, parse.clone());
    }
    for (column, transform) in &endpoint.transforms {
        for place in transform.places() {
            check_variable(endpoint, column, place)?;
        }
        reader = transform.apply(column, endpoint.columns.contains_key(column), reader)?;
    }
    if let Some(pointer) = &endpoint.explode {
        reader = reader.explode(pointer);
    }
    for condition in &endpoint.drop {
        reader = reader.drop_if(&condition.pointer, condition.when()?);
    }
    reader.check()?;
    let mut envelope = Envelope::at(endpoint.records.iter().cloned()).also(pager.also().iter().cloned());
    envelope.layout = endpoint.layout;
    envelope.wrapper.clone_from(&endpoint.wrapper);
    envelope.check()?;
    Ok((reader, envelope))
}

/// A variable that a column takes its value from is one of the partitions, and each of them gives it.
fn check_variable(endpoint: &Endpoint, column: &str, place: &str) -> Result<()> {
    if !place.starts_with('{') {
        return Ok(());
    }
    for name in template::names(place) {
        if name == PARTITION && endpoint.has_partitions() {
            continue;
        }
        let by_listing = endpoint.partitions_from.as_ref().is_some_and(|parent| parent.variables.contains_key(name));
        let by_all = endpoint.partitions.iter().all(|part| part.variables.contains_key(name));
        if !by_listing && (endpoint.partitions.is_empty() || !by_all) {
            return Err(Error::config(format!(
                "column {column:?} takes the variable {{{name}}}, which not every partition gives"
            )));
        }
    }
    Ok(())
}
