//! The `Link` header (RFC 8288 §3): the address of the relation asked for.

use http::HeaderMap;
use http::header::LINK;

/// The first target whose relation types include this one.
pub(crate) fn target(headers: &HeaderMap, relation: &str) -> Option<String> {
    headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok()).find_map(|value| in_value(value, relation))
}

fn in_value(value: &str, relation: &str) -> Option<String> {
    let mut rest = value;
    loop {
        let (_, after) = rest.split_once('<')?;
        let (address, after) = after.split_once('>')?;
        let (parameters, next) = parameters(after);
        // §3.3: of several `rel`, the first counts; its value is a list of relation types, in any case.
        let rel = parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case("rel"));
        if rel.is_some_and(|(_, types)| types.split_ascii_whitespace().any(|kind| kind.eq_ignore_ascii_case(relation)))
        {
            return Some(address.trim().to_owned());
        }
        rest = next;
    }
}

/// The parameters of one link, and what comes behind its comma.
fn parameters(text: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let Some(after) = rest.strip_prefix(';') else {
            return (found, rest.strip_prefix(',').unwrap_or(rest));
        };
        let end = after.find(['=', ';', ',']).unwrap_or(after.len());
        let name = after[..end].trim().to_owned();
        rest = &after[end..];
        let Some(value) = rest.strip_prefix('=') else {
            found.push((name, String::new()));
            continue;
        };
        let (value, after) = value_of(value.trim_start());
        found.push((name, value));
        rest = after;
    }
}

fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ',']).unwrap_or(text.len());
        return (text[..end].trim().to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in quoted.char_indices() {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, &quoted[at + 1..]),
            _ => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(value: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(LINK, value.parse().unwrap());
        target(&headers, "next")
    }

    #[test]
    fn the_next_link_is_found_among_others() {
        let found = |value| next(value).unwrap_or_default();
        assert_eq!(found(r#"<https://a.test/?page=2>; rel="next""#), "https://a.test/?page=2");
        assert_eq!(found(r#"</1>; rel=prev, </3,4;x>; title="a, <b>; rel=\"next\""; rel="last next""#), "/3,4;x");
        assert_eq!(found("</2>;REL=Next"), "/2");
        assert_eq!(next(r#"</9>; rel="prev"; rel="next""#), None);
        assert_eq!(next("<"), None);
        assert_eq!(next(""), None);
    }
}
