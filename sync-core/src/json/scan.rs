//! What JSON text holds beyond its grammar: how deep it nests, and escapes that are no characters.

use std::borrow::Cow;

/// How deep a body may nest: brackets open at once.
pub(super) const DEEPEST: usize = 64;

/// Whether a value inside of `around` open brackets makes more than [`DEEPEST`].
#[inline]
pub(super) fn too_deep(raw: &str, around: usize) -> bool {
    let room = DEEPEST.saturating_sub(around);
    // A value nested deeper than `room` is longer than its brackets alone.
    nested(raw) && raw.len() > 2 * room && depth(raw.as_bytes()) > room
}

/// Whether the value is an object or an array.
#[inline]
pub(super) fn nested(raw: &str) -> bool {
    matches!(raw.as_bytes().first(), Some(b'{' | b'['))
}

fn depth(raw: &[u8]) -> usize {
    let (mut open, mut most, mut at) = (0_usize, 0, 0);
    while at < raw.len() {
        match raw[at] {
            b'"' => at = string_end(raw, at),
            b'{' | b'[' => {
                open += 1;
                most = most.max(open);
            }
            b'}' | b']' => open = open.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    most
}

/// The position of the quote that ends the string beginning at `start`.
fn string_end(raw: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < raw.len() && raw[at] != b'"' {
        at += if raw[at] == b'\\' { 2 } else { 1 };
    }
    at
}

/// Whether an escape names half a character: `\ud83d` without its second half.
pub(super) fn has_lone_surrogate(raw: &str) -> bool {
    let raw = raw.as_bytes();
    let mut at = 0;
    while at < raw.len() {
        if raw[at] != b'\\' {
            at += 1;
            continue;
        }
        match unit(raw, at) {
            Some(0xD800..=0xDBFF) if matches!(unit(raw, at + 6), Some(0xDC00..=0xDFFF)) => at += 12,
            Some(0xD800..=0xDFFF) => return true,
            _ => at += 2,
        }
    }
    false
}

/// The UTF-16 unit of an escape `\uXXXX` at this place.
fn unit(raw: &[u8], at: usize) -> Option<u32> {
    let digits = raw.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// The same JSON without blanks between its signs.
pub(super) fn compact(raw: &str) -> Cow<'_, str> {
    let bytes = raw.as_bytes();
    let blank = |byte: u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
    if !nested(raw) || !bytes.iter().any(|byte| blank(*byte)) {
        return Cow::Borrowed(raw);
    }
    let (mut out, mut at, mut kept) = (String::with_capacity(raw.len()), 0, 0);
    while at < bytes.len() {
        if bytes[at] == b'"' {
            at = string_end(bytes, at);
        } else if blank(bytes[at]) {
            out.push_str(&raw[kept..at]);
            kept = at + 1;
        }
        at += 1;
    }
    out.push_str(&raw[kept..]);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_of_strings() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(!too_deep(&deep(64), 0) && too_deep(&deep(65), 0));
        assert!(!too_deep(&deep(61), 3) && too_deep(&deep(62), 3));
        let text = format!("[\"{}\\\"{}\"]", "[".repeat(100), "{".repeat(100));
        assert!(!too_deep(&text, 3));
    }

    #[test]
    fn half_a_character_is_found_and_a_whole_one_is_not() {
        assert!(has_lone_surrogate(r#""\ud83d""#));
        assert!(has_lone_surrogate(r#""\ude00""#));
        assert!(has_lone_surrogate(r#""\ud83d\u0041""#));
        assert!(!has_lone_surrogate(r#""\ud83d\ude00""#));
        assert!(!has_lone_surrogate(r#""\\ud83d""#));
        assert!(has_lone_surrogate(r#""\\\ud83d""#));
    }

    #[test]
    fn blanks_between_signs_go_and_blanks_in_strings_stay() {
        assert_eq!(compact("{ \"a b\" :\n[1,\t\"\\\" }\"] }"), "{\"a b\":[1,\"\\\" }\"]}");
        assert_eq!(compact("\"a b\""), "\"a b\"");
    }
}
