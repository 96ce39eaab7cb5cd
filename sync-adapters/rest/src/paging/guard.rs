//! Keeps a listing from going on for ever: pages that come again, and pages without end.

use std::collections::{HashSet, VecDeque};

use sync_core::{Error, ErrorKind};
use xxhash_rust::xxh3::xxh3_128;

use crate::position::PageAt;

/// How far back a page is recognised.
const REMEMBERED: usize = 1024;

/// Tells pages apart that differ by accident. Who makes two of them collide on purpose only ends his own listing.
type Hash = u128;

/// What one listing has seen.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    places: Recent,
    bodies: Recent,
}

#[derive(Debug, Default)]
struct Recent {
    order: VecDeque<Hash>,
    known: HashSet<Hash>,
}

impl Recent {
    /// Whether it is new; it is remembered.
    fn is_new(&mut self, hash: Hash) -> bool {
        if !self.known.insert(hash) {
            return false;
        }
        self.order.push_back(hash);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

impl Guard {
    /// Notes the place of a page before it is fetched or followed. Places that count upwards cannot come again.
    pub(crate) fn visit(&mut self, place: &PageAt) -> Result<(), Error> {
        let text = match place {
            PageAt::Token(token) => token.as_bytes().to_vec(),
            PageAt::Address(address) => address.as_bytes().to_vec(),
            PageAt::After(value) => value.to_string().into_bytes(),
            PageAt::Start | PageAt::Number(_) | PageAt::Offset(_) => return Ok(()),
        };
        match self.places.is_new(xxh3_128(&text)) {
            true => Ok(()),
            false => {
                Err(limit("the source names a page again that was read before: its paging goes round in a circle"))
            }
        }
    }

    /// Notes a page with records by what it holds.
    pub(crate) fn hold(&mut self, body: &[u8]) -> Result<(), Error> {
        match self.bodies.is_new(xxh3_128(body)) {
            true => Ok(()),
            false => Err(limit("the source sends the same page again: does it know the paging parameter?")),
        }
    }
}

pub(crate) fn limit(message: &'static str) -> Error {
    Error::new(ErrorKind::Limit, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_thousand_pages_are_remembered_and_no_more() {
        let mut guard = Guard::default();
        let token = |n: usize| PageAt::Token(n.to_string());
        for n in 0..=REMEMBERED {
            guard.visit(&token(n)).unwrap();
        }
        assert!(guard.visit(&token(1)).is_err());
        assert!(guard.visit(&token(0)).is_ok(), "the oldest is forgotten, so memory is bounded");
    }
}
