//! Which rows of a stream belong to a partition: those whose declared column holds what the partition gives.

use std::collections::HashMap;
use std::sync::Arc;

use sync_core::json::{Envelope, RecordReader};
use sync_core::model::{Disposition, RowScope};
use sync_core::{Error, Result, StreamSpec, Value};

use crate::config::Endpoint;
use crate::plan::field;
use crate::pointer::is_pointer;
use crate::template::Variables;

/// The variable that every partition gives: its name.
pub(crate) const PARTITION: &str = "partition";

/// The column that tells the rows of one partition from those of the others, ready.
#[derive(Debug)]
pub(crate) struct Own {
    column: String,
    /// Reads the column alone, in the same way as in every row.
    reader: RecordReader,
}

impl Own {
    /// # Errors
    /// `Config`, naming the field.
    pub(crate) fn new(spec: &StreamSpec, endpoint: &Endpoint) -> Result<Option<Self>> {
        let parts = endpoint.partitions_from.is_some() || endpoint.partitions.len() > 1;
        let replaces = matches!(spec.writes(), Disposition::Snapshot | Disposition::ReplaceWindow);
        let Some(column) = &endpoint.partition_column else {
            if parts && replaces {
                return Err(Error::config(
                    "field `partition_column` is missing: the listing of one partition would replace the rows of all; name the column that holds the partition in every row",
                ));
            }
            return Ok(None);
        };
        if endpoint.partitions_from.is_none() && endpoint.partitions.is_empty() {
            return Err(Error::config("field `partition_column` is for a stream with partitions"));
        }
        let own = field(spec, "partition_column", column)?;
        if endpoint.columns.get(column).is_some_and(|place| is_pointer(place)) {
            // Rows of which the record says otherwise would belong to nobody.
            return Err(Error::config(
                "field `partition_column` names a column that is taken from the record; it holds the partition's name, or a variable of the partition, such as `columns = { account = \"{account}\" }`",
            )
            .with("column", column));
        }
        if endpoint.transforms.contains_key(column) {
            return Err(Error::config(
                "field `partition_column` names a column with a transform; it holds what the partition gives as it is",
            )
            .with("column", column));
        }
        let alone = StreamSpec::new(spec.name()).field(own.clone()).key([column]);
        let mut reader = RecordReader::new(Arc::new(alone)).column(column, &place(endpoint, column));
        if let Some(parse) = endpoint.parse.get(column) {
            reader = reader.parse(column, parse.clone());
        }
        reader.check()?;
        Ok(Some(Self { column: column.clone(), reader }))
    }

    /// Of these rows, those of the partition with these variables.
    ///
    /// # Errors
    /// `Config` when the column cannot hold what the partition gives.
    pub(crate) fn within(&self, scope: RowScope, partition: &Variables) -> Result<RowScope> {
        Ok(scope.within(&self.column, self.value(partition)?))
    }

    /// Makes sure that each of these partitions has rows of its own.
    ///
    /// # Errors
    /// `Config`, naming the partitions.
    pub(crate) fn check<'a>(&self, partitions: impl Iterator<Item = (String, &'a Variables)>) -> Result<()> {
        let mut known: HashMap<Value, String> = HashMap::new();
        for (name, variables) in partitions {
            let value = self.value(variables).map_err(|error| error.with("partition", &name))?;
            if let Some(other) = known.insert(value, name.clone()) {
                return Err(Error::config(
                    "two partitions have the same value in the column of field `partition_column`: each would take the rows of the other for gone",
                )
                .with("column", &self.column)
                .with("partition", name)
                .with("other", other));
            }
        }
        Ok(())
    }

    fn value(&self, partition: &Variables) -> Result<Value> {
        let page = self.reader.read_with(b"[{}]", &Envelope::body(), partition)?;
        match page.rows.iter().next() {
            Some(row) => Ok(row.at(0).to_owned()),
            None => Err(Error::config("the column of field `partition_column` cannot hold what the partition gives")
                .with("column", &self.column)),
        }
    }
}

/// Where the column of the partition takes its values from.
pub(crate) fn place(endpoint: &Endpoint, column: &str) -> String {
    endpoint.columns.get(column).cloned().unwrap_or_else(|| format!("{{{PARTITION}}}"))
}

/// The variables of a partition, its name among them.
pub(crate) fn named(name: &str, variables: &Variables) -> Variables {
    let mut variables = variables.clone();
    variables.insert(PARTITION.to_owned(), name.to_owned());
    variables
}
