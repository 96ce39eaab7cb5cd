//! The suites on the adapters in memory, and on broken twins that they must reject.

mod sink;
