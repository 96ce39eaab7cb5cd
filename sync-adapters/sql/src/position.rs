//! Checkpoints as a sink keeps them beside its rows: as JSON, and refused to whoever was overtaken.

use sync_core::model::Scope;
use sync_core::state::{Checkpoint, FencingToken};
use sync_core::{Error, ErrorKind, Result};

pub(crate) fn to_json(checkpoint: &Checkpoint) -> Result<String> {
    serde_json::to_string(checkpoint)
        .map_err(|cause| Error::internal("a checkpoint cannot be written as JSON").caused_by(cause))
}

pub(crate) fn from_json(body: &str, scope: &Scope) -> Result<Checkpoint> {
    serde_json::from_str(body).map_err(|cause| {
        Error::new(ErrorKind::Schema, "the checkpoint was written by another release")
            .with("scope", scope)
            .caused_by(cause)
    })
}

/// The error of a holder with a lower token than this one, or with a step that is not the next.
pub(crate) fn fenced(newest: FencingToken, scope: &Scope) -> Error {
    Error::fenced(newest, "the scope is claimed by another holder, or has moved on")
        .with("scope", scope)
        .with("claimed", newest)
}
