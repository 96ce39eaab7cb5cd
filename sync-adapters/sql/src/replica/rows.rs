//! Rows under the stamps that they come with: what is done to each, and what is said of one that is refused.

use sync_core::two_way::{Held, RowWrite, Stamp};
use sync_core::{Error, Key, Result, Value};

use super::{Absent, Dialect, Doing, Rule};
use crate::classified::changed_meanwhile;

/// Rows in the order of the keys. A row that was never noticed comes when an audit has found it.
pub(super) async fn scan<D: Dialect>(
    dialect: &D,
    to: &mut D::Connection,
    layout: &D::Layout,
    after: Option<&Key>,
    limit: usize,
) -> Result<Vec<(Key, Stamp, Vec<Value>)>> {
    let (mut rows, mut after) = (Vec::new(), after.cloned());
    while rows.len() < limit {
        let wanted = limit - rows.len();
        let keys = dialect.keys(to, layout, after.as_ref(), wanted).await?;
        let over = keys.len() < wanted;
        after = keys.last().cloned();
        for (key, held) in keys.iter().zip(dialect.held(to, layout, &keys).await?) {
            // A row whose delete was missed is there no more.
            if let Held { stamp: Some(stamp), row: Some(row) } = held {
                rows.push((key.clone(), stamp, row));
            }
        }
        if over {
            break;
        }
    }
    Ok(rows)
}

/// A write that was not made.
pub(super) struct Refused {
    pub(super) error: Error,
    /// Whether a unique value was refused to a row that was not there when it was looked for.
    absent: bool,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { error, absent: false }
    }
}

/// Writes a row under the stamp that it comes with. Returns its `rev` afterwards.
pub(super) async fn write<D: Dialect>(
    dialect: &D,
    to: &mut D::Connection,
    absent: &Absent,
    write: &RowWrite,
) -> std::result::Result<u64, Refused> {
    let layout = dialect.layout(write.table.name())?;
    let keys = std::slice::from_ref(&write.key);
    dialect.lock(to, layout, keys).await?;
    let held = dialect.held(to, layout, keys).await?.pop().unwrap_or_default();
    absent.check(dialect, to, layout, write, &held).await?;
    let Some(doing) = Doing::of(&held, write) else { return Ok(dialect.note_seen(to, layout, write).await?) };
    if write.row.as_ref().is_some_and(|row| layout.table.key_of(row) != write.key) {
        return Err(Error::data("the key is not that of the row").with("table", layout.name()).into());
    }
    dialect.stage(to, layout, write).await?;
    match dialect.make(to, layout, &write.key, doing).await? {
        Ok(0) => Err(Error::data("a trigger of the table ignores the row").with("table", layout.name()).into()),
        Ok(_) => {
            // What a host was writing while this waited for it is there now.
            if held.row.is_none() && matches!(doing, Doing::Note) {
                let now = dialect.held(to, layout, keys).await?.pop().unwrap_or_default();
                if now.row.is_some() {
                    return Err(changed_meanwhile(layout.table.spec()).into());
                }
            }
            let rev = dialect.unstage(to, layout, &write.key).await?;
            let unnoticed = || {
                Error::internal(format!("a write was not noticed: call `{}::audit`", D::REPLICA))
                    .with("table", layout.name())
            };
            Ok(rev.ok_or_else(unnoticed)?)
        }
        Err(cause) => {
            let rule = D::rule(&cause, write.row.is_none());
            let error = D::failed(rule.map_or("the row cannot be written", Rule::says), cause);
            let error = error.with("table", layout.name());
            let error = match rule {
                Some(rule) => error.with("code", rule.code()),
                None => error,
            };
            Err(Refused { error, absent: held.row.is_none() && rule == Some(Rule::Unique) })
        }
    }
}

/// What is said of a refused write, once it was taken back: a row that was not there, and is now, was written by somebody else
/// meanwhile.
pub(super) async fn explained<D: Dialect>(
    dialect: &D,
    to: &mut D::Connection,
    write: &RowWrite,
    Refused { error, absent }: Refused,
) -> Error {
    let Ok(layout) = dialect.layout(write.table.name()) else { return error };
    if !absent {
        return error;
    }
    let held = dialect.held(to, layout, std::slice::from_ref(&write.key)).await;
    match held.ok().and_then(|mut held| held.pop()) {
        Some(Held { row: Some(_), .. }) => changed_meanwhile(layout.table.spec()),
        _ => error,
    }
}

/// A time that leaves room for the counter above any time that is to come: integers end at 2⁶³.
///
/// # Errors
/// `Data` when it lies beyond that.
pub(crate) fn clock(write: &RowWrite) -> Result<i64> {
    let hlc = i64::try_from(write.hlc.0).ok().filter(|hlc| *hlc < i64::MAX / 2);
    hlc.ok_or_else(|| Error::data("the time of the write lies beyond the year 4000").with("table", write.table.name()))
}

/// A count as an integer of the database.
///
/// # Errors
/// `Data` when it is larger than that.
pub(crate) fn count(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|_| Error::data("a count of writes is larger than the integers of the database"))
}
