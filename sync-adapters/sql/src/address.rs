//! How long servers are waited for.

use std::time::Duration;

/// How long a server may take to answer a call for a connection.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
