//! Dates in HTTP headers: all three forms of RFC 9110 §5.6.7.

use chrono::{DateTime, NaiveDateTime, Utc};
use http::HeaderMap;
use http::header::DATE;

/// The instant a header value names.
pub(crate) fn parse(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
        .map(|at| at.and_utc())
}

/// When the other side sent the response, by its own clock.
pub(crate) fn sent_at(headers: &HeaderMap) -> Option<DateTime<Utc>> {
    headers.get(DATE).and_then(|value| value.to_str().ok()).and_then(parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_name_the_same_instant() {
        let want = DateTime::parse_from_rfc3339("1994-11-06T08:49:37Z").unwrap();
        for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(parse(text), Some(want.into()), "{text}");
        }
        assert_eq!(parse("120"), None);
    }
}
