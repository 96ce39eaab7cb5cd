//! The member that wraps a record: looked for before the record is read.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::fault::Fault;
use super::record::Walk;

impl<'de> Walk<'_, 'de> {
    /// Cuts a record out of its wrapper, if it has one. The depth is that of what is cut out.
    pub(super) fn unwrap(
        &mut self,
        raw: &'de str,
        depth: usize,
        wrapper: Option<&str>,
    ) -> Result<(&'de str, usize), &'static str> {
        self.skip(raw, depth)?;
        match wrapper.map(|member| unwrapped(raw, member)) {
            None => Ok((raw, depth)),
            Some(Ok(inner)) => Ok((inner, depth + 1)),
            Some(Err(fault)) => Err(self.stop(fault)),
        }
    }
}

/// The value of a record's wrapper.
///
/// # Errors
/// The fault, where the record has none or two.
fn unwrapped<'de>(raw: &'de str, member: &str) -> Result<&'de str, Fault> {
    let mut found = None;
    let seed = Find { member, found: &mut found, twice: false };
    let twice = seed.deserialize(&mut serde_json::Deserializer::from_str(raw)).unwrap_or(false);
    match found {
        Some(_) if twice => Err(Fault::Duplicate(member.into())),
        Some(inner) => Ok(inner),
        None => Err(Fault::Refused(format!("the record has no member {member:?}"))),
    }
}

/// Looks for one member and says whether it stands twice.
struct Find<'f, 'de> {
    member: &'f str,
    found: &'f mut Option<&'de str>,
    twice: bool,
}

impl<'de> DeserializeSeed<'de> for Find<'_, 'de> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Find<'_, 'de> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record inside of a member")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<bool, A::Error> {
        while let Some((name, value)) = map.next_entry::<Cow<'de, str>, &RawValue>()? {
            if name == self.member {
                self.twice |= self.found.replace(value.get()).is_some();
            }
        }
        Ok(self.twice)
    }
}
