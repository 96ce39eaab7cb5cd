//! Rows that could not be applied, kept until a replay brings them through, a delete of their key makes them obsolete, or
//! somebody drops them.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::{Key, Op, Scope, Value};

/// Why a row is among the dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LetterKind {
    /// It could not be read or written.
    Rejected,
    /// A conflict waits for a person.
    Parked,
}

/// What there is of the row.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LetterBody {
    /// The row, by column name.
    Row {
        /// What the change was to do.
        op: Op,
        /// Column names and values.
        values: Vec<(String, Value)>,
    },
    /// The record as the source sent it, since it could not be read as a row. It is written and printed as text where it
    /// is UTF-8, and as a list of its bytes where it is not; both are read.
    Record(#[serde(with = "record")] Vec<u8>),
}

impl fmt::Debug for LetterBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row { op, values } => f.debug_struct("Row").field("op", op).field("values", values).finish(),
            Self::Record(record) => match std::str::from_utf8(record) {
                Ok(text) => f.debug_tuple("Record").field(&text).finish(),
                Err(_) => f.debug_tuple("Record").field(record).finish(),
            },
        }
    }
}

/// A record as text for the people who look at it, where it is text.
mod record {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(record: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(record) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => serializer.collect_seq(record),
        }
    }

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Text(String),
        Bytes(Vec<u8>),
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        Ok(match Form::deserialize(deserializer)? {
            Form::Text(text) => text.into_bytes(),
            Form::Bytes(bytes) => bytes,
        })
    }
}

/// The same for the same stream, key and body of one partition: a row that fails again does not stand there twice, nor does
/// one that is met by changes and by a listing, in two lanes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LetterId(String);

impl LetterId {
    /// The id of a letter with these parts: a hash of them.
    pub fn of(scope: &Scope, stream: &str, key: Option<&Key>, body: &LetterBody) -> Self {
        let mut hasher = blake3::Hasher::new();
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        part(scope.live().id().as_bytes());
        part(stream.as_bytes());
        let mut bytes = Vec::new();
        for value in key.into_iter().flat_map(Key::values) {
            crate::model::canonical::encode(value.as_ref(), &mut bytes);
        }
        part(&bytes);
        match body {
            LetterBody::Record(record) => part(record),
            LetterBody::Row { op, values } => {
                let mut bytes = vec![u8::from(*op == Op::Delete)];
                for (name, value) in values {
                    bytes.extend_from_slice(name.as_bytes());
                    bytes.push(0);
                    crate::model::canonical::encode(value.as_ref(), &mut bytes);
                }
                part(&bytes);
            }
        }
        Self(hasher.finalize().to_hex().chars().take(32).collect())
    }

    /// The id of one of several letters that are all the same: of rows without a key, in the unit of this sequence, which
    /// each lane counts for itself.
    #[must_use]
    pub fn nth(&self, scope: &Scope, seq: u64, position: usize) -> Self {
        let hash = blake3::hash(format!("{self} {} {seq} {position}", scope.id()).as_bytes());
        Self(hash.to_hex().chars().take(32).collect())
    }

    /// An id a store has kept.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A row that could not be applied, with everything needed to try again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its id.
    pub id: LetterId,
    /// Where it came from.
    pub scope: Scope,
    /// The stream.
    pub stream: String,
    /// The key, where it could be read.
    pub key: Option<Key>,
    /// Why it is here.
    pub kind: LetterKind,
    /// What is wrong with it, without its values.
    pub reason: String,
    /// What there is of it.
    pub body: LetterBody,
    /// When it came here.
    pub at: DateTime<Utc>,
}

/// Which dead letters to read.
#[derive(Debug, Clone, Default)]
pub struct LetterQuery {
    /// Only of this pipeline.
    pub pipeline: Option<String>,
    /// Only of this stream.
    pub stream: Option<String>,
    /// Only of this kind.
    pub kind: Option<LetterKind>,
    /// Only after this one, for the next page. It may have been resolved meanwhile.
    pub after: Option<LetterId>,
    /// At most so many; 0 means 100.
    pub limit: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(bytes: &[u8]) -> LetterBody {
        LetterBody::Record(bytes.to_vec())
    }

    #[test]
    fn a_record_that_is_text_can_be_read_by_a_person() {
        let text = record(r#"{"id":"seven €"}"#.as_bytes());
        assert_eq!(serde_json::to_string(&text).unwrap(), r#"{"record":"{\"id\":\"seven €\"}"}"#);
        assert_eq!(format!("{text:?}"), r#"Record("{\"id\":\"seven €\"}")"#);
    }

    #[test]
    fn every_record_comes_back_as_it_was() {
        for bytes in [&b""[..], b"text", "[1,2]".as_bytes(), &[0, 159, 146, 150, 255], &[0, 10, 0x7f]] {
            let written = serde_json::to_string(&record(bytes)).unwrap();
            assert_eq!(serde_json::from_str::<LetterBody>(&written).unwrap(), record(bytes), "{written}");
        }
    }

    #[test]
    fn letters_of_earlier_versions_are_read() {
        let bytes = r#"{"record":[123,125,255]}"#;
        assert_eq!(serde_json::from_str::<LetterBody>(bytes).unwrap(), record(&[123, 125, 255]));
        let text = r#"{"record":[123,125]}"#;
        assert_eq!(serde_json::from_str::<LetterBody>(text).unwrap(), record(b"{}"));
    }
}
