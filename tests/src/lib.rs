//! Tests that need more than one crate. The README's code is one of them: it must compile.

pub mod history;
pub mod selling;
pub mod told;

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
