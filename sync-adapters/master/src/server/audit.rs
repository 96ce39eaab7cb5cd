//! Who acted as whom: each call of a super-admin in a tenant's name is written down before it is served.

use std::fmt::Debug;

use chrono::{DateTime, Utc};

/// One call of a super-admin in a tenant's name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ActedAs {
    /// When.
    pub at: DateTime<Utc>,
    /// Who: the `sub` of the token.
    pub subject: String,
    /// In the name of this client.
    pub client: String,
    /// And of this branch.
    pub branch: Option<String>,
    /// The HTTP method.
    pub method: String,
    /// The path.
    pub path: String,
}

impl ActedAs {
    pub(super) fn new(subject: &str, client: &str, branch: Option<&str>, parts: &http::request::Parts) -> Self {
        Self {
            at: Utc::now(),
            subject: subject.to_owned(),
            client: client.to_owned(),
            branch: branch.map(str::to_owned),
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
        }
    }
}

/// Where such calls are written down. A host keeps them where nobody can change them.
pub trait Audit: Debug + Send + Sync {
    /// Writes one down.
    fn record(&self, call: &ActedAs);
}

/// Writes them to `tracing`, under the target `sync::audit`.
#[derive(Debug, Clone, Copy, Default)]
pub struct TracingAudit;

impl Audit for TracingAudit {
    fn record(&self, call: &ActedAs) {
        let ActedAs { subject, client, branch, method, path, .. } = call;
        tracing::warn!(target: "sync::audit", ?subject, ?client, ?branch, method, path, "acted in a tenant's name");
    }
}
