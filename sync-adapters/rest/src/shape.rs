//! What an answer looks like, for an error: names of members and kinds of values, never a value.

use serde_json::Value;

use crate::format::Bodies;
use crate::redact::Redactor;

/// The longest description, bytes.
const LONGEST: usize = 200;
/// How deep it goes.
const DEEPEST: usize = 4;
/// Names longer than this are taken for values.
const LONGEST_NAME: usize = 40;

/// The shape of a body: of JSON its members, of markup its elements, of anything else its size.
pub(crate) fn shape(body: &[u8], bodies: &Bodies, redactor: &Redactor) -> String {
    let json = match bodies.json(body, body.len() as u64) {
        Ok(json) if bodies.looks(body) => serde_json::from_slice(&json).ok(),
        _ => serde_json::from_slice(body).ok(),
    };
    let mut text = String::new();
    match json {
        Some(json) => of_value(&json, 0, redactor, &mut text),
        None if body.trim_ascii_start().first() == Some(&b'<') => of_markup(body, &mut text),
        None => return format!("{} bytes that are neither JSON nor markup", body.len()),
    }
    cut(text)
}

fn of_value(value: &Value, depth: usize, redactor: &Redactor, out: &mut String) {
    match value {
        _ if out.len() > LONGEST => {}
        Value::Null => out.push_str("null"),
        Value::Bool(_) => out.push_str("true or false"),
        Value::Number(_) => out.push_str("number"),
        Value::String(_) => out.push_str("text"),
        Value::Array(items) => match items.first() {
            None => out.push_str("[]"),
            Some(first) => {
                out.push_str(&format!("[{} × ", items.len()));
                of_value(first, depth, redactor, out);
                out.push(']');
            }
        },
        Value::Object(_) if depth >= DEEPEST => out.push_str("{…}"),
        Value::Object(members) => {
            out.push('{');
            for (index, (name, member)) in members.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                out.push_str(&of_name(&redactor.clean(name)));
                out.push_str(": ");
                of_value(member, depth + 1, redactor, out);
            }
            out.push('}');
        }
    }
}

/// A name. In an object keyed by id or address, names are values: digits and what looks like an address are not kept.
fn of_name(name: &str) -> String {
    let plain = name.chars().all(|c| matches!(c, ' '..='~')) && name.len() <= LONGEST_NAME;
    match plain && !name.chars().skip(1).any(|c| c == '@') {
        true => name.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect(),
        false => "…".to_owned(),
    }
}

/// The names of the elements, in their order.
fn of_markup(body: &[u8], out: &mut String) {
    for piece in body.split(|byte| *byte == b'<').skip(1) {
        let name: String = piece
            .iter()
            .take(LONGEST_NAME)
            .take_while(|byte| byte.is_ascii_alphanumeric() || b"!-:".contains(byte))
            .map(|byte| char::from(*byte))
            .collect();
        if !name.is_empty() {
            out.push_str(&format!("<{}>", of_name(&name)));
        }
        if out.len() > LONGEST {
            return;
        }
    }
}

fn cut(mut text: String) -> String {
    if text.len() > LONGEST {
        let end = (0..=LONGEST - '…'.len_utf8()).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_kinds_are_shown_and_values_are_not() {
        let body =
            br#"{"items": [{"id": 4711, "name": "Jane", "tags": []}, {}], "4711": null, "jane@x.example": true}"#;
        let want = "{0000: null, items: [2 × {id: number, name: text, tags: []}], …: true or false}";
        assert_eq!(shape(body, &Bodies::Json, &Redactor::default()), want);
    }

    #[test]
    fn a_page_for_people_is_shown_by_its_elements_and_a_text_by_its_size() {
        let html = b"<!DOCTYPE html><html lang=\"en\"><title>Order 4711 of Jane</title></html>";
        assert_eq!(shape(html, &Bodies::Json, &Redactor::default()), "<!DOCTYPE><html><title>");
        assert_eq!(
            shape(b"id;name\n1;Jane", &Bodies::Json, &Redactor::default()),
            "14 bytes that are neither JSON nor markup"
        );
    }

    #[test]
    fn a_shape_is_never_longer_than_200_bytes() {
        let wide: String = (0..500).map(|n| format!("\"n{}\": [[[1]]],", "x".repeat(n % 7))).collect();
        for body in
            [format!("{{{wide}\"z\": 1}}"), "<ä><b>".repeat(200), format!("{}{}", "[".repeat(100), "]".repeat(100))]
        {
            let text = shape(body.as_bytes(), &Bodies::Json, &Redactor::default());
            assert!(text.len() <= 200 && text.ends_with('…') || text.starts_with("[1"), "{} {text}", text.len());
        }
    }
}
