//! Texts with variables in braces: `/accounts/{account}/orders`.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use sync_core::{Error, Result};

/// What may stand in a path segment as it is (RFC 3986 §2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The variables of one request. Names used by the adapter itself are `page`, `offset`, `cursor`, `after`, `size`,
/// `since`, `from` and `to`; the others are those of the partition.
pub(crate) type Variables = BTreeMap<String, String>;

/// The text with its variables put in; `None` when one of them has no value now (there is no cursor on the first page).
pub(crate) fn fill(text: &str, variables: &Variables) -> Option<String> {
    replace(text, variables, |value, out| out.push_str(value))
}

/// The path with its variables put in, each as a part of one segment.
///
/// # Errors
/// `Config` when a variable is missing, or would change the path's structure.
pub(crate) fn fill_path(text: &str, variables: &Variables) -> Result<String> {
    let mut harmless = true;
    let filled = replace(text, variables, |value, out| {
        harmless &= !matches!(value, "" | "." | "..");
        out.extend(utf8_percent_encode(value, SEGMENT));
    });
    if !harmless {
        return Err(Error::config("a variable in the path is empty or a dot segment").with("path", text));
    }
    filled.ok_or_else(|| Error::config("a variable in the path has no value").with("path", text))
}

/// A JSON body with its variables put in. A text that is one variable alone becomes a number where the value is one;
/// a member whose variable has no value is left out.
pub(crate) fn fill_json(body: &Value, variables: &Variables) -> Option<Value> {
    Some(match body {
        Value::String(text) => {
            let filled = fill(text, variables)?;
            let alone = text.starts_with('{') && text.ends_with('}') && text.matches('{').count() == 1;
            match filled.parse::<i64>() {
                Ok(number) if alone && number.to_string() == filled => Value::from(number),
                _ => Value::String(filled),
            }
        }
        Value::Array(items) => items.iter().filter_map(|item| fill_json(item, variables)).collect(),
        Value::Object(members) => {
            let filled =
                members.iter().filter_map(|(name, member)| Some((name.clone(), fill_json(member, variables)?)));
            Value::Object(filled.collect())
        }
        other => other.clone(),
    })
}

/// The names of the variables in a text.
pub(crate) fn names(text: &str) -> Vec<&str> {
    text.split('{')
        .skip(1)
        .filter_map(|part| part.split_once('}'))
        .map(|(name, _)| name)
        .filter(|n| is_name(n))
        .collect()
}

/// A variable's name. Anything else in braces is text: GraphQL and JSON are full of them.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn replace(text: &str, variables: &Variables, mut put: impl FnMut(&str, &mut String)) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let after = &rest[open + 1..];
        out.push_str(&rest[..open]);
        match after.split_once('}') {
            Some((name, tail)) if is_name(name) => {
                put(variables.get(name)?, &mut out);
                rest = tail;
            }
            _ => {
                out.push('{');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn variables() -> Variables {
        [("account", "a/b c"), ("page", "3"), ("dots", "..")].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    }

    #[test]
    fn a_variable_cannot_leave_its_segment() {
        assert_eq!(fill_path("/x/{account}/y/", &variables()).unwrap(), "/x/a%2Fb%20c/y/");
        assert!(fill_path("/x/{dots}", &variables()).is_err());
        assert!(fill_path("/x/{cursor}", &variables()).is_err());
    }

    #[test]
    fn a_body_keeps_numbers_and_leaves_out_what_has_no_value() {
        let body =
            json!({"page": "{page}", "cursor": "{cursor}", "text": "p{page}", "q": "query { a { b } }", "n": [1]});
        let want = json!({"page": 3, "text": "p3", "q": "query { a { b } }", "n": [1]});
        assert_eq!(fill_json(&body, &variables()), Some(want));
    }
}
