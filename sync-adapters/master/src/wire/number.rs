//! Counts and times of writing on the wire: exact for every reader of JSON.

use std::fmt;

use serde::de::{Deserializer, Error, Visitor};
use serde::ser::Serializer;

use super::value::INEXACT;

/// A count: a number, or text where a browser would round it. Both are read.
pub(super) fn serialize<S: Serializer>(count: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    if *count < INEXACT { serializer.serialize_u64(*count) } else { serializer.collect_str(count) }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct Count;
    impl Visitor<'_> for Count {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a count that is not negative")
        }

        fn visit_u64<E: Error>(self, count: u64) -> Result<u64, E> {
            Ok(count)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
            // No sign and no blank: one form for one number.
            match text.bytes().all(|byte| byte.is_ascii_digit()) {
                true => text.parse().map_err(|_| E::custom("not a count")),
                false => Err(E::custom("not a count")),
            }
        }
    }
    deserializer.deserialize_any(Count)
}

/// The time of a write: `milliseconds.counter`, or RFC 3339.
pub(super) mod written {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;
    use sync_core::two_way::Hlc;

    pub(in super::super) fn serialize<S: Serializer>(hlc: &Hlc, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(hlc)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Hlc, D::Error> {
        let text = String::deserialize(deserializer)?;
        read(&text).ok_or_else(|| D::Error::custom("a time is `milliseconds.counter` or RFC 3339"))
    }

    pub(in super::super) fn read(text: &str) -> Option<Hlc> {
        if let Some((millis, counter)) = text.split_once('.')
            && let (Ok(millis), Ok(counter)) = (millis.parse::<u64>(), counter.parse::<u16>())
        {
            return (millis < 1 << 48).then_some(Hlc(millis << 16 | u64::from(counter)));
        }
        chrono::DateTime::parse_from_rfc3339(text).ok().map(|at| Hlc::at(at.to_utc()))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_time_comes_back_with_its_counter() {
            for hlc in [Hlc(0), Hlc(u64::MAX), Hlc(1_763_738_120_123 << 16 | 7)] {
                assert_eq!(read(&hlc.to_string()), Some(hlc));
            }
            assert_eq!(read("2026-11-21T15:15:20.123+01:00"), Some(Hlc(1_795_270_520_123 << 16)));
            assert_eq!([read("1"), read("-1.0"), read("1.65536"), read("yesterday")], [None; 4]);
        }
    }
}
