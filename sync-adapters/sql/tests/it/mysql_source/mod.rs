//! MySQL and MariaDB as a source, on a real MariaDB server: what other databases do not have.

mod discovery;
mod disturbed;
mod reading;

/// A MariaDB database, a target in SQLite, and the way from one to the other.
type World = crate::followed::World<crate::followed::OnMariaDb>;
