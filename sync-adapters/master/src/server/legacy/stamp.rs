//! The timestamp of a download: an instant whose further digits are a sealed cursor.
//!
//! A time alone cannot say what a slave has: rows become visible in another order than they are stamped (P3). RFC 3339 allows any
//! number of digits after the second, so a slave that sends back what it was given has a cursor without knowing. One that sends a
//! time of its own, or cuts the digits off, gets everything.

use chrono::{DateTime, SecondsFormat, Utc};
use sync_core::Result;
use sync_core::two_way::Position;

use super::super::cursor::CursorKey;

/// What a timestamp says.
#[derive(Debug, PartialEq)]
pub(super) enum Read {
    /// It was given here, to this tenant.
    Ours(Position),
    /// It is a time, and none that was given here for these tables.
    Foreign,
    /// It is no time.
    Bad,
}

/// Digits after the second that are the time itself.
const MICROS: usize = 6;
/// Bytes that say for which tables a cursor is good.
const CHOICE: usize = 8;

/// The tables that a slave asks for, all of them where it names none: a cursor is good for the same tables alone.
pub(super) fn choice(tables: &[String]) -> [u8; CHOICE] {
    let mut tables = tables.to_vec();
    tables.sort();
    tables.dedup();
    let mut choice = [0; CHOICE];
    choice.copy_from_slice(&blake3::hash(tables.join("\n").as_bytes()).as_bytes()[..CHOICE]);
    choice
}

pub(super) fn write(
    at: DateTime<Utc>,
    key: &CursorKey,
    tenant: &str,
    choice: [u8; CHOICE],
    position: &Position,
) -> Result<String> {
    let mut text = at.to_rfc3339_opts(SecondsFormat::Micros, true);
    text.pop();
    let sealed = key.seal_bytes(&bound(tenant, choice), position)?;
    for byte in choice.into_iter().chain(sealed) {
        text.push_str(&format!("{byte:03}"));
    }
    text.push('Z');
    Ok(text)
}

/// `wanted` are the tables it must be good for, where they matter.
pub(super) fn read(text: &str, key: &CursorKey, tenant: &str, wanted: Option<[u8; CHOICE]>) -> Read {
    let Some(at) = text.rfind(['Z', 'z', '+', '-']) else { return Read::Bad };
    let (local, zone) = text.split_at(at);
    let (seconds, digits) = local.split_once('.').unwrap_or((local, ""));
    if DateTime::parse_from_rfc3339(&format!("{seconds}{zone}")).is_err() || !digits.bytes().all(|d| d.is_ascii_digit())
    {
        return Read::Bad;
    }
    let position = || {
        let bytes = digits.get(MICROS..)?.as_bytes().chunks(3).map(byte).collect::<Option<Vec<u8>>>()?;
        let (choice, sealed) = bytes.split_first_chunk::<CHOICE>()?;
        if wanted.is_some_and(|wanted| wanted != *choice) {
            return None;
        }
        key.open_bytes(&bound(tenant, *choice), sealed).ok()
    };
    position().map_or(Read::Foreign, Read::Ours)
}

fn byte(digits: &[u8]) -> Option<u8> {
    match digits {
        [_, _, _] => std::str::from_utf8(digits).ok()?.parse().ok(),
        _ => None,
    }
}

fn bound(tenant: &str, choice: [u8; CHOICE]) -> String {
    format!("{tenant}\nslave {choice:?}")
}

#[cfg(test)]
mod tests {
    use sync_core::two_way::Head;

    use super::*;

    #[test]
    fn a_timestamp_is_one_and_carries_the_cursor() {
        let (key, all) = (CursorKey::new(&[7; 32]).unwrap(), choice(&[]));
        let position = Position::Feed(Head { seq: 5, ..Head::default() });
        let text = write(Utc::now(), &key, "a", all, &position).unwrap();
        assert!(DateTime::parse_from_rfc3339(&text).is_ok(), "{text}");
        assert_eq!(read(&text, &key, "a", Some(all)), Read::Ours(position.clone()));
        assert_eq!(read(&text, &key, "a", None), Read::Ours(position));
        assert_eq!(read(&text, &key, "b", None), Read::Foreign);
        assert_eq!(read(&text, &key, "a", Some(choice(&["one".to_owned()]))), Read::Foreign);
        assert_eq!(read("2026-11-21T15:15:20Z", &key, "a", None), Read::Foreign);
        assert_eq!(read("2026-11-21T15:15:20.123+01:00", &key, "a", None), Read::Foreign);
        for bad in ["yesterday", "", "2026-11-21", "2026-11-21T15:15:20.12x3Z"] {
            assert_eq!(read(bad, &key, "a", None), Read::Bad, "{bad}");
        }
    }
}
