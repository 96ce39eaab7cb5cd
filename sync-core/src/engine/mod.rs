//! The run loop and what is built around it.
