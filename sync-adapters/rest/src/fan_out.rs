//! The partitions of a stream, as a listing of the other side names them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use sync_core::model::{Batch, Boundary, Partition, Row};
use sync_core::{Error, ErrorKind, Result, StreamSpec, ValueRef};

use crate::config::{ParentConfig, RuleConfig};
use crate::partition;
use crate::plan::StreamPlan;
use crate::pointer::is_pointer;
use crate::reader::Reader;
use crate::source::Inner;
use crate::template::Variables;
use crate::variables;

/// The column of a partition's name, and what stands before the name of a variable in the others.
const NAME: &str = "partition";
const VARIABLE: &str = "variable ";

/// The listing of a stream's partitions, ready.
#[derive(Debug)]
pub(crate) struct Parent {
    pub(crate) plan: Arc<StreamPlan>,
    config: ParentConfig,
}

/// The partitions that were listed last, by stream.
#[derive(Debug, Default)]
pub(crate) struct Discovered(Mutex<HashMap<String, BTreeMap<String, Variables>>>);

impl Parent {
    /// # Errors
    /// `Config`, naming the field.
    pub(crate) fn new(spec: &StreamSpec, config: &ParentConfig, rules: &[RuleConfig]) -> Result<Self> {
        let places = std::iter::once(("name", &config.name))
            .chain(config.variables.iter().map(|(name, place)| (name.as_str(), place)));
        for (name, place) in places {
            if !is_pointer(place) {
                return Err(Error::config(format!(
                    "field `partitions_from`: {place:?} is no JSON pointer; write it as \"/id\""
                ))
                .with("value", name));
            }
        }
        if config.most == 0 {
            return Err(Error::config("field `partitions_from.most` is at least 1"));
        }
        let mut columns: BTreeMap<String, String> = [(NAME.to_owned(), config.name.clone())].into();
        let mut listing = StreamSpec::new(spec.name()).text(NAME).key([NAME]);
        for (name, place) in &config.variables {
            let column = format!("{VARIABLE}{name}");
            listing = listing.text(column.clone());
            columns.insert(column, place.clone());
        }
        let endpoint = config.endpoint(columns);
        variables::check(&endpoint)
            .and_then(|()| StreamPlan::new(Arc::new(listing), endpoint, rules))
            .map(|plan| Self { plan: Arc::new(plan), config: config.clone() })
            .map_err(|error| error.with("field", "partitions_from"))
    }

    /// All partitions, in the order of the list.
    async fn list(&self, inner: &Arc<Inner>) -> Result<Vec<(String, Variables)>> {
        let mut reader = Reader::listing(Arc::clone(inner), Arc::clone(&self.plan))?;
        let mut found = Vec::new();
        let mut known = HashMap::new();
        let mut complete = false;
        while let Some(batch) = reader.next().await? {
            if let Some(reject) = batch.rejects.first() {
                return Err(Error::malformed("a record of the list cannot be read")
                    .with("reason", inner.client.redactor.clean(&reject.reason)));
            }
            for partition in self.partitions_of(&batch)? {
                match known.get(&partition.0) {
                    None => {
                        known.insert(partition.0.clone(), partition.1.clone());
                        found.push(partition);
                    }
                    Some(variables) if *variables == partition.1 => {}
                    Some(_) => {
                        return Err(Error::malformed("two records of the list have one name and different variables")
                            .with("partition", inner.client.redactor.clean(&partition.0)));
                    }
                }
            }
            if found.len() > self.config.most {
                let what = "the list has more partitions than allowed; raise `partitions_from.most` if that is right";
                return Err(Error::new(ErrorKind::Limit, what).with("limit", self.config.most));
            }
            if let Boundary::Ends { complete: proven, .. } = batch.boundary {
                complete = proven;
            }
        }
        match (found.is_empty(), self.config.may_be_empty) {
            (true, false) => Err(Error::malformed(
                "the list is empty; if that is no fault, declare `partitions_from.may_be_empty = true`",
            )),
            (true, true) if reader.is_blank() => {
                Err(Error::unavailable("the list was answered with nothing at all, not even with an empty list"))
            }
            (false, _) if !complete => Err(Error::unavailable("the list changed while it was read")),
            _ => Ok(found),
        }
    }

    fn partitions_of(&self, batch: &Batch) -> Result<Vec<(String, Variables)>> {
        let rows = batch.runs.iter().flat_map(|run| run.changes.rows().iter());
        rows.map(|row| {
            let variables =
                self.config.variables.keys().map(|name| {
                    Ok((name.clone(), text(&row, &format!("{VARIABLE}{name}")).ok_or_else(|| missing(name))?))
                });
            let name = text(&row, NAME).ok_or_else(|| missing("name"))?;
            let variables = partition::named(&name, &variables.collect::<Result<_>>()?);
            Ok((name, variables))
        })
        .collect()
    }
}

/// Lists the partitions of a stream anew.
///
/// # Errors
/// Those of the listing, naming the path it comes from.
pub(crate) async fn partitions(inner: &Arc<Inner>, plan: &StreamPlan, parent: &Parent) -> Result<Vec<Partition>> {
    let listed = parent.list(inner).await.map_err(|error| {
        let named = error.context().any(|(name, _)| name == "stream");
        let error = if named { error } else { error.with("stream", plan.spec.name()) };
        error.with("partitions_from", &parent.config.path)
    })?;
    if let Some(own) = &plan.own {
        let shown = listed.iter().map(|(name, variables)| (inner.client.redactor.clean(name), variables));
        own.check(shown).map_err(|error| error.with("stream", plan.spec.name()))?;
    }
    let partitions = listed.iter().map(|(name, _)| Partition::new(name.clone())).collect();
    let mut discovered = inner.discovered.0.lock().unwrap_or_else(PoisonError::into_inner);
    discovered.insert(plan.spec.name().to_owned(), listed.into_iter().collect());
    Ok(partitions)
}

/// The variables of a partition; its list is asked for when nobody did so yet.
///
/// # Errors
/// Those of the listing; `Config` when it does not name the partition.
pub(crate) fn variables<'a>(
    inner: &'a Arc<Inner>,
    plan: &'a StreamPlan,
    partition: &'a Partition,
) -> BoxFuture<'a, Result<Variables>> {
    async move {
        let Some(parent) = &plan.parent else { return plan.variables(partition.name()) };
        if let Some(known) = inner.discovered.find(plan.spec.name(), partition) {
            return Ok(known);
        }
        partitions(inner, plan, parent).await?;
        inner.discovered.find(plan.spec.name(), partition).ok_or_else(|| {
            Error::config("the list of partitions does not name this one")
                .with("stream", plan.spec.name())
                .with("partition", partition.name())
                .with("partitions_from", &parent.config.path)
        })
    }
    .boxed()
}

impl Discovered {
    fn find(&self, stream: &str, partition: &Partition) -> Option<Variables> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(stream)?.get(partition.name()).cloned()
    }
}

fn text(row: &Row<'_>, column: &str) -> Option<String> {
    match row.named(column) {
        Some(ValueRef::Text(text)) if !text.is_empty() => Some(text.to_owned()),
        _ => None,
    }
}

fn missing(name: &str) -> Error {
    Error::malformed("a record of the list does not hold what it is declared to").with("value", name)
}
