//! A piece of a body for an error message: its structure, without its values.

/// The longest sample, bytes.
const LONGEST: usize = 200;
/// Names longer than this are taken for values.
const LONGEST_NAME: usize = 40;

/// Up to 200 bytes around an offset. Names and structure are kept; texts become `…`, digits become `0`.
pub(super) fn sample(body: &[u8], offset: usize) -> String {
    let offset = offset.min(body.len());
    let (before, after) = pieces(body, offset);
    let room = LONGEST - 2 * '…'.len_utf8();
    // Two thirds before the fault, a third behind it; what one side leaves goes to the other.
    let behind = fitting(after.iter(), room / 3).1;
    let (count, used) = fitting(before.iter().rev(), room - behind);
    let (more, _) = fitting(after.iter(), room - used);
    let mut text = String::new();
    if count < before.len() {
        text.push('…');
    }
    text.extend(before[before.len() - count..].iter().map(String::as_str));
    text.extend(after[..more].iter().map(String::as_str));
    if more < after.len() {
        text.push('…');
    }
    text
}

/// How many pieces fit, and the bytes they take.
fn fitting<'a>(pieces: impl Iterator<Item = &'a String>, room: usize) -> (usize, usize) {
    let (mut count, mut used) = (0, 0);
    for piece in pieces {
        if used + piece.len() > room {
            break;
        }
        count += 1;
        used += piece.len();
    }
    (count, used)
}

/// The redacted pieces that begin before the offset, and some of those that follow.
fn pieces(body: &[u8], offset: usize) -> (Vec<String>, Vec<String>) {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < body.len() && after.len() < LONGEST {
        let start = at;
        let piece = match body[at] {
            b'"' => {
                at = string_end(body, at);
                text_or_name(body, start, at)
            }
            byte => {
                at += 1;
                plain(byte)
            }
        };
        if start < offset { before.push(piece) } else { after.push(piece) }
    }
    let far = before.len().saturating_sub(LONGEST);
    (before.split_off(far), after)
}

fn plain(byte: u8) -> String {
    match byte {
        b'0'..=b'9' => "0".to_owned(),
        b' '..=b'~' => char::from(byte).to_string(),
        b'\n' | b'\r' | b'\t' => " ".to_owned(),
        _ => "?".to_owned(),
    }
}

/// One past the quote that ends a string, or the end of the body.
fn string_end(body: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < body.len() && body[at] != b'"' {
        at += if body[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(body.len())
}

/// A string before a colon is the name of a member, anything else a value. In an object keyed by id or address, names
/// are values too: digits and what looks like an address are not kept.
fn text_or_name(body: &[u8], start: usize, end: usize) -> String {
    let text = &body[start..end];
    let before_colon = body[end..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':');
    let plain = text.iter().all(|byte| matches!(byte, b' '..=b'~')) && text.len() <= LONGEST_NAME;
    let address = text.iter().skip(2).any(|byte| *byte == b'@');
    if !before_colon || !plain || address {
        return "\"…\"".to_owned();
    }
    text.iter().map(|byte| if byte.is_ascii_digit() { '0' } else { char::from(*byte) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_structure_are_kept_and_values_are_not() {
        let body = br#"{"id": 4711, "name": "Jane \" Doe", "tags": ["a", true, null], "next": nul}"#;
        let text = sample(body, 70);
        assert_eq!(text, r#"{"id": 0000, "name": "…", "tags": ["…", true, null], "next": nul}"#);
    }

    #[test]
    fn names_that_are_values_are_not_kept_either() {
        let body =
            br#"{"4711": {"@total": 1}, "jane@example.com": {}, "a very long name of more than forty bytes": 1}"#;
        assert_eq!(sample(body, 0), r#"{"0000": {"@total": 0}, "…": {}, "…": 0}"#);
    }

    #[test]
    fn a_sample_is_never_longer_than_200_bytes_and_surrounds_the_fault() {
        let body = format!("[{}!{}]", "1,".repeat(1000), ",2".repeat(1000));
        for offset in [0, 1, 500, 2001, 4000, 4002, 9999] {
            let text = sample(body.as_bytes(), offset);
            assert!(text.len() <= 200 && text.len() > 150, "{} bytes at {offset}", text.len());
        }
        assert!(sample(body.as_bytes(), 2001).contains('!'));
    }

    #[test]
    fn a_text_cut_off_in_the_middle_stays_hidden() {
        assert_eq!(sample(br#"{"secret": "s3cr"#, 16), r#"{"secret": "…""#);
        assert_eq!(sample(b"\"\\", 2), "\"…\"");
        assert_eq!(sample(b"\xff\xfe{\"a\":\xf0}", 9), "??{\"a\":?}");
    }
}
