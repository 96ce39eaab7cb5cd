//! PostgreSQL as a source, on a real server: what other databases do not have.

mod attacked;
mod discovery;
mod late;
mod proof;
mod reading;

use crate::followed::{BY_NUMBER, OnPostgres, by_number, by_time};

/// A PostgreSQL database, a target in SQLite, and the way from one to the other.
type World = crate::followed::World<OnPostgres>;

const BY_TIME: &str = "CREATE TABLE orders (id int PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), note text);";
