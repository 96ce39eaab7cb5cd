//! SQLite as a target, judged by the conformance suite and by a plain driver.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

#[cfg(all(feature = "mysql", feature = "postgres"))]
mod addresses;
#[cfg(all(feature = "mysql", feature = "postgres"))]
mod altered;
#[cfg(all(feature = "mysql", feature = "postgres"))]
mod attacked;
#[cfg(all(feature = "mysql", feature = "postgres"))]
mod chinook;
mod conformance;
mod copy;
mod engine;
mod entries;
#[cfg(all(feature = "mysql", feature = "postgres"))]
mod estimates;
#[cfg(all(feature = "mysql", feature = "postgres"))]
mod faults;
mod followed;
mod following;
#[cfg(all(feature = "mysql", feature = "postgres"))]
mod hostile;
mod loads;
#[cfg(feature = "mysql")]
mod mariadb;
#[cfg(feature = "mysql")]
mod mysql_replica;
#[cfg(feature = "mysql")]
mod mysql_source;
mod names;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod office;
mod opening;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
mod postgres_replica;
#[cfg(feature = "postgres")]
mod postgres_source;
#[cfg(all(feature = "mysql", feature = "postgres"))]
mod published;
mod ranges;
mod reconciled;
mod refusals;
mod replica;
mod schema;
mod script;
mod source;
mod staging;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod tills;
mod values;
