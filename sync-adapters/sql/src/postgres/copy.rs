//! Many rows at once: a binary `COPY`, <https://www.postgresql.org/docs/current/sql-copy.html>.
//!
//! Its fields are what the types' receive functions read: whole numbers with the highest byte first, texts as they are, a
//! `numeric` in groups of four digits.

use std::fmt;
use std::time::Duration;

use sqlx::PgConnection;
use sqlx::postgres::PgCopyIn;
use sync_core::model::{Changes, Field, Kind};
use sync_core::{Error, Result, ValueRef};

use super::column::{EPOCH_DAYS, text_of, unfit};
use super::error::failed;
use super::query::Plan;

/// Less than so many bytes travel as arrays: a `COPY` is four messages back and forth, which cost the server as much.
const LEAST: usize = 1 << 15;

/// Fewer rows than this are not even tried: only long ones would make a large body.
pub(crate) const MANY: usize = 200;

/// What is handed to the connection at a time, bytes: the server reads it while the next is on its way.
const CHUNK: usize = 1 << 17;

/// For how long the server may take nothing of what is sent.
const STALLED: Duration = Duration::from_secs(10);

/// Copies rows into a table, and says how many it took. After an error the transaction must be rolled back; after
/// [`Cut::Stalled`], the connection must be closed.
pub(crate) async fn copy(
    connection: &mut PgConnection,
    statement: &str,
    body: &[u8],
    what: &'static str,
) -> Result<u64> {
    let mut copying = Copying::begin(connection, statement, what).await?;
    copying.send(body).await?;
    copying.finish().await
}

/// A `COPY` that goes on while more rows are made ready: the server reads some, and the next are written down meanwhile. Errors
/// mean what those of [`copy`] do.
pub(crate) struct Copying<'c> {
    copy: PgCopyIn<&'c mut PgConnection>,
    what: &'static str,
}

impl<'c> Copying<'c> {
    pub(crate) async fn begin(connection: &'c mut PgConnection, statement: &str, what: &'static str) -> Result<Self> {
        let copy = connection.copy_in_raw(statement).await.map_err(|cause| failed(what, cause))?;
        Ok(Self { copy, what })
    }

    pub(crate) async fn send(&mut self, body: &[u8]) -> Result<()> {
        for chunk in body.chunks(CHUNK) {
            match tokio::time::timeout(STALLED, self.copy.send(chunk)).await {
                Ok(sent) => sent.map(drop).map_err(|cause| failed(self.what, cause))?,
                Err(_) => {
                    return Err(Error::unavailable("the server takes no more of the rows").caused_by(Cut::Stalled));
                }
            }
        }
        Ok(())
    }

    /// Ends it, and says how many rows were taken.
    pub(crate) async fn finish(self) -> Result<u64> {
        self.copy.finish().await.map_err(|cause| failed(self.what, cause))
    }
}

/// How a copy ended that the statement which comes instead of it may yet mend: the cause of its error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The server stopped taking rows: it waits for somebody, or for us to read what a trigger says (`RAISE INFO`, which no
    /// setting silences), and hears nothing else on this connection.
    Stalled,
    /// A unit that takes nothing else back by itself was refused.
    NotNew,
}

impl Cut {
    pub(crate) fn ended(self, error: &Error) -> bool {
        std::error::Error::source(error).and_then(<dyn std::error::Error>::downcast_ref) == Some(&self)
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stalled => write!(f, "nothing was taken for {} s", STALLED.as_secs()),
            Self::NotNew => f.write_str("one of them is there already, or is refused"),
        }
    }
}

impl std::error::Error for Cut {}

/// Whether `COPY` does to this table what `INSERT` does: it passes by the rules of a table, and neither views nor tables that
/// hide rows take it. And whether the table still has the key that refuses a row which is there already, if there is to be one:
/// a key knows nothing of rows in tables that inherit.
pub(crate) async fn takes(connection: &mut PgConnection, plan: &Plan<'_>) -> Result<bool> {
    let mut key = plan.stream.key_columns().to_vec();
    key.sort();
    let taken: Option<bool> = sqlx::query_scalar(
        "SELECT (relkind = 'p' OR relkind = 'r' AND NOT relhassubclass) AND NOT relhasrules AND NOT row_security_active(oid)
           AND (cardinality($2::text[]) = 0 OR EXISTS (
             SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate
               AND i.indpred IS NULL AND i.indexprs IS NULL
               AND (SELECT array_agg(a.attname::text ORDER BY a.attname::text COLLATE \"C\") FROM pg_attribute a
                    WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey)) = $2))
         FROM pg_class c WHERE oid = to_regclass($1)",
    )
    .bind(&plan.table)
    .bind(key)
    .fetch_optional(connection)
    .await
    .map_err(|cause| failed("the table cannot be looked at", cause).with("table", plan.stream.name()))?;
    Ok(taken.unwrap_or_default())
}

/// Rows in the format of a binary `COPY`.
#[derive(Debug)]
pub(crate) struct Body(Vec<u8>);

impl Body {
    /// A body of about so many rows.
    pub(crate) fn new(rows: usize) -> Self {
        let mut body = Vec::with_capacity(32 + rows * 128);
        // The signature, no flags, no extension.
        body.extend_from_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
        Self(body)
    }

    /// Adds these changes with all their columns.
    ///
    /// # Errors
    /// `Data` with the row's position when PostgreSQL cannot hold a value exactly.
    pub(crate) fn add(&mut self, plan: &Plan<'_>, changes: &Changes, rows: &[usize], step: usize) -> Result<()> {
        for &row in rows {
            self.begin(plan.stream.schema().width());
            self.row(plan, changes, row, step)?;
        }
        Ok(())
    }

    /// Begins a row of so many fields.
    pub(crate) fn begin(&mut self, fields: usize) {
        // No table has more than 1,600 columns.
        self.0.extend_from_slice(&(fields as i16).to_be_bytes());
    }

    /// The fields of a change.
    pub(crate) fn row(&mut self, plan: &Plan<'_>, changes: &Changes, row: usize, step: usize) -> Result<()> {
        let values = changes.rows().row(row);
        for (column, field) in plan.stream.schema().fields().iter().enumerate() {
            self.value(values.at(column), field)
                .map_err(|error| error.with("stream", plan.stream.name()).at_row(step, row))?;
        }
        Ok(())
    }

    /// One more field.
    pub(crate) fn value(&mut self, value: ValueRef<'_>, field: &Field) -> Result<()> {
        match (field.kind(), value) {
            (_, ValueRef::Null) => self.0.extend_from_slice(&(-1_i32).to_be_bytes()),
            (Kind::Bool, ValueRef::Bool(v)) => self.bytes(&[u8::from(v)]),
            (Kind::Int, ValueRef::Int(v)) => self.bytes(&v.to_be_bytes()),
            (Kind::Float, ValueRef::Float(v)) => self.bytes(&(if v == 0.0 { 0.0 } else { v }).to_be_bytes()),
            (Kind::Bytes, ValueRef::Bytes(v)) => self.bytes(v),
            (Kind::Timestamp, ValueRef::Timestamp(v)) => {
                let since_2000 = v.to_datetime().and_then(|_| v.micros().checked_sub(EPOCH_DAYS * 86_400_000_000));
                let micros = since_2000.ok_or_else(|| unfit(field, "its year lies outside what PostgreSQL holds"))?;
                self.bytes(&micros.to_be_bytes());
            }
            (Kind::Date, ValueRef::Date(v)) => {
                let days = v.signed_duration_since(chrono::NaiveDate::default()).num_days() - EPOCH_DAYS;
                let days =
                    i32::try_from(days).map_err(|_| unfit(field, "its year lies outside what PostgreSQL holds"))?;
                self.bytes(&days.to_be_bytes());
            }
            (Kind::Bool | Kind::Int | Kind::Float | Kind::Bytes | Kind::Timestamp | Kind::Date, other) => {
                return Err(unfit(field, &format!("it is a {}", other.kind_name())));
            }
            (Kind::UInt | Kind::Decimal { .. }, value) => {
                let text = text_of(value, field)?;
                self.numeric(&text).ok_or_else(|| unfit(field, "it is no number"))?;
            }
            (_, ValueRef::Text(v) | ValueRef::Json(v)) if !v.as_bytes().contains(&0) => self.bytes(v.as_bytes()),
            (_, value) => self.bytes(text_of(value, field)?.as_bytes()),
        }
        Ok(())
    }

    /// A whole number of two bytes.
    pub(crate) fn small(&mut self, value: i16) {
        self.bytes(&value.to_be_bytes());
    }

    /// A text, or nothing.
    pub(crate) fn text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.bytes(text.as_bytes()),
            None => self.0.extend_from_slice(&(-1_i32).to_be_bytes()),
        }
    }

    /// Whether it is not so small that arrays are faster.
    pub(crate) fn is_large(&self) -> bool {
        self.0.len() >= LEAST
    }

    /// Whether there is enough to hand it to the connection.
    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= CHUNK
    }

    /// What is ready to be sent; the next rows go behind it.
    pub(crate) fn ready(&self) -> &[u8] {
        &self.0
    }

    /// Forgets what was sent.
    pub(crate) fn sent(&mut self) {
        self.0.clear();
    }

    /// The body with its end.
    pub(crate) fn ended(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&(-1_i16).to_be_bytes());
        self.0
    }

    fn bytes(&mut self, bytes: &[u8]) {
        // The server takes no field of more than 1 GiB, and refuses what says it has less than it has.
        self.0.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
        self.0.extend_from_slice(bytes);
    }

    /// A plain decimal: how many groups, the power of 10,000 of the first, the sign, the digits after the point, the groups.
    fn numeric(&mut self, text: &str) -> Option<()> {
        let (sign, digits) = text.strip_prefix('-').map_or((0_i16, text), |digits| (0x4000, digits));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let (before, after) = (whole.len().div_ceil(4), fraction.len().div_ceil(4));
        let head = [before + after, before.wrapping_sub(1)].map(|number| number as i16);
        self.0.extend_from_slice(&(8 + 2 * (before + after) as i32).to_be_bytes());
        for word in [head[0], head[1], sign, i16::try_from(fraction.len()).ok()?] {
            self.0.extend_from_slice(&word.to_be_bytes());
        }
        let mut word = 0;
        let missing = after * 4 - fraction.len();
        let lead = before * 4 - whole.len();
        let all = whole.bytes().chain(fraction.bytes()).chain(std::iter::repeat_n(b'0', missing));
        for (place, digit) in all.enumerate() {
            word = word * 10 + i16::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
            if (lead + place) % 4 == 3 {
                self.0.extend_from_slice(&word.to_be_bytes());
                word = 0;
            }
        }
        Some(())
    }
}

/// `COPY "orders" ("id", …) FROM STDIN (FORMAT binary)`.
pub(crate) fn into(table: &str, columns: &str) -> String {
    format!("COPY {table} ({columns}) FROM STDIN (FORMAT binary)")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(number: &str) -> Option<Vec<i16>> {
        let mut body = Body(Vec::new());
        body.numeric(number)?;
        let (length, rest) = body.0.split_at(4);
        assert_eq!(i32::from_be_bytes(length.try_into().ok()?) as usize, rest.len());
        Some(rest.chunks(2).map(|word| i16::from_be_bytes([word[0], word[1]])).collect())
    }

    #[test]
    fn a_number_is_written_in_groups_of_four_digits() {
        for (number, expected) in [
            ("0", vec![1, 0, 0, 0, 0]),
            ("7", vec![1, 0, 0, 0, 7]),
            ("-12345.6", vec![3, 1, 0x4000, 1, 1, 2345, 6000]),
            ("0.05", vec![2, 0, 0, 2, 0, 500]),
            ("10000.00010", vec![4, 1, 0, 5, 1, 0, 1, 0]),
        ] {
            assert_eq!(words(number), Some(expected), "{number}");
        }
        assert_eq!(words("12a"), None);
    }
}
