//! A shop with tills, for `selling`: what its processes and whoever kills them agree on.

pub mod ledger;
pub mod login;
pub mod shop;
pub mod till;
