//! Sources and sinks for SQL databases.
