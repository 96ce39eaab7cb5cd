//! How often and how long to try again.
