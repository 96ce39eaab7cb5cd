//! Streams, rows and changes that the laws are tried on.

use std::sync::{Arc, LazyLock};

use chrono::NaiveDate;
use proptest::prelude::*;
use sync_core::model::{Change, Changes, Decimal, Field, FieldSet, Kind, Mark, Op, Rows, Timestamp};
use sync_core::{StreamSpec, Value};

/// A stream small enough that generated rows often tie, with a column for each thing a policy looks at.
pub(super) fn items() -> &'static StreamSpec {
    static ITEMS: LazyLock<StreamSpec> = LazyLock::new(|| {
        let stream = StreamSpec::new("items").key(["id"]).int("v").version("v");
        stream.text("name").int("name_v").decimal("price", 12, 2).float("rate").int("stock")
    });
    &ITEMS
}

/// The positions of the columns of [`items`].
pub(super) const VERSION: usize = 1;
pub(super) const NAME: usize = 2;
pub(super) const PRICE: usize = 4;
pub(super) const STOCK: usize = 6;

/// A row, owned: values in schema order.
pub(super) type Cells = Vec<Value>;

/// A change, owned.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Edit {
    pub(super) op: Op,
    pub(super) cells: Cells,
    pub(super) fields: Option<FieldSet>,
    pub(super) origin: Option<&'static str>,
}

impl Edit {
    pub(super) fn upsert(cells: Cells) -> Self {
        Self { op: Op::Upsert, cells, fields: None, origin: None }
    }

    pub(super) fn is_delete(&self) -> bool {
        self.op == Op::Delete
    }

    /// The same change without what does not matter: of a delete, all but key and version.
    pub(super) fn plain(mut self) -> Self {
        if self.is_delete() {
            self.cells[NAME..].fill(Value::Null);
        }
        self
    }

    /// The change as a page of its own.
    pub(super) fn page(&self, stream: &StreamSpec) -> Changes {
        let mut mark = Mark::default();
        mark.op = self.op;
        mark.fields.clone_from(&self.fields);
        mark.origin = self.origin.map(Into::into);
        if mark == Mark::default() {
            return Changes::upserts(page(stream, &[&self.cells]));
        }
        Changes::marked(page(stream, &[&self.cells]), vec![mark])
    }
}

/// Rows of a stream in flat form.
pub(super) fn page(stream: &StreamSpec, rows: &[&[Value]]) -> Rows {
    let mut page = Rows::new(Arc::clone(stream.schema()));
    for row in rows {
        page.push(row.iter().map(Value::as_ref)).expect("generated values fit their columns");
    }
    page
}

/// Calls back with a change of these cells.
pub(super) fn with_upsert<T>(stream: &StreamSpec, cells: &[Value], use_it: impl FnOnce(Change<'_>) -> T) -> T {
    let page = page(stream, &[cells]);
    use_it(Change::upsert(page.row(0)))
}

/// A row of [`items`], from few values, so that versions and contents tie.
pub(super) fn item() -> impl Strategy<Value = Cells> {
    let version = prop_oneof![1 => Just(Value::Null), 4 => (1_i64..4).prop_map(Value::from)];
    let name = prop::sample::select(vec![Value::Null, "".into(), "a".into(), "b".into()]);
    let name_version = prop::sample::select(vec![Value::Null, 1_i64.into(), 2_i64.into()]);
    let price = prop::sample::select(vec![Value::Null, decimal(15, 1), decimal(150, 2), decimal(0, 0), decimal(-2, 0)]);
    (version, name, name_version, price, tricky_float(), 0_i64..3).prop_map(
        |(version, name, name_version, price, rate, stock)| {
            vec![1_i64.into(), version, name, name_version, price, rate.into(), stock.into()]
        },
    )
}

/// A change of [`items`]: upserts and some deletes, with few versions. Some deletes still show what the row held.
pub(super) fn edit() -> impl Strategy<Value = Edit> {
    let op = prop_oneof![4 => Just(Op::Upsert), 1 => Just(Op::Delete)];
    (op, item(), any::<bool>()).prop_map(|(op, cells, full)| {
        let edit = Edit { op, ..Edit::upsert(cells) };
        if full { edit } else { edit.plain() }
    })
}

/// A change that may say which columns changed and who made it.
pub(super) fn marked_edit() -> impl Strategy<Value = Edit> {
    let fields = prop::option::of(prop::collection::vec(1_usize..7, 0..4));
    let origin = prop::option::of(prop::sample::select(vec!["till-1", "till-2"]));
    (edit(), fields, origin).prop_map(|(edit, fields, origin)| Edit {
        fields: fields.map(|columns| columns.into_iter().collect()),
        origin,
        ..edit
    })
}

/// A decimal with this many digits after the point.
pub(super) fn decimal(digits: i64, scale: u32) -> Value {
    Decimal::new(digits, scale).into()
}

/// A stream with a column of every kind.
pub(super) fn kinds() -> &'static StreamSpec {
    static KINDS: LazyLock<StreamSpec> = LazyLock::new(|| {
        let columns = [
            ("bool", Kind::Bool),
            ("int", Kind::Int),
            ("uint", Kind::UInt),
            ("float", Kind::Float),
            ("decimal", Kind::Decimal { precision: 38, scale: 10 }),
            ("text", Kind::Text),
            ("bytes", Kind::Bytes),
            ("timestamp", Kind::Timestamp),
            ("date", Kind::Date),
            ("json", Kind::Json),
        ];
        let stream = StreamSpec::new("kinds").key(["int"]).version("uint");
        columns.into_iter().fold(stream, |stream, (name, kind)| stream.field(Field::new(name, kind)))
    });
    &KINDS
}

/// A row of [`kinds`], nulls included.
pub(super) fn any_row() -> impl Strategy<Value = Cells> {
    let columns: Vec<_> = kinds().schema().fields().iter().map(|field| any_value(field.kind()).boxed()).collect();
    columns
}

/// A value that a column of this kind may hold, with a taste for the edges.
pub(super) fn any_value(kind: Kind) -> impl Strategy<Value = Value> {
    let edges = prop::sample::select(vec![i64::MIN, -1, 0, 1, i64::MAX]);
    let integer = prop_oneof![edges, any::<i64>()];
    let text = prop_oneof![
        prop::sample::select(vec!["", "a", "ab", "b", "é", "e\u{301}", "\0"]).prop_map(String::from),
        any::<String>()
    ];
    let value = match kind {
        Kind::Bool => any::<bool>().prop_map(Value::from).boxed(),
        Kind::Int => {
            integer.prop_map(|v| if v >= 0 && v % 2 == 0 { Value::UInt(v.unsigned_abs()) } else { v.into() }).boxed()
        }
        Kind::UInt => prop_oneof![Just(0), Just(1), Just(u64::MAX), any::<u64>()].prop_map(Value::from).boxed(),
        Kind::Float => tricky_float().prop_map(Value::from).boxed(),
        Kind::Decimal { .. } => prop_oneof![
            4 => (-200_i64..200, 0_u32..4).prop_map(|(digits, scale)| decimal(digits, scale)),
            1 => Just(Decimal::MAX.into()),
            1 => Just(Value::from("79228162514264337593543950336")),
        ]
        .boxed(),
        Kind::Text => text.prop_map(Value::from).boxed(),
        Kind::Bytes => prop::collection::vec(any::<u8>(), 0..4).prop_map(Value::from).boxed(),
        Kind::Timestamp => integer.prop_map(|v| Timestamp::from_micros(v).into()).boxed(),
        Kind::Date => (-1000_i32..1000)
            .prop_map(|day| NaiveDate::from_num_days_from_ce_opt(day).map_or(Value::Null, Value::from))
            .boxed(),
        _ => text.prop_map(|text| Value::Json(format!("{text:?}").into())).boxed(),
    };
    prop_oneof![1 => Just(Value::Null), 6 => value]
}

/// Floats where comparing goes wrong most easily.
pub(super) fn tricky_float() -> impl Strategy<Value = f64> {
    let edges =
        vec![0.0, -0.0, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 5e-324, -5e-324, f64::MIN_POSITIVE, 1.0];
    prop_oneof![3 => prop::sample::select(edges), 1 => any::<f64>()]
}

/// The same value, spelled in another way where there is one.
pub(super) fn respelled(value: &Value) -> Value {
    match value {
        Value::Decimal(v) if v.scale() < 20 && v.mantissa().abs() < 1 << 60 => {
            Decimal::from_i128_with_scale(v.mantissa() * 10, v.scale() + 1).into()
        }
        Value::Float(v) if *v == 0.0 => (-v).into(),
        Value::Float(v) if v.is_nan() => f64::from_bits(v.to_bits() ^ 1 << 63).into(),
        Value::Int(v) if *v >= 0 => v.unsigned_abs().into(),
        Value::UInt(v) => i64::try_from(*v).map_or_else(|_| value.clone(), Value::from),
        same => same.clone(),
    }
}
