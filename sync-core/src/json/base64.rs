//! Bytes from base64: the standard alphabet with padding, RFC 4648 section 4, in its one canonical form.

/// The bytes, or `None` where the text is not canonical base64.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text.iter().rev().take(2).take_while(|byte| **byte == b'=').count();
    let signs = &text[..text.len() - padding];
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    for group in signs.chunks(4) {
        let mut bits = 0_u32;
        for sign in group {
            bits = bits << 6 | u32::from(value(*sign)?);
        }
        bits <<= 6 * (4 - group.len());
        let whole = group.len() - 1;
        let bytes = bits.to_be_bytes();
        if bytes[1 + whole..].iter().any(|rest| *rest != 0) {
            return None;
        }
        out.extend_from_slice(&bytes[1..1 + whole]);
    }
    Some(out)
}

fn value(sign: u8) -> Option<u8> {
    match sign {
        b'A'..=b'Z' => Some(sign - b'A'),
        b'a'..=b'z' => Some(sign - b'a' + 26),
        b'0'..=b'9' => Some(sign - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_4648_are_read() {
        for (text, bytes) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYg==", "foob"), ("Zm9vYmFy", "foobar")]
        {
            assert_eq!(decode(text).unwrap(), bytes.as_bytes());
        }
        assert_eq!(decode("+/+/").unwrap(), [0xfb, 0xff, 0xbf]);
    }

    #[test]
    fn only_the_canonical_form_is_read() {
        for text in ["Zg", "Zg=", "Zh==", "Zm9=", "=", "====", "Z===", "Zg==Zg==", "Zm 9", "_-_-"] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }
}
