//! Every variable has a value somewhere, and every value goes somewhere.

use std::collections::BTreeMap;

use sync_core::{Error, Result};

use crate::config::{Endpoint, Style, Transform, WindowConfig};
use crate::partition::PARTITION;
use crate::template;

/// Variables that paging, since, window and partition give.
const BUILT_IN: [&str; 9] = ["page", "offset", "cursor", "after", "size", "since", "from", "to", PARTITION];

/// # Errors
/// `Config`, naming the field and the variable.
pub(crate) fn check(endpoint: &Endpoint) -> Result<()> {
    let chosen: Vec<&String> = endpoint.transforms.values().flat_map(Transform::places).collect();
    let columns = format!("{:?} {chosen:?}", endpoint.columns);
    let used = format!("{} {:?} {:?} {columns}", endpoint.path, endpoint.query, endpoint.body);
    let used = |name: &str| used.contains(&format!("{{{name}}}"));
    check_path(endpoint)?;
    for part in &endpoint.partitions {
        check_free("partitions.variables", &part.variables).map_err(|error| error.with("partition", &part.name))?;
    }
    if let Some(parent) = &endpoint.partitions_from {
        check_given("partitions_from.variables", &parent.variables, used)?;
    }
    let goes = |param: &Option<String>, name: &str| param.is_some() || used(name);
    if endpoint.since.as_ref().is_some_and(|since| !goes(&since.param, "since")) {
        return Err(Error::config("field `since.param` is missing, and nothing uses the variable {since}"));
    }
    if let Some(window) = &endpoint.window {
        if !(goes(&window.from, "from") || goes(&window.to, "to")) {
            return Err(Error::config(
                "field `window.from` is missing, and nothing uses the variables {from} and {to}",
            ));
        }
        check_window(window, used)?;
    }
    let variable = match endpoint.paging.style {
        Style::Page => "page",
        Style::Offset => "offset",
        Style::Cursor => "cursor",
        Style::Keyset => "after",
        _ => return Ok(()),
    };
    match goes(&endpoint.paging.param, variable) {
        true => Ok(()),
        false => {
            Err(Error::config(format!("field `paging.param` is missing, and nothing uses the variable {{{variable}}}")))
        }
    }
}

fn check_path(endpoint: &Endpoint) -> Result<()> {
    for name in template::names(&endpoint.path) {
        let by_partition =
            !endpoint.partitions.is_empty() && endpoint.partitions.iter().all(|part| part.variables.contains_key(name));
        let by_parent = endpoint.partitions_from.as_ref().is_some_and(|parent| parent.variables.contains_key(name));
        let by_window = endpoint.window.as_ref().is_some_and(|window| window.variables.contains_key(name));
        let built_in = BUILT_IN.contains(&name) && (name != PARTITION || endpoint.has_partitions());
        if !by_partition && !by_parent && !by_window && !built_in {
            return Err(Error::config(format!(
                "field `path` has the variable {{{name}}}, which not every partition gives"
            )));
        }
    }
    Ok(())
}

fn check_window(window: &WindowConfig, used: impl Fn(&str) -> bool) -> Result<()> {
    check_given("window.variables", &window.variables, &used)?;
    for pass in &window.also {
        check_given("window.also.variables", &pass.variables, &used).map_err(|error| error.with("pass", &pass.name))?;
    }
    Ok(())
}

/// Names that a declaration gives values to.
fn check_given(field: &str, given: &BTreeMap<String, String>, used: impl Fn(&str) -> bool) -> Result<()> {
    check_free(field, given)?;
    for name in given.keys() {
        if !used(name) {
            return Err(Error::config(format!("field `{field}` gives {name:?}, and nothing uses {{{name}}}")));
        }
    }
    Ok(())
}

fn check_free(field: &str, given: &BTreeMap<String, String>) -> Result<()> {
    match given.keys().find(|name| BUILT_IN.contains(&name.as_str())) {
        Some(name) => Err(Error::config(format!("field `{field}` gives {name:?}, which the adapter itself gives"))),
        None => Ok(()),
    }
}
