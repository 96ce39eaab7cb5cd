//! State in SQL: checkpoints, run log, dead letters, leases.
