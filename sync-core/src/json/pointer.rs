//! JSON pointers, RFC 6901: `/amount/value`, with `~1` for a slash and `~0` for a tilde inside a name.

/// The deepest pointer that makes sense: deeper ones would pass the nesting limit of bodies.
const MOST_STEPS: usize = 32;

/// The steps of a pointer; the empty pointer has none and names the whole document.
pub(super) fn steps(pointer: &str) -> Result<Vec<String>, String> {
    let Some(rest) = pointer.strip_prefix('/') else {
        return if pointer.is_empty() {
            Ok(Vec::new())
        } else {
            Err(format!("{pointer:?} is no JSON pointer: write it as \"/{pointer}\" (RFC 6901)"))
        };
    };
    let steps: Vec<String> = rest.split('/').map(|step| unescape(step, pointer)).collect::<Result<_, _>>()?;
    if steps.len() > MOST_STEPS {
        return Err(format!("the JSON pointer {pointer:?} has more than {MOST_STEPS} steps"));
    }
    Ok(steps)
}

fn unescape(step: &str, pointer: &str) -> Result<String, String> {
    let mut name = String::with_capacity(step.len());
    let mut rest = step.chars();
    while let Some(c) = rest.next() {
        match (c, c == '~') {
            (_, false) => name.push(c),
            _ => match rest.next() {
                Some('0') => name.push('~'),
                Some('1') => name.push('/'),
                _ => return Err(format!("the JSON pointer {pointer:?} has a `~` that is neither `~0` nor `~1`")),
            },
        }
    }
    Ok(name)
}

/// Where a value is taken from, as it is declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stand {
    /// In the record: the steps of a pointer.
    Here(Vec<String>),
    /// In the record around, where records are exploded: `^/id`.
    Around(Box<str>, Vec<String>),
    /// Given with the read, and the same for all of its records: `{account}`.
    Given(Box<str>),
}

/// A place as it is declared: a pointer, one into the record around, or a name in braces for a value that is given
/// with the read.
pub(super) fn stand(text: &str) -> Result<Stand, String> {
    if let Some(path) = text.strip_prefix('^') {
        return steps(path).map(|steps| Stand::Around(text.into(), steps));
    }
    let Some(name) = text.strip_prefix('{') else { return steps(text).map(Stand::Here) };
    match name.strip_suffix('}').filter(|name| !name.is_empty() && !name.contains(['{', '}'])) {
        Some(_) => Ok(Stand::Given(text.into())),
        None => Err(format!("{text:?} is no name in braces: write it as \"{{account}}\"")),
    }
}

/// The position in an array that a step names: digits without leading zeros.
pub(super) fn position(step: &str) -> Option<usize> {
    let plain = step == "0" || (!step.starts_with('0') && step.bytes().all(|byte| byte.is_ascii_digit()));
    if plain { step.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_cut_at_slashes_and_unescaped() {
        assert_eq!(steps("").unwrap(), Vec::<String>::new());
        assert_eq!(steps("/a/b~1c/d~0e/").unwrap(), ["a", "b/c", "d~e", ""]);
    }

    #[test]
    fn a_pointer_without_a_slash_or_with_a_bare_tilde_is_refused_with_what_to_write() {
        assert!(steps("data").unwrap_err().contains("\"/data\""));
        assert!(steps("/a~2").unwrap_err().contains("~0"));
        assert!(steps(&"/a".repeat(33)).is_err());
    }

    #[test]
    fn a_name_in_braces_is_given_with_the_read() {
        assert_eq!(stand("{account}").unwrap(), Stand::Given("{account}".into()));
        assert_eq!(stand("/{a}").unwrap(), Stand::Here(vec!["{a}".to_owned()]));
        assert!(stand("{account").unwrap_err().contains("{account}"));
        assert!(stand("{}").is_err() && stand("{a}{b}").is_err());
    }

    #[test]
    fn only_plain_digits_name_a_position() {
        assert_eq!(
            [position("0"), position("12"), position("01"), position("-1"), position("")],
            [Some(0), Some(12), None, None, None]
        );
    }
}
