//! One value out of a JSON document by JSON pointer (RFC 6901), without building the rest of it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// The value the pointer names; `None` when it is not there or the document cannot be read.
pub(crate) fn pick(document: &[u8], pointer: &str) -> Option<Value> {
    let steps = steps(pointer)?;
    let mut reader = serde_json::Deserializer::from_slice(document);
    let found = Step(&steps).deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    found
}

/// Whether this is a JSON pointer.
pub(crate) fn is_pointer(text: &str) -> bool {
    text.is_empty() || text.starts_with('/')
}

/// The steps of a JSON pointer; `None` when it is none.
pub(crate) fn steps(pointer: &str) -> Option<Vec<String>> {
    if pointer.is_empty() {
        return Some(Vec::new());
    }
    let rest = pointer.strip_prefix('/')?;
    Some(rest.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect())
}

struct Step<'a>(&'a [String]);

impl<'de> DeserializeSeed<'de> for Step<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.0.is_empty() {
            return serde::Deserialize::deserialize(deserializer).map(Some);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Step<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if name == self.0[0].as_str() {
                found = map.next_value_seed(Step(&self.0[1..]))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let wanted: Option<usize> = self.0[0].parse().ok();
        let (mut found, mut index) = (None, 0);
        loop {
            if wanted == Some(index) {
                match seq.next_element_seed(Step(&self.0[1..]))? {
                    Some(value) => found = value,
                    None => return Ok(found),
                }
            } else if seq.next_element::<IgnoredAny>()?.is_none() {
                return Ok(found);
            }
            index += 1;
        }
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_found_wherever_it_stands() {
        let document = br#"{"a":{"b/c":[1,{"d":"x"}],"n":null},"e":2}"#;
        assert_eq!(pick(document, "/a/b~1c/1/d"), Some(json!("x")));
        assert_eq!(pick(document, "/e"), Some(json!(2)));
        assert_eq!(pick(document, "/a/n"), Some(Value::Null));
        assert_eq!(pick(document, "/a/missing"), None);
        assert_eq!(pick(document, "/e/deeper"), None);
        assert_eq!(pick(b"<html>", "/e"), None);
        assert_eq!(pick(b"[7]", ""), Some(json!([7])));
    }
}
