//! The whole specification of a replica.
