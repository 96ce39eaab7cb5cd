//! CSV to JSON: one object a record, named by the first line.

use csv::{ErrorKind, ReaderBuilder, StringRecord};
use serde_json::Value;
use sync_core::{Error, Result};

use super::{cut_off, too_large};

/// The records as a JSON array of objects. Empty cells are null.
///
/// # Errors
/// `Malformed` for a record with more or fewer cells than there are names, or an end inside of quotes.
pub(super) fn to_json(text: &str, delimiter: u8, quoted: bool, most: usize) -> Result<String> {
    if quoted && ends_in_quotes(text.as_bytes(), delimiter) {
        return Err(cut_off("the body ends inside of quotes"));
    }
    let mut reader = ReaderBuilder::new().delimiter(delimiter).quoting(quoted).from_reader(text.as_bytes());
    let names = reader.headers().map_err(|_| Error::malformed("the first line cannot be read as names"))?;
    let names: Vec<String> = names.iter().map(|name| Value::from(name.trim()).to_string()).collect();
    let (mut json, mut record) = (String::from("["), StringRecord::new());
    loop {
        match reader.read_record(&mut record) {
            Ok(false) => break,
            Ok(true) => {}
            Err(cause) => return Err(fault(&cause, text)),
        }
        json.push_str(if json.len() > 1 { ",{" } else { "{" });
        for (place, (name, cell)) in names.iter().zip(&record).enumerate() {
            if place > 0 {
                json.push(',');
            }
            json.push_str(name);
            json.push(':');
            match cell {
                "" => json.push_str("null"),
                cell => json.push_str(&Value::from(cell).to_string()),
            }
        }
        json.push('}');
        if json.len() > most {
            return Err(too_large(most));
        }
    }
    json.push(']');
    Ok(json)
}

fn fault(cause: &csv::Error, text: &str) -> Error {
    let ErrorKind::UnequalLengths { pos, expected_len, len } = cause.kind() else {
        return Error::malformed("the body is not valid CSV");
    };
    let (byte, line) = pos.as_ref().map_or((0, 0), |pos| (pos.byte(), pos.line()));
    let rest = usize::try_from(byte).ok().and_then(|byte| text.get(byte..)).unwrap_or_default();
    // Only the last record can have been cut off, and only where not even its end is there.
    let is_cut = len < expected_len && !rest.trim_start_matches(['\r', '\n']).contains('\n');
    let error = match is_cut {
        true => cut_off("the body ends before its last record does"),
        false => Error::malformed("a record has more or fewer cells than there are names; is `csv.delimiter` right?"),
    };
    error.with("line", line).with("cells", len).with("names", expected_len)
}

/// Whether a quote is open at the end. A quote opens at the beginning of a cell only, and two of them inside are one.
fn ends_in_quotes(text: &[u8], delimiter: u8) -> bool {
    let (mut open, mut begins, mut at) = (false, true, 0);
    while let Some(byte) = text.get(at) {
        if open {
            match (byte, text.get(at + 1)) {
                (b'"', Some(b'"')) => at += 1,
                (b'"', _) => (open, begins) = (false, false),
                _ => {}
            }
        } else if *byte == b'"' && begins {
            open = true;
        } else {
            begins = *byte == delimiter || matches!(byte, b'\n' | b'\r');
        }
        at += 1;
    }
    open
}

#[cfg(test)]
mod tests {
    use sync_core::Retry;

    use super::*;

    fn json(text: &str) -> Result<String> {
        to_json(text, b',', true, 1000)
    }

    #[test]
    fn cells_stand_below_their_names_and_empty_ones_are_null() {
        let text = "id, Order ID \r\n1,\"a, \"\"b\"\"\nc\"\r\n\r\n2,\n3,\"\"";
        let want = r#"[{"id":"1","Order ID":"a, \"b\"\nc"},{"id":"2","Order ID":null},{"id":"3","Order ID":null}]"#;
        assert_eq!(json(text).unwrap(), want);
        assert_eq!(json("id,n\n").unwrap(), "[]");
    }

    #[test]
    fn delimiters_and_quotes_are_as_declared() {
        assert_eq!(to_json("a|b\n1|5\" pipe\n", b'|', false, 1000).unwrap(), r#"[{"a":"1","b":"5\" pipe"}]"#);
        assert_eq!(json("a,b\n1,5\" pipe\n").unwrap(), r#"[{"a":"1","b":"5\" pipe"}]"#);
    }

    #[test]
    fn an_end_too_early_is_told_from_a_wrong_record() {
        for (text, retry) in [
            ("a,b\n1,2\n3", Retry::Backoff),
            ("a,b\n1,\"2", Retry::Backoff),
            ("a,b\n1,\"2\"\"", Retry::Backoff),
            ("a,b\n1\n3,4\n", Retry::Never),
            ("a,b\n1,2\n3\n", Retry::Never),
            ("a,b\n1,2,3", Retry::Never),
        ] {
            assert_eq!(json(text).unwrap_err().retry(), retry, "{text:?}");
        }
    }

    #[test]
    fn names_written_out_do_not_pass_the_limit() {
        let text = format!("{}\n{}", "n".repeat(90), "1\n".repeat(20));
        assert_eq!(json(&text).unwrap_err().kind(), sync_core::ErrorKind::Limit);
    }
}
