//! Between what goes over the wire and what the engine speaks.

use sync_core::two_way::{Edit, EditResult, Found, Group, Item, Lookup, Waiting};
use sync_core::{ErrorKind, Key, Result, Value};

use super::{ChangeBody, Codec, Codecs, EditBody, FoundRow, GroupBody, LookupBody, Raw, ResultBody, WaitingEdit};
use crate::refusal::refuse;

impl Codec {
    pub(crate) fn maybe_row(&self, raw: Option<&Raw>) -> Result<Option<Vec<Value>>> {
        raw.map(|raw| self.row(raw)).transpose()
    }

    pub(crate) fn maybe_json(&self, row: Option<&Vec<Value>>) -> Result<Option<Raw>> {
        row.map(|row| self.row_json(row)).transpose()
    }
}

impl GroupBody {
    pub(crate) fn of(group: &Group, codecs: &Codecs) -> Result<Self> {
        let edits = group.edits.iter().map(|edit| EditBody::of(edit, codecs)).collect::<Result<_>>()?;
        Ok(Self { previous: group.previous, edits })
    }

    pub(crate) fn read(self, codecs: &Codecs) -> Result<Group> {
        let edits = self.edits.into_iter().map(|edit| edit.read(codecs)).collect::<Result<_>>()?;
        Ok(Group { previous: self.previous, edits })
    }
}

impl EditBody {
    fn of(edit: &Edit, codecs: &Codecs) -> Result<Self> {
        let codec = codecs.of(&edit.table)?;
        let [before, after] = [&edit.before, &edit.after].map(|row| codec.maybe_json(row.as_ref()));
        Ok(Self {
            op: edit.op,
            table: edit.table.clone(),
            base: edit.base,
            hlc: edit.hlc,
            before: before?,
            after: after?,
        })
    }

    fn read(self, codecs: &Codecs) -> Result<Edit> {
        let codec = codecs.of(&self.table).map_err(|error| error.with("op", self.op))?;
        let [before, after] = [&self.before, &self.after].map(|row| codec.maybe_row(row.as_ref()));
        let (before, after) = (before?, after?);
        let key = after.as_ref().or(before.as_ref()).map(|row| codec.table().key_of(row));
        let key: Key = key.ok_or_else(|| {
            refuse(ErrorKind::Data, "empty_edit", "an edit names the row before it, after it, or both")
                .with("op", self.op)
        })?;
        Ok(Edit { op: self.op, table: self.table, key, base: self.base, hlc: self.hlc, before, after })
    }
}

impl ResultBody {
    pub(crate) fn of(result: &EditResult, codecs: &Codecs) -> Result<Self> {
        Ok(Self {
            op: result.op,
            table: result.table.clone(),
            became: result.became,
            rev: result.rev,
            row: codecs.of(&result.table)?.maybe_json(result.row.as_ref())?,
            hlc: result.hlc,
            clamped: result.clamped,
        })
    }

    pub(crate) fn read(self, codecs: &Codecs) -> Result<EditResult> {
        let row = codecs.of(&self.table)?.maybe_row(self.row.as_ref())?;
        let Self { op, table, became, rev, hlc, clamped, .. } = self;
        Ok(EditResult { op, table, became, rev, row, hlc, clamped })
    }
}

impl ChangeBody {
    /// `origin` is what the caller may know of who wrote it.
    pub(crate) fn of(item: &Item, origin: String, codecs: &Codecs) -> Result<Self> {
        let codec = codecs.of(&item.table)?;
        Ok(Self {
            group: item.group,
            table: item.table.clone(),
            key: codec.key_json(&item.key)?,
            rev: item.rev,
            hlc: item.hlc,
            origin,
            op: item.op,
            row: codec.maybe_json(item.row.as_ref())?,
        })
    }

    pub(crate) fn read(self, codecs: &Codecs) -> Result<Item> {
        let codec = codecs.of(&self.table)?;
        let (key, row) = (codec.key(&self.key)?, codec.maybe_row(self.row.as_ref())?);
        let Self { group, table, rev, hlc, origin, op, .. } = self;
        Ok(Item { group, table, key, rev, hlc, origin, op, row })
    }
}

impl LookupBody {
    pub(crate) fn of(lookup: &Lookup, codecs: &Codecs) -> Result<Self> {
        let codec = codecs.of(&lookup.table)?;
        let keys = lookup.keys.iter().map(|key| codec.key_json(key)).collect::<Result<_>>()?;
        Ok(Self { peer: lookup.peer.clone(), table: lookup.table.clone(), keys })
    }

    pub(crate) fn read(self, codecs: &Codecs) -> Result<Lookup> {
        let codec = codecs.of(&self.table)?;
        let keys = self.keys.iter().map(|key| codec.key(key)).collect::<Result<_>>()?;
        Ok(Lookup { peer: self.peer, table: self.table, keys })
    }
}

impl FoundRow {
    pub(crate) fn of(found: &Found, codec: &Codec) -> Result<Self> {
        let Found { rev, waits, hlc, .. } = *found;
        Ok(Self { rev, row: codec.maybe_json(found.row.as_ref())?, waits, hlc })
    }

    pub(crate) fn read(self, codec: &Codec) -> Result<Found> {
        Ok(Found { rev: self.rev, row: codec.maybe_row(self.row.as_ref())?, waits: self.waits, hlc: self.hlc })
    }
}

impl WaitingEdit {
    pub(crate) fn all(waiting: &Waiting, codecs: &Codecs) -> Result<Vec<Self>> {
        let edits = waiting.group.edits.iter().zip(&waiting.rows);
        let one = |(edit, existing): (&Edit, &Option<Vec<Value>>)| {
            let codec = codecs.of(&edit.table)?;
            Ok(Self {
                table: edit.table.clone(),
                key: codec.key_json(&edit.key)?,
                before: codec.maybe_json(edit.before.as_ref())?,
                after: codec.maybe_json(edit.after.as_ref())?,
                existing: codec.maybe_json(existing.as_ref())?,
            })
        };
        edits.map(one).collect()
    }
}
