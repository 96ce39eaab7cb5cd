//! The same assertions on three databases: hostile names and values arrive exactly, or are refused with a reason.

mod given;
mod limits;
mod place;
mod proof;
