//! Values that stand nowhere as they are: one found in a list by its name, and a hash over several.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use serde_json::value::RawValue;

use super::convert::{Clean, unquote};
use super::number::Refusal;
use super::{pointer, scan};

const NO_LIST: Refusal = "no list, where a value is looked up by its name";

/// What is looked for in a list of named values, such as `[{"key": "cust", "value": "new"}]`.
#[derive(Debug, Clone)]
pub(super) struct Finder {
    /// Where an item holds its name.
    pub(super) by: Vec<String>,
    pub(super) name: Box<str>,
    /// Where it holds its value.
    pub(super) value: Vec<String>,
}

impl Finder {
    /// The first value of this name that is not null. An object stands for a list of one, as XML has it; an empty text
    /// for an empty list.
    pub(super) fn find<'a>(&self, raw: &'a str) -> Result<Option<&'a str>, Refusal> {
        let items: Vec<&'a str> = match raw.as_bytes().first() {
            Some(b'n') | None => return Ok(None),
            Some(b'[') => items(raw).ok_or(NO_LIST)?,
            Some(b'{') => vec![raw],
            Some(_) if raw == "\"\"" => return Ok(None),
            Some(_) => return Err(NO_LIST),
        };
        for item in items {
            let named = match at(item, &self.by) {
                Some(name) if name.starts_with('"') => unquote(name)? == *self.name,
                name => name == Some(&*self.name),
            };
            let value = at(item, &self.value).filter(|value| named && !value.starts_with('n'));
            if value.is_some() {
                return Ok(value);
            }
        }
        Ok(None)
    }
}

/// The value at a pointer inside of a value that stands alone.
fn at<'a>(raw: &'a str, steps: &[String]) -> Option<&'a str> {
    steps.iter().try_fold(raw, |raw, step| match raw.as_bytes().first() {
        Some(b'{') => members(raw)?.remove(step.as_str()).map(RawValue::get),
        Some(b'[') => items(raw)?.get(pointer::position(step)?).copied(),
        _ => None,
    })
}

fn items(raw: &str) -> Option<Vec<&str>> {
    let items: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
    Some(items.into_iter().map(RawValue::get).collect())
}

fn members(raw: &str) -> Option<HashMap<String, &RawValue>> {
    serde_json::from_str(raw).ok()
}

/// 32 hexadecimal digits (128 bits of BLAKE3) over these values in this order; `None` where none of them is there.
///
/// A value counts by its text, so that `3` and `"3"` are one, and is cleaned as the column says first. Nested data
/// counts whatever the order of its members.
pub(super) fn fingerprint<'a>(
    values: impl Iterator<Item = Option<&'a str>>,
    clean: &Clean,
) -> Result<Option<String>, Refusal> {
    let (mut hasher, mut any) = (blake3::Hasher::new(), false);
    for raw in values {
        let text = raw.filter(|raw| !raw.starts_with('n')).map(text).transpose()?;
        let Some(text) = text.as_deref().and_then(|text| clean.plain(text)) else {
            hasher.update(&[0]);
            continue;
        };
        any = true;
        hasher.update(&[1]).update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    }
    let hash = hasher.finalize();
    Ok(any.then(|| hash.as_bytes()[..16].iter().map(|byte| format!("{byte:02x}")).collect()))
}

fn text(raw: &str) -> Result<Cow<'_, str>, Refusal> {
    match raw.as_bytes().first() {
        Some(b'"') => unquote(raw),
        Some(b'{' | b'[') => {
            if scan::has_lone_surrogate(raw) {
                return unquote(raw).and(Err("nested data with an escape that is no character"));
            }
            let mut plain = String::with_capacity(raw.len());
            sorted(raw, &mut plain).ok_or("nested data that cannot be read")?;
            Ok(plain.into())
        }
        _ => Ok(raw.into()),
    }
}

/// Nested data with the members of objects in the order of their names.
fn sorted(raw: &str, out: &mut String) -> Option<()> {
    match raw.as_bytes().first() {
        Some(b'{') => {
            out.push('{');
            for (name, value) in serde_json::from_str::<BTreeMap<String, &RawValue>>(raw).ok()? {
                out.push_str(&serde_json::Value::from(name).to_string());
                out.push(':');
                sorted(value.get(), out)?;
                out.push(',');
            }
            out.push('}');
        }
        Some(b'[') => {
            out.push('[');
            for item in items(raw)? {
                sorted(item, out)?;
                out.push(',');
            }
            out.push(']');
        }
        Some(b'"') => out.push_str(&serde_json::Value::from(&*unquote(raw).ok()?).to_string()),
        _ => out.push_str(raw),
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(values: &[Option<&str>]) -> Option<String> {
        fingerprint(values.iter().copied(), &Clean::default()).unwrap()
    }

    #[test]
    fn a_hash_tells_values_apart_and_knows_each_in_whatever_form() {
        let hashes = [
            hash(&[Some("\"a\""), Some("\"b\"")]),
            hash(&[Some("\"ab\""), Some("\"\"")]),
            hash(&[Some("\"ab\""), None]),
            hash(&[None, Some("\"ab\"")]),
            hash(&[Some("\"b\""), Some("\"a\"")]),
        ];
        let different: std::collections::HashSet<_> = hashes.iter().collect();
        assert_eq!(different.len(), hashes.len());
        assert_eq!(hash(&[Some("3"), Some("null")]), hash(&[Some("\"3\""), None]));
        assert_eq!(hash(&[Some(r#"{"a":1,"b":[2, "c"]}"#)]), hash(&[Some(r#"{ "b":[2,"c"],"a":1}"#)]));
        assert_ne!(hash(&[Some(r#"{"a":[1,2]}"#)]), hash(&[Some(r#"{"a":[2,1]}"#)]));
        assert_eq!(hash(&[None, Some("null")]), None);
    }

    /// Keys that were made yesterday are made today.
    #[test]
    fn a_hash_never_changes() {
        let hash = hash(&[Some("\"2026-03-01\""), None, Some("624")]);
        assert_eq!(hash.as_deref(), Some("696560453ebdc7b16430b035204d0014"));
    }

    #[test]
    fn a_value_is_found_by_its_name_be_the_list_one_or_many() {
        let finder = |by: &str, value: &str| Finder {
            by: pointer::steps(by).unwrap(),
            name: "cust".into(),
            value: pointer::steps(value).unwrap(),
        };
        let pairs = finder("/key", "/value");
        let list = r#"[{"key":"x","value":1},{"key":"cust","value":null},{"value":"new","key":"cust"},7]"#;
        assert_eq!(pairs.find(list), Ok(Some("\"new\"")));
        assert_eq!(pairs.find(r#"{"key":"cust","value":{"a":1}}"#), Ok(Some(r#"{"a":1}"#)));
        assert_eq!([pairs.find("[]"), pairs.find("null"), pairs.find("\"\"")], [Ok(None), Ok(None), Ok(None)]);
        assert_eq!(pairs.find("\"cust\""), Err(NO_LIST));
        assert_eq!(finder("/0", "/1").find(r#"[["x","y"],["cust",5]]"#), Ok(Some("5")));
    }
}
