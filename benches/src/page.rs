//! Records as the program written by hand keeps them between parser and writer: all texts of a page in one buffer.

use serde::Deserialize;

use crate::records::Record;

/// A record whose texts stand somewhere else.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Row<'a> {
    pub(crate) id: i64,
    pub(crate) name: &'a str,
    pub(crate) email: &'a str,
    pub(crate) city: &'a str,
    pub(crate) status: &'a str,
    pub(crate) note: &'a str,
    pub(crate) amount: &'a str,
    pub(crate) quantity: i64,
    pub(crate) score: i64,
    pub(crate) active: bool,
    pub(crate) created_at: &'a str,
    pub(crate) updated_at: &'a str,
}

impl<'a> Row<'a> {
    fn texts(&self) -> [&'a str; 8] {
        [self.name, self.email, self.city, self.status, self.note, self.amount, self.created_at, self.updated_at]
    }
}

impl<'a> From<&'a Record> for Row<'a> {
    fn from(record: &'a Record) -> Self {
        Self {
            id: record.id,
            name: &record.name,
            email: &record.email,
            city: &record.city,
            status: &record.status,
            note: &record.note,
            amount: &record.amount,
            quantity: record.quantity,
            score: record.score,
            active: record.active,
            created_at: &record.created_at,
            updated_at: &record.updated_at,
        }
    }
}

/// Some records: one buffer of text, where each text ends, and the rest.
#[derive(Debug, Default)]
pub(crate) struct Page {
    text: String,
    records: Vec<([u32; 8], i64, i64, i64, bool)>,
}

impl Page {
    pub(crate) fn of(rows: &[Row<'_>]) -> Self {
        let mut page = Self { text: String::with_capacity(rows.len() * 224), records: Vec::with_capacity(rows.len()) };
        for row in rows {
            let ends = row.texts().map(|text| {
                page.text.push_str(text);
                page.text.len() as u32
            });
            page.records.push((ends, row.id, row.quantity, row.score, row.active));
        }
        page
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let mut at = 0;
        self.records.iter().map(move |&(ends, id, quantity, score, active)| {
            let [name, email, city, status, note, amount, created_at, updated_at] = ends.map(|end| {
                let text = &self.text[at..end as usize];
                at = end as usize;
                text
            });
            Row { id, name, email, city, status, note, amount, quantity, score, active, created_at, updated_at }
        })
    }
}
