//! The HTTP master of two-way sync.
