//! What may be written of an error: enough to act on, and nothing that belongs to somebody.
//!
//! Messages hold no secret and no value of a row by the rule of [`sync_core::Error`]. A file that lies about for years
//! does not rely on every adapter, and every library below it, keeping that rule.

use sync_core::ErrorKind;

/// Characters that are kept of a message.
const MOST: usize = 500;

/// Words that stand before something secret.
const TELLTALES: [&str; 11] = [
    "token",
    "secret",
    "password",
    "passwd",
    "pwd",
    "apikey",
    "api_key",
    "api-key",
    "authorization",
    "signature",
    "credential",
];

/// What the file says of an error.
pub(crate) fn of(kind: Option<ErrorKind>, message: &str) -> String {
    match kind {
        // These speak of rows, and some of them quote what they found.
        Some(kind @ (ErrorKind::Data | ErrorKind::Malformed | ErrorKind::Conflict | ErrorKind::Internal)) => {
            format!("{}: {}", kind.name(), kind.remedy())
        }
        Some(kind) => format!("{}: {}", kind.name(), redacted(message)),
        None => redacted(message),
    }
}

fn redacted(message: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut hide_next = false;
    for word in message.split(|character: char| character.is_whitespace() || character.is_control()) {
        if word.is_empty() {
            continue;
        }
        let lower = word.to_ascii_lowercase();
        let scheme = matches!(lower.trim_matches(|c: char| !c.is_alphanumeric()), "bearer" | "basic");
        let told = TELLTALES.iter().find_map(|telltale| lower.find(telltale).map(|at| at + telltale.len()));
        let assigned = told.and_then(|end| lower[end..].find(['=', ':']).map(|at| end + at));
        words.push(match assigned {
            _ if hide_next && !scheme => "…".to_owned(),
            Some(at) => format!("{}…", &word[..=at]),
            None => address_without_secrets(word),
        });
        // `token: abc` and `Authorization: Bearer abc` keep it in the words that follow.
        hide_next = scheme || assigned.is_some_and(|at| lower[at + 1..].trim_matches('"').is_empty());
    }
    let text = words.join(" ");
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A word without what an address must not show: name and password, query and fragment. Long runs of letters and
/// digits that are no word are hidden too.
fn address_without_secrets(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else {
        return if is_opaque(word) { "…".to_owned() } else { word.to_owned() };
    };
    // A password may hold any sign, unescaped: what stands before the last `@` goes, wherever that is.
    let (name, rest) = rest.rsplit_once('@').map_or(("", rest), |(_, rest)| ("…@", rest));
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let parts: Vec<&str> = rest[..end].split('/').map(|part| if is_opaque(part) { "…" } else { part }).collect();
    let cut = if end < rest.len() { "?…" } else { "" };
    format!("{scheme}://{name}{}{cut}", parts.join("/"))
}

fn is_opaque(word: &str) -> bool {
    let mut runs = word.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    word.contains("eyJ") || runs.any(|run| run.len() >= 32 && run.contains(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_somebody_is_not_written() {
        for (message, written) in [
            ("connection refused", "unavailable: connection refused"),
            (
                "GET https://ann:hunter2@shop.example/orders?key=hunter2",
                "unavailable: GET https://…@shop.example/orders?…",
            ),
            ("sent Authorization: Bearer hunter2 to it", "unavailable: sent Authorization:… Bearer … to it"),
            ("opening postgres://ann:hun?t/er2@db/shop", "unavailable: opening postgres://…@db/shop"),
            ("api_key=hunter2, retried", "unavailable: api_key=… retried"),
            ("with {\"access_token\":\"hunter2\"}", "unavailable: with {\"access_token\":…"),
            ("password: hunter2", "unavailable: password:… …"),
            ("cookie eyJhbGciOiJIUzI1NiJ9.e30.hunter2", "unavailable: cookie …"),
            ("two\nlines\u{1b}[31m", "unavailable: two lines [31m"),
        ] {
            assert_eq!(of(Some(ErrorKind::Unavailable), message), written);
        }
    }

    #[test]
    fn errors_that_speak_of_rows_are_told_by_their_kind_and_remedy() {
        let written = of(Some(ErrorKind::Data), "the value \"Ann Smith\" does not fit");
        assert_eq!(written, format!("data: {}", ErrorKind::Data.remedy()));
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let written = of(None, &"ü".repeat(2000));
        assert_eq!(written.chars().count(), MOST + 1);
    }
}
