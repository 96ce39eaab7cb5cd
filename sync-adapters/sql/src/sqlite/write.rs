//! Classify, then write: what is there is looked at first, and only what differs is written.

use rusqlite::types::{Null, ToSql, ToSqlOutput, ValueRef as Stored};
use rusqlite::{CachedStatement, Connection, Row as SqlRow};
use sync_core::detect::Difference;
use sync_core::model::{Change, Field, Op, Outcome, Rows, StreamSpec};
use sync_core::sink::{Expect, Guard, Write, WriteMode};
use sync_core::{Error, ErrorKind, Result, Retry, Value, ValueRef};

use super::error::failed;
use super::plan::Plan;
use super::refusals::Refusals;
use super::value::{Scratch, stored_form, value_of};

/// Writes changes and says of each what became of it.
pub(crate) fn write(
    connection: &Connection,
    step: usize,
    write: &Write,
    refusals: &mut Refusals<'_>,
) -> Result<Vec<Outcome>> {
    let plan = Plan::of(&write.stream)?;
    let mut writer = Writer::new(connection, &plan, write.mode, write.guard, write.difference)?;
    let mut outcomes = Vec::with_capacity(write.changes.len());
    for (row, change) in write.changes.iter().enumerate() {
        let put = || match write.expect.get(row) {
            Some(expect) => writer.check(&change, expect).and_then(|()| writer.put(&change)),
            None => writer.put(&change),
        };
        outcomes.extend(refusals.try_row(put, |error| Ok(error.at_row(step, row)))?);
    }
    Ok(outcomes)
}

/// Puts changes of one stream into its table, one after the other.
pub(crate) struct Writer<'c> {
    connection: &'c Connection,
    plan: &'c Plan<'c>,
    mode: WriteMode,
    guard: Guard,
    difference: Difference,
    insert: CachedStatement<'c>,
    select: Option<CachedStatement<'c>>,
    /// Whether the last row was new: then the next one probably is, and inserting first saves a look.
    probably_new: bool,
    scratch: Scratch,
    differing: Vec<usize>,
    /// The last update: rows that were changed together often differ in the same columns.
    update: Option<Update<'c>>,
}

/// A statement that sets columns of a row.
struct Update<'c> {
    columns: Vec<usize>,
    clears_mark: bool,
    statement: CachedStatement<'c>,
}

/// What is stored under a key, as far as it is needed to decide.
struct Standing {
    /// Whether the row is marked as missing.
    marked: bool,
    /// Whether the version column equals the incoming one.
    same_version: bool,
    /// The stored values, where the guard must see them.
    values: Option<Vec<Value>>,
}

impl<'c> Writer<'c> {
    pub(crate) fn new(
        connection: &'c Connection,
        plan: &'c Plan<'c>,
        mode: WriteMode,
        guard: Guard,
        difference: Difference,
    ) -> Result<Self> {
        let keyed = mode != WriteMode::Append;
        let insert = connection.prepare_cached(if keyed { &plan.insert } else { &plan.append }).map_err(unprepared)?;
        let select = if keyed { Some(connection.prepare_cached(&plan.select).map_err(unprepared)?) } else { None };
        Ok(Self {
            connection,
            plan,
            mode,
            guard,
            difference,
            insert,
            select,
            probably_new: true,
            scratch: Scratch::new(),
            differing: Vec::new(),
            update: None,
        })
    }

    /// Puts one change.
    pub(crate) fn put(&mut self, change: &Change<'_>) -> Result<Outcome> {
        if change.op() == Op::Delete {
            return self.delete(change);
        }
        self.check_required(change, false)?;
        let mut refusal = None;
        if self.probably_new || self.mode == WriteMode::Append {
            match self.insert(change) {
                Ok(true) => return Ok(Outcome::Created),
                Ok(false) => {}
                // It matters only if the row is new: an old or an equal change need not be acceptable.
                Err(refused) if self.may_be_of_no_matter(&refused) => refusal = Some(refused),
                Err(error) => return Err(error),
            }
        }
        let outcome = match (self.look(change)?, refusal) {
            (None, Some(refused)) => return Err(refused),
            (None, None) if self.insert(change)? => Outcome::Created,
            (None, None) => return Err(Error::data("a trigger of the table ignores the row")),
            (Some(_), _) if self.mode == WriteMode::InsertOnly => Outcome::Existing,
            (Some(standing), _) => self.replace(change, &standing)?,
        };
        self.probably_new = outcome == Outcome::Created;
        Ok(outcome)
    }

    fn may_be_of_no_matter(&self, refused: &Error) -> bool {
        // A trigger may have taken the whole transaction back.
        refused.kind() == ErrorKind::Data && self.mode != WriteMode::Append && !self.connection.is_autocommit()
    }

    /// SQLite would give a row without key a number of its own, and a table of somebody else may require less. Only a new
    /// row needs what a change does not name.
    fn check_required(&self, change: &Change<'_>, is_new: bool) -> Result<()> {
        let fields = change.fields().filter(|_| !is_new);
        let is_missing = |column: usize| {
            change.row().at(column).is_null()
                && fields.is_none_or(|fields| fields.contains(column) || self.plan.key.contains(&column))
        };
        match self.plan.required.iter().find(|column| is_missing(**column)) {
            None => Ok(()),
            Some(&column) => Err(Error::data(format!("column {:?} must not be empty", self.plan.field(column).name()))),
        }
    }

    /// Inserts the row; false when its key is there already.
    fn insert(&mut self, change: &Change<'_>) -> Result<bool> {
        if change.fields().is_some() {
            self.check_required(change, true)?;
        }
        for (place, (value, field)) in (1..).zip(change.row().values().zip(self.plan.fields())) {
            bind(&mut self.insert, place, value, field, &mut self.scratch)?;
        }
        let inserted = self.insert.raw_execute().map_err(|cause| failed("the row cannot be inserted", cause))?;
        Ok(inserted == 1)
    }

    /// Looks at the row under the change's key, and notes in `differing` which columns differ.
    fn look(&mut self, change: &Change<'_>) -> Result<Option<Standing>> {
        let Some(select) = &mut self.select else { return Ok(None) };
        for (place, &column) in self.plan.key.iter().enumerate() {
            bind(select, place + 1, change.row().at(column), self.plan.field(column), &mut self.scratch)?;
        }
        self.differing.clear();
        let mut found = select.raw_query();
        let Some(row) = found.next().map_err(|cause| failed("the stored row cannot be read", cause))? else {
            return Ok(None);
        };
        let width = self.plan.stream.schema().width();
        let version = self.plan.stream.version_index();
        // Without a version, content decides.
        let mut same_version = false;
        let compared = if change.op() == Op::Delete { 0 } else { width };
        for (column, value) in change.row().values().enumerate().take(compared) {
            let field = self.plan.field(column);
            let stored = row.get_ref(column).map_err(|cause| failed("the stored row cannot be read", cause))?;
            let same = stored_form(value, field, &mut self.scratch)? == stored;
            if version == Some(column) {
                same_version = same && !value.is_null();
            }
            if !same && change.fields().is_none_or(|fields| fields.contains(column)) {
                self.differing.push(column);
            }
        }
        let marked = self.plan.mark.is_some() && row.get_ref(width).is_ok_and(|mark| mark != Stored::Null);
        let guarded = matches!(self.guard, Guard::NotOlder | Guard::Newer) && !self.differing.is_empty()
            || change.op() == Op::Delete;
        let values = if guarded { Some(read_row(row, self.plan.stream)?) } else { None };
        Ok(Some(Standing { marked, same_version, values }))
    }

    /// Replaces a row that is there, if it differs and the guard lets it.
    fn replace(&mut self, change: &Change<'_>, standing: &Standing) -> Result<Outcome> {
        let same = self.differing.is_empty() || (self.difference == Difference::Version && standing.same_version);
        if same && !standing.marked {
            return Ok(Outcome::Unchanged);
        }
        if !same && let Some(refused) = self.refused(change, standing)? {
            return Ok(refused);
        }
        let columns: &[usize] = if same { &[] } else { &self.differing };
        let fits = |last: &Update<'_>| last.columns == columns && last.clears_mark == standing.marked;
        let update = match self.update.take().filter(fits) {
            Some(last) => last,
            None => Update::of(self.connection, self.plan, columns, standing.marked)?,
        };
        let statement = &mut self.update.insert(update).statement;
        for (place, &column) in columns.iter().chain(&self.plan.key).enumerate() {
            bind(statement, place + 1, change.row().at(column), self.plan.field(column), &mut self.scratch)?;
        }
        statement.raw_execute().map_err(|cause| failed("the row cannot be updated", cause))?;
        Ok(Outcome::Updated)
    }

    fn delete(&mut self, change: &Change<'_>) -> Result<Outcome> {
        let Some(standing) = self.look(change)? else { return Ok(Outcome::Unchanged) };
        if self.mode == WriteMode::InsertOnly {
            return Ok(Outcome::Existing);
        }
        if let Some(refused) = self.refused(change, &standing)? {
            return Ok(refused);
        }
        let mut delete = self.connection.prepare_cached(&self.plan.delete).map_err(unprepared)?;
        for (place, &column) in self.plan.key.iter().enumerate() {
            bind(&mut delete, place + 1, change.row().at(column), self.plan.field(column), &mut self.scratch)?;
        }
        delete
            .raw_execute()
            .map_err(|cause| failed("the row cannot be deleted", cause).with("table", self.plan.stream.name()))?;
        Ok(Outcome::Deleted)
    }

    /// What the guard makes of a change it does not let through.
    fn refused(&self, change: &Change<'_>, standing: &Standing) -> Result<Option<Outcome>> {
        match (self.guard, &standing.values) {
            (Guard::Always, _) => Ok(None),
            (Guard::Never, _) => Ok(Some(Outcome::Existing)),
            (guard, Some(values)) => {
                let mut existing = Rows::new(std::sync::Arc::clone(self.plan.stream.schema()));
                existing.push(values.iter().map(Value::as_ref))?;
                Ok((!guard.admits(self.plan.stream, existing.row(0), *change)).then_some(Outcome::Stale))
            }
            (_, None) => Err(Error::internal("a guarded row was not read")),
        }
    }

    /// Compares what is stored with what the writer has seen.
    fn check(&mut self, change: &Change<'_>, expect: &Expect) -> Result<()> {
        let key: Vec<ValueRef<'_>> = self.plan.key.iter().map(|&column| change.row().at(column)).collect();
        let stored = read(self.connection, self.plan, &key)?;
        let as_expected = match (expect, &stored) {
            (Expect::Absent, None) => true,
            (Expect::Row(expected), Some(stored)) => expected == stored,
            _ => false,
        };
        if as_expected {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Conflict, "somebody else changed a row meanwhile")
            .with_retry(Retry::Backoff)
            .with("table", self.plan.stream.name()))
    }
}

impl<'c> Update<'c> {
    fn of(connection: &'c Connection, plan: &Plan<'_>, columns: &[usize], clears_mark: bool) -> Result<Self> {
        let sql = plan.update(columns.iter().copied(), clears_mark)?;
        let statement = connection.prepare_cached(&sql).map_err(unprepared)?;
        Ok(Self { columns: columns.to_vec(), clears_mark, statement })
    }
}

/// The row under a key.
pub(crate) fn read(connection: &Connection, plan: &Plan<'_>, key: &[ValueRef<'_>]) -> Result<Option<Vec<Value>>> {
    let mut select = connection.prepare_cached(&plan.select).map_err(unprepared)?;
    let mut scratch = Scratch::new();
    for (place, (&column, value)) in plan.key.iter().zip(key).enumerate() {
        bind(&mut select, place + 1, *value, plan.field(column), &mut scratch)?;
    }
    let mut found = select.raw_query();
    match found.next().map_err(|cause| failed("the stored row cannot be read", cause))? {
        Some(row) => read_row(row, plan.stream).map(Some),
        None => Ok(None),
    }
}

/// The values of a result row whose first columns are the stream's.
pub(crate) fn read_row(row: &SqlRow<'_>, stream: &StreamSpec) -> Result<Vec<Value>> {
    let fields = stream.schema().fields().iter().enumerate();
    fields
        .map(|(column, field)| {
            value_of(row.get_ref(column).map_err(|cause| failed("the stored row cannot be read", cause))?, field)
        })
        .collect()
}

/// Binds a value in the stored form of its column.
#[inline]
pub(crate) fn bind(
    statement: &mut CachedStatement<'_>,
    place: usize,
    value: ValueRef<'_>,
    field: &Field,
    scratch: &mut Scratch,
) -> Result<()> {
    let bound = match stored_form(value, field, scratch)? {
        Stored::Null => statement.raw_bind_parameter(place, Null),
        Stored::Integer(v) => statement.raw_bind_parameter(place, v),
        Stored::Real(v) => statement.raw_bind_parameter(place, v),
        Stored::Text(v) => statement.raw_bind_parameter(place, Text(v)),
        Stored::Blob(v) => statement.raw_bind_parameter(place, v),
    };
    bound.map_err(|cause| failed("a value cannot be bound", cause))
}

/// The bytes of a text. With a type for each kind the driver need not look for the kind once more.
struct Text<'t>(&'t [u8]);

impl ToSql for Text<'_> {
    #[inline]
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(Stored::Text(self.0)))
    }
}

pub(crate) fn unprepared(cause: rusqlite::Error) -> Error {
    failed("the statement does not fit the table", cause)
}
