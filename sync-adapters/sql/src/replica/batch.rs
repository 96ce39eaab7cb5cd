//! Many rows in few statements: what is done to each is decided as for one alone, and they are sent together.

use std::collections::{HashMap, HashSet};

use sync_core::two_way::{Held, RowWrite};
use sync_core::{Key, Result};

use super::{Absent, Dialect, Doing};

/// The most rows of one statement.
const ROWS: usize = 500;

/// A write, and what is to be done for it.
pub(crate) struct Step<'w> {
    pub(crate) write: &'w RowWrite,
    /// `None` where the row is so already: only what is known of the upstream's count is new.
    pub(crate) doing: Option<Doing<'w>>,
    /// The row's `rev` before; 0 where nothing is known of it.
    pub(crate) rev: u64,
}

/// Writes rows under the stamps that they come with, in this order. Returns the `rev` of each afterwards, or `None` where it takes
/// more than this, as for a row that is refused: then all of it is to be taken back, and made row by row.
pub(super) async fn write<D: Dialect>(
    dialect: &D,
    to: &mut D::Connection,
    absent: &Absent,
    writes: &[RowWrite],
) -> Result<Option<Vec<u64>>> {
    let (mut revs, mut rest) = (Vec::with_capacity(writes.len()), writes);
    while !rest.is_empty() {
        let (part, later) = rest.split_at(apart(rest));
        let mut held = held(dialect, to, part).await?;
        for run in part.chunk_by(|one, other| one.table.name() == other.table.name()) {
            let layout = dialect.layout(run[0].table.name())?;
            let mut steps = Vec::with_capacity(run.len());
            for write in run {
                let held = held.remove(&(write.table.name(), &write.key)).unwrap_or_default();
                absent.check(dialect, to, layout, write, &held).await?;
                let Some(step) = step(layout, write, &held) else { return Ok(None) };
                steps.push(step);
            }
            match dialect.make_all(to, layout, &steps).await? {
                Some(of_run) if of_run.len() == run.len() => revs.extend(of_run),
                _ => return Ok(None),
            }
        }
        rest = later;
    }
    Ok(Some(revs))
}

/// How many writes there are until one of a row that was written before.
fn apart(writes: &[RowWrite]) -> usize {
    let mut seen = HashSet::new();
    writes.iter().take(ROWS).take_while(|write| seen.insert((write.table.name(), &write.key))).count()
}

/// The rows of these writes, locked: parents first.
async fn held<'w, D: Dialect>(
    dialect: &D,
    to: &mut D::Connection,
    writes: &'w [RowWrite],
) -> Result<HashMap<(&'w str, &'w Key), Held>> {
    let mut found = HashMap::with_capacity(writes.len());
    for layout in dialect.in_order() {
        let of_table: Vec<&RowWrite> = writes.iter().filter(|write| write.table.name() == layout.name()).collect();
        if of_table.is_empty() {
            continue;
        }
        let keys: Vec<Key> = of_table.iter().map(|write| write.key.clone()).collect();
        dialect.lock(to, layout, &keys).await?;
        let held = dialect.held(to, layout, &keys).await?;
        found.extend(of_table.iter().map(|write| (write.table.name(), &write.key)).zip(held));
    }
    Ok(found)
}

fn step<'w, L>(layout: &L, write: &'w RowWrite, held: &Held) -> Option<Step<'w>>
where
    L: std::ops::Deref<Target = super::Columns>,
{
    if write.row.as_ref().is_some_and(|row| layout.table.key_of(row) != write.key) {
        return None;
    }
    let rev = held.stamp.as_ref().map_or(0, |stamp| stamp.rev);
    let doing = match (&held.stamp, Doing::of(held, write)) {
        (Some(_), None) => None,
        (None, None) => return None,
        (_, doing) => doing,
    };
    Some(Step { write, doing, rev })
}
