//! What stands in a feed, told so that a test can name it, and writes that come from elsewhere.

use std::sync::Arc;

use sync_core::two_way::{Entry, RowWrite, Table, Tables};
use sync_core::{Key, StreamSpec, Value};

/// Products, invoices and their lines: each database makes the tables as it would.
pub(crate) fn shop() -> Tables {
    let products = StreamSpec::new("products").text("id").key(["id"]).text("sku").text("name").int("stock");
    let invoices = StreamSpec::new("invoices").text("id").key(["id"]).text("no");
    let lines = StreamSpec::new("lines").int("id").key(["id"]).text("invoice").text("product").int("qty");
    Tables::new([products, invoices, lines].map(Table::new)).unwrap()
}

pub(crate) fn row(values: impl IntoIterator<Item = impl Into<Value>>) -> Vec<Value> {
    values.into_iter().map(Into::into).collect()
}

/// An entry as table, key, row before and row after.
pub(crate) fn told(entries: &[Entry]) -> Vec<String> {
    let show = |row: &Option<Vec<Value>>| match row {
        Some(row) => row.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        None => "-".to_owned(),
    };
    entries
        .iter()
        .map(|entry| format!("{} {}: {} > {}", entry.table, entry.key, show(&entry.before), show(&entry.after)))
        .collect()
}

pub(crate) fn sorted(entries: &[Entry]) -> Vec<String> {
    let mut told = told(entries);
    told.sort();
    told
}

pub(crate) fn sizes(entries: &[Entry]) -> Vec<usize> {
    entries.chunk_by(|one, other| one.group == other.group).map(<[Entry]>::len).collect()
}

pub(crate) fn write(tables: &Tables, table: &str, id: impl Into<Value>, row: Option<Vec<Value>>) -> RowWrite {
    RowWrite {
        table: Arc::clone(tables.get(table).unwrap()),
        key: Key::new([id]),
        row,
        hlc: sync_core::two_way::Hlc(77 << 16),
        origin: "master".into(),
        op: 7,
        seen: 9,
        upstream: true,
    }
}
