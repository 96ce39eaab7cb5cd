//! A column of somebody else's table: how it is asked for, and how a value of it becomes a bound again.

use sync_core::Value;
use sync_core::model::Kind;

/// A column as the catalogue of the server describes it.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    /// The type as a person reads it.
    pub(super) declared: String,
    pub(super) form: Form,
    pub(super) required: bool,
    pub(super) computed: bool,
}

/// What kind of values a type has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    Integer {
        unsigned: bool,
    },
    Bits,
    Year,
    Decimal {
        scale: u8,
    },
    Float {
        single: bool,
    },
    Date,
    DateTime,
    Time,
    Text {
        charset: String,
        collation: String,
    },
    Json,
    /// One of a list of texts, or several; kept, and ordered, by their numbers.
    Choice,
    Bytes,
    /// Types that compare with the text they are written as: UUIDs and addresses.
    Written,
    Unknown,
}

impl Form {
    /// The form of a type: its name without digits, the whole of it, and for texts how they are kept.
    pub(super) fn of(name: &str, declared: &str, charset: Option<String>, collation: Option<String>) -> Self {
        match (name, charset, collation) {
            ("tinyint" | "smallint" | "mediumint" | "int" | "bigint", ..) => {
                Self::Integer { unsigned: declared.contains("unsigned") }
            }
            ("bit", ..) => Self::Bits,
            ("year", ..) => Self::Year,
            ("decimal", ..) => Self::Decimal { scale: digits(declared).map_or(0, |(_, scale)| scale) },
            ("float", ..) => Self::Float { single: true },
            ("double", ..) => Self::Float { single: false },
            ("date", ..) => Self::Date,
            ("datetime" | "timestamp", ..) => Self::DateTime,
            ("time", ..) => Self::Time,
            ("json", ..) => Self::Json,
            ("enum" | "set", ..) => Self::Choice,
            ("char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext", Some(charset), Some(collation)) => {
                Self::Text { charset, collation }
            }
            ("binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob", ..) => Self::Bytes,
            ("uuid" | "inet4" | "inet6", ..) => Self::Written,
            _ => Self::Unknown,
        }
    }

    /// How a value is asked for, so that it comes as a text, or as bytes, or as a `double`.
    ///
    /// Texts and bytes come as they are: a cast would cut what is longer than a packet.
    pub(super) fn asked(&self, column: &str) -> String {
        match self {
            Self::Float { .. } => format!("CAST({column} AS DOUBLE)"),
            Self::Bits => format!("CAST(CAST({column} AS UNSIGNED) AS CHAR)"),
            Self::Text { .. } | Self::Json | Self::Choice | Self::Bytes => column.to_owned(),
            _ => format!("CAST({column} AS CHAR)"),
        }
    }

    /// What tells the place of a row, where its value does not.
    pub(super) fn asked_place(&self, column: &str) -> Option<String> {
        match self {
            Self::Choice => Some(format!("CAST({column} + 0 AS CHAR)")),
            // Not every letter of these sets comes back from Unicode as it went there.
            Self::Text { charset, .. }
                if !matches!(charset.as_str(), "utf8mb4" | "utf8mb3" | "utf8" | "ascii" | "latin1") =>
            {
                Some(format!("HEX({column})"))
            }
            _ => None,
        }
    }

    /// A bound, in the column's own type and collation, so that an index answers and nothing is rounded.
    pub(super) fn bound(&self) -> String {
        match self {
            Self::Integer { unsigned: false } => "CAST(? AS SIGNED)".to_owned(),
            Self::Integer { .. } | Self::Bits | Self::Year | Self::Choice => "CAST(? AS UNSIGNED)".to_owned(),
            Self::Decimal { scale } => format!("CAST(? AS DECIMAL(65,{scale}))"),
            Self::Float { .. } => "CAST(? AS DOUBLE)".to_owned(),
            Self::Date => "CAST(? AS DATE)".to_owned(),
            Self::DateTime => "CAST(? AS DATETIME(6))".to_owned(),
            Self::Time => "CAST(? AS TIME(6))".to_owned(),
            Self::Text { charset, collation } => {
                let given = if self.asked_place("").is_some() { "UNHEX(?)" } else { "?" };
                format!("CONVERT({given} USING {charset}) COLLATE {collation}")
            }
            Self::Json | Self::Bytes | Self::Written | Self::Unknown => "?".to_owned(),
        }
    }

    /// Whether a saved value can be a bound of this column. What cannot be cast would be null, and hide all that follows.
    pub(super) fn takes(&self, value: &Value) -> bool {
        let text = match value {
            Value::Bytes(_) => return *self == Self::Bytes,
            Value::Text(text) => text,
            _ => return false,
        };
        let plain = |letters: &str| !text.is_empty() && text.chars().all(|l| l.is_ascii_digit() || letters.contains(l));
        match self {
            Self::Integer { unsigned: false } => text.parse::<i64>().is_ok(),
            Self::Integer { .. } | Self::Bits | Self::Year | Self::Choice => text.parse::<u64>().is_ok(),
            Self::Decimal { .. } => plain("-."),
            Self::Float { .. } => text.parse::<f64>().is_ok(),
            Self::Date => text.len() == 10 && plain("-"),
            Self::DateTime => text.len() >= 10 && plain("-: ."),
            Self::Time => text.contains(':') && plain("-:."),
            Self::Bytes => false,
            _ => true,
        }
    }

    /// Whether the order of this column is the one of values of this kind.
    pub(super) fn grows_as(&self, kind: Kind) -> bool {
        let integer = matches!(self, Self::Integer { .. } | Self::Bits | Self::Year);
        match kind {
            Kind::Bool | Kind::Int | Kind::UInt => integer || matches!(self, Self::Decimal { .. }),
            Kind::Float => integer || matches!(self, Self::Float { .. } | Self::Decimal { .. }),
            Kind::Decimal { .. } => integer || matches!(self, Self::Decimal { .. }),
            Kind::Text => matches!(self, Self::Text { .. }),
            Kind::Bytes => *self == Self::Bytes,
            Kind::Timestamp => matches!(self, Self::DateTime | Self::Date),
            Kind::Date => *self == Self::Date,
            _ => false,
        }
    }
}

/// The digits of `decimal(12,2)`: all, and those after the point.
pub(super) fn digits(declared: &str) -> Option<(u8, u8)> {
    let (precision, rest) = declared.strip_prefix("decimal(")?.split_once(',')?;
    Some((precision.parse().ok()?, rest.split_once(')')?.0.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_value_of_another_type_is_no_bound() {
        let takes = |form: Form, text: &str| form.takes(&Value::from(text));
        assert!(takes(Form::DateTime, "2026-01-01 10:20:30.5") && takes(Form::Date, "2026-00-15"));
        assert!(!takes(Form::DateTime, "soon") && !takes(Form::Date, "17") && !takes(Form::DateTime, "17"));
        assert!(takes(Form::Integer { unsigned: true }, "18446744073709551615"));
        assert!(!takes(Form::Integer { unsigned: false }, "18446744073709551615"));
        assert!(takes(Form::Time, "-838:59:59.5") && !takes(Form::Time, "838"));
        assert!(!takes(Form::Bytes, "00ff") && Form::Bytes.takes(&Value::Bytes([0].into())));
    }

    #[test]
    fn digits_are_those_of_the_declared_type() {
        assert_eq!(digits("decimal(12,2)"), Some((12, 2)));
        assert_eq!(digits("decimal(9,0) unsigned zerofill"), Some((9, 0)));
        assert_eq!(digits("int(11)"), None);
    }
}
