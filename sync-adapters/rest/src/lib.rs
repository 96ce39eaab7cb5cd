//! An HTTP client for APIs, and a declarative REST source over it.
