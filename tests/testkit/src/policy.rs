//! Proves a [`ConflictPolicy`]: its laws, on rows of the host's own stream.
//!
//! ```
//! use sync_core::StreamSpec;
//! use sync_core::conflict::LastWriteWins;
//!
//! let orders = StreamSpec::new("orders").key(["id"]).version("changed_at").text("note");
//! sync_testkit::policy::conformance(&LastWriteWins, &orders).assert();
//! ```

use std::sync::Arc;

use chrono::NaiveDate;
use sync_core::conflict::{Claim, Conflict, Resolution};
use sync_core::model::{Changes, Decimal, Kind, Mark, Op, Rows, Timestamp};
use sync_core::{ConflictPolicy, Key, StreamSpec, Value};

use crate::Random;
use crate::report::{Finding, Report, Stop, holds, needs, same};

/// How many conflicts each law is tried on.
const CASES: u64 = 2_000;

/// Tries every law on the same few thousand conflicts between rows of this stream, drawn from few values, so that
/// versions and contents often tie.
pub fn conformance(policy: &dyn ConflictPolicy, stream: &StreamSpec) -> Report {
    let mut report = Report::new("conflict policy");
    let bench = Bench { policy, stream };
    for (name, says, law) in LAWS {
        let mut random = Random::new(1);
        let finding = (0..CASES).try_for_each(|_| law(&bench, &mut random));
        report.add(name, says, finding);
    }
    report
}

/// The names of all laws.
pub fn names() -> Vec<&'static str> {
    LAWS.iter().map(|(name, ..)| *name).collect()
}

type Law = fn(&Bench<'_>, &mut Random) -> Finding;

const LAWS: &[(&str, &str, Law)] = &[
    (
        "the_same_conflict_is_resolved_the_same",
        "the same conflict gives the same resolution, everywhere",
        deterministic,
    ),
    ("a_merged_row_fits_its_stream", "this row is written: values in the order of the stream's schema", merges_fit),
    ("a_result_against_itself_stays", "applying the outcome again against itself changes nothing", idempotent),
    ("the_guard_decides_as_the_policy", "what a sink may evaluate for it while it writes", guard_agrees),
    ("every_order_ends_in_the_same_row", "the same final row in whatever order changes meet", convergent),
];

struct Bench<'a> {
    policy: &'a dyn ConflictPolicy,
    stream: &'a StreamSpec,
}

/// A change, owned.
#[derive(Debug, Clone)]
struct Edit {
    op: Op,
    values: Vec<Value>,
}

fn deterministic(bench: &Bench<'_>, random: &mut Random) -> Finding {
    let (existing, incoming) = (bench.row(random), bench.edit(random));
    let (first, second) = (bench.resolve(&existing, &incoming)?, bench.resolve(&existing, &incoming)?);
    holds(first == second, "one conflict was resolved in two ways")
}

fn merges_fit(bench: &Bench<'_>, random: &mut Random) -> Finding {
    let (existing, incoming) = (bench.row(random), bench.edit(random));
    let Resolution::Merge(merged) = bench.resolve(&existing, &incoming)? else { return Ok(()) };
    let fields = bench.stream.schema().fields();
    same("values of a merged row", merged.len(), fields.len())?;
    for (field, value) in fields.iter().zip(&merged) {
        holds(value.as_ref().fits(field.kind()), format!("column {:?} holds a value of another kind", field.name()))?;
        holds(field.is_nullable() || !value.is_null(), format!("column {:?} is empty and may not be", field.name()))?;
    }
    let kept = bench.stream.key_indices().iter().all(|&column| merged[column] == existing[column]);
    holds(kept, "a merged row has another key")
}

fn idempotent(bench: &Bench<'_>, random: &mut Random) -> Finding {
    let (existing, incoming) = (bench.row(random), bench.upsert(random));
    let outcome = bench.outcome(&existing, &incoming)?;
    let again = bench.outcome(&outcome, &Edit { op: Op::Upsert, values: outcome.clone() })?;
    holds(again == outcome, "a row that met itself became another one")
}

fn guard_agrees(bench: &Bench<'_>, random: &mut Random) -> Finding {
    needs(bench.policy.guard().is_some(), "a guard")?;
    let Some(guard) = bench.policy.guard() else { return Ok(()) };
    let (existing, incoming) = (bench.row(random), bench.edit(random));
    if incoming.op == Op::Upsert && incoming.values == existing {
        return Ok(());
    }
    let page = bench.page(&existing, &incoming)?;
    let admitted = guard.admits(bench.stream, page.at(0).row(), page.at(1));
    match bench.resolve(&existing, &incoming)? {
        Resolution::TakeIncoming => holds(admitted, format!("{guard:?} refuses what the policy takes")),
        Resolution::KeepExisting => holds(!admitted, format!("{guard:?} admits what the policy refuses")),
        _ => holds(false, "it has a guard, and merges or parks: no sink could do that for it"),
    }
}

fn convergent(bench: &Bench<'_>, random: &mut Random) -> Finding {
    needs(bench.policy.claim() == Claim::Convergent, "a claim to converge")?;
    let rows = [bench.row(random), bench.row(random), bench.row(random)];
    let mut ends = Vec::new();
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let [first, second, third] = order.map(|index: usize| rows[index].clone());
        let met = bench.outcome(&first, &Edit { op: Op::Upsert, values: second })?;
        ends.push(bench.outcome(&met, &Edit { op: Op::Upsert, values: third })?);
    }
    holds(ends.windows(2).all(|pair| pair[0] == pair[1]), "three states that met in another order left another row")
}

impl Bench<'_> {
    fn resolve(&self, existing: &[Value], incoming: &Edit) -> Result<Resolution, Stop> {
        let page = self.page(existing, incoming)?;
        let key = Key::of(page.at(0).row(), &self.stream.key_indices());
        Ok(self.policy.resolve(&Conflict::new(self.stream, &key, page.at(0).row(), page.at(1))))
    }

    /// The row that is left of two.
    fn outcome(&self, existing: &[Value], incoming: &Edit) -> Result<Vec<Value>, Stop> {
        Ok(match self.resolve(existing, incoming)? {
            Resolution::TakeIncoming => incoming.values.clone(),
            Resolution::Merge(values) => values,
            _ => existing.to_vec(),
        })
    }

    /// Both rows side by side; a merged row that fits no row breaks the law at hand.
    fn page(&self, existing: &[Value], incoming: &Edit) -> Result<Changes, Stop> {
        let mut rows = Rows::new(Arc::clone(self.stream.schema()));
        for values in [existing, &incoming.values] {
            rows.push(values.iter().map(Value::as_ref))?;
        }
        let mut mark = Mark::default();
        mark.op = incoming.op;
        Ok(Changes::marked(rows, vec![Mark::default(), mark]))
    }

    fn row(&self, random: &mut Random) -> Vec<Value> {
        let keys = self.stream.key_indices();
        let fields = self.stream.schema().fields().iter().enumerate();
        fields
            .map(|(column, field)| match random.below(5) {
                _ if keys.contains(&column) => few(field.kind(), 1),
                0 if field.is_nullable() => Value::Null,
                draw => few(field.kind(), draw % 3),
            })
            .collect()
    }

    fn upsert(&self, random: &mut Random) -> Edit {
        Edit { op: Op::Upsert, values: self.row(random) }
    }

    /// An upsert, or now and then a delete, with or without version.
    fn edit(&self, random: &mut Random) -> Edit {
        let mut edit = self.upsert(random);
        if random.below(4) == 0 {
            let keys = self.stream.key_indices();
            edit.op = Op::Delete;
            for (column, value) in edit.values.iter_mut().enumerate() {
                if !keys.contains(&column) && Some(column) != self.stream.version_index() {
                    *value = Value::Null;
                }
            }
        }
        edit
    }
}

/// One of a few values of a kind.
fn few(kind: Kind, draw: u64) -> Value {
    let number = i64::try_from(draw).unwrap_or_default();
    match kind {
        Kind::Bool => (draw == 0).into(),
        Kind::Int => number.into(),
        Kind::UInt => draw.into(),
        Kind::Float => [0.5, -0.0, 0.0][draw as usize % 3].into(),
        Kind::Decimal { .. } => Decimal::new(number, 0).into(),
        Kind::Bytes => vec![u8::try_from(draw).unwrap_or_default()].into(),
        Kind::Timestamp => Timestamp::from_micros(number).into(),
        Kind::Date => NaiveDate::from_ymd_opt(2030, 1, 1 + u32::try_from(draw).unwrap_or_default())
            .map_or(Value::Null, Value::Date),
        Kind::Json => Value::Json(draw.to_string().into()),
        _ => ["", "a", "b"][draw as usize % 3].into(),
    }
}
