//! An in-memory source, sink and state store: for tests, docs and simulation.
