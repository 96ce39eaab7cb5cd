//! How a listing goes on: what the next page is, and when there is none.

mod guard;
mod link;

use http::HeaderMap;
use sync_core::json::Page;
use sync_core::{Error, Result, Value};

pub(crate) use guard::{Guard, limit};

use crate::config::{PagingConfig, Style};
use crate::position::{PageAt, Position, foreign};
use crate::template::Variables;

/// A declared way of paging, with the places in the body that it looks at.
#[derive(Debug)]
pub(crate) struct Pager {
    pub(crate) config: PagingConfig,
    /// The pointers to read from each page, and which of them is which.
    also: Vec<String>,
}

/// What a page says about the listing.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) records: u64,
    /// Records that were dropped by declaration. They fill a page, and count neither for a total nor for an offset.
    pub(crate) dropped: u64,
    pub(crate) total: Option<u64>,
    next: Option<String>,
    /// Whether the body has the member that names the next page, be it null or empty.
    named: bool,
    pages: Option<u64>,
    per_page: Option<u64>,
    ended: bool,
    more: bool,
    /// The highest value of the keyset's column.
    pub(crate) last_key: Option<Value>,
}

/// What comes after a page.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    More(PageAt),
    End,
    /// The page or the listing is shorter than the other side says itself.
    Short,
}

impl Facts {
    /// All records of the page, be they dropped or not.
    pub(crate) fn came(&self) -> u64 {
        self.records + self.dropped
    }

    /// By how much an offset grows: what was dropped may not be counted there. Rows that come twice do no harm.
    fn advance(&self) -> u64 {
        if self.records > 0 { self.records } else { self.dropped }
    }
}

impl Pager {
    /// # Errors
    /// `Config` when the declaration contradicts itself.
    pub(crate) fn new(config: &PagingConfig) -> Result<Self> {
        config.check()?;
        let at = config.at.clone();
        let wanted = [
            at,
            config.total.clone(),
            config.pages.clone(),
            config.per_page.clone(),
            config.more.clone(),
            config.done.clone(),
        ];
        let mut also: Vec<String> = wanted.into_iter().flatten().collect();
        also.sort();
        also.dedup();
        Ok(Self { config: config.clone(), also })
    }

    /// The pointers to read from each page besides the records.
    pub(crate) fn also(&self) -> &[String] {
        &self.also
    }

    /// Whether rows that are inserted or deleted meanwhile move the others to other pages.
    pub(crate) fn shifts(&self) -> bool {
        matches!(self.config.style, Style::Page | Style::Offset)
    }

    /// Whether a row may slip from page to page while they are read, so that one look at each does not show all of them.
    pub(crate) fn may_slip(&self) -> bool {
        self.shifts() && !self.config.stable
    }

    /// Puts the variables of a page among the others, and says which query parameters carry them.
    ///
    /// # Errors
    /// `Gone` when the place belongs to another style.
    pub(crate) fn place(&self, at: &PageAt, variables: &mut Variables) -> Result<Vec<(String, String)>> {
        let (name, value) = match (self.config.style, at) {
            (Style::Page, PageAt::Start) => ("page", Some(self.first().to_string())),
            (Style::Page, PageAt::Number(number)) => ("page", Some(number.to_string())),
            (Style::Offset, PageAt::Start) => ("offset", Some("0".to_owned())),
            (Style::Offset, PageAt::Offset(offset)) => ("offset", Some(offset.to_string())),
            (Style::Cursor, PageAt::Token(token)) => ("cursor", Some(token.clone())),
            (Style::Keyset, PageAt::After(value)) => ("after", Some(value.to_string())),
            (Style::Next | Style::Link, PageAt::Address(_)) | (_, PageAt::Start) => ("", None),
            _ => return Err(foreign()),
        };
        let mut query = Vec::new();
        if let Some(value) = value {
            if let Some(param) = &self.config.param {
                query.push((param.clone(), value.clone()));
            }
            variables.insert(name.to_owned(), value);
        }
        if let Some(size) = self.config.size {
            if let Some(param) = &self.config.size_param {
                query.push((param.clone(), size.to_string()));
            }
            variables.insert("size".to_owned(), size.to_string());
        }
        Ok(query)
    }

    /// What a page says about the listing.
    pub(crate) fn facts(&self, page: &Page, headers: &HeaderMap) -> Facts {
        let extra = |pointer: &Option<String>| {
            let index = self.also.iter().position(|known| Some(known) == pointer.as_ref())?;
            page.extras.get(index)?.as_ref()
        };
        let next = match self.config.style {
            Style::Cursor | Style::Next => extra(&self.config.at).and_then(token),
            Style::Link => link::target(headers, "next"),
            _ => None,
        };
        let key = self.config.column.as_deref().and_then(|column| page.rows.schema().index(column));
        let more = extra(&self.config.more).map(holds);
        Facts {
            records: page.records as u64,
            dropped: page.dropped as u64,
            total: extra(&self.config.total).and_then(count),
            next,
            named: extra(&self.config.at).is_some(),
            pages: extra(&self.config.pages).and_then(count),
            per_page: extra(&self.config.per_page).and_then(count),
            ended: more == Some(false) || extra(&self.config.done).is_some_and(holds),
            more: more == Some(true),
            last_key: key.and_then(|column| page.rows.iter().map(|row| row.at(column).to_owned()).max()),
        }
    }

    /// What comes after the page at this position.
    pub(crate) fn step(&self, position: &Position, facts: &Facts) -> Step {
        let seen = position.records + facts.records;
        // Rows that were added behind us while we read are in today's total, and were never to come.
        let promised = facts.total.map(|total| position.total.map_or(total, |first| total.min(first)));
        let short = promised.is_some_and(|promised| seen < promised);
        let end = if short { Step::Short } else { Step::End };
        if facts.ended {
            return end;
        }
        match self.config.style {
            Style::None => end,
            Style::Cursor => facts.next.clone().map_or(end, |token| Step::More(PageAt::Token(token))),
            Style::Next | Style::Link => facts.next.clone().map_or(end, |address| Step::More(PageAt::Address(address))),
            Style::Page => self.after_numbered(position, facts, end),
            Style::Offset => {
                let next = PageAt::Offset(self.offset(&position.page) + facts.advance());
                self.after_counted(facts, seen, end, Step::More(next))
            }
            Style::Keyset => match facts.last_key.clone() {
                Some(key) => self.after_counted(facts, seen, end, Step::More(PageAt::After(key))),
                None if facts.came() == 0 => end,
                None => Step::Short,
            },
        }
    }

    /// Whether the body does not have the member that names the next page, on a page that may have one behind it: the
    /// declaration may be wrong, and the rest would be lost.
    pub(crate) fn is_lost(&self, position: &Position, facts: &Facts) -> bool {
        // A total that is not reached is told of as such, and one that is reached is the end.
        let open = !facts.ended && facts.total.is_none();
        let full = match facts.per_page.or(self.config.size) {
            Some(size) => facts.came() >= size,
            // Who came here by the pointer knows that it is right.
            None => position.pages == 0,
        };
        self.misses(facts) && open && full && facts.came() > 0
    }

    /// Whether the body lacks the member that names the next page, which it should have even at the end.
    pub(crate) fn misses(&self, facts: &Facts) -> bool {
        self.config.at.is_some() && !facts.named && !self.config.absent_at_end
    }

    /// The error for it.
    pub(crate) fn lost(&self) -> Error {
        Error::config(
            "a full page has no member where `paging.at` looks for the next page: correct the pointer, or declare `absent_at_end = true` if the last page leaves the member out",
        )
        .with("at", self.config.at.as_deref().unwrap_or_default())
    }

    /// The number of this page, when pages are numbered.
    pub(crate) fn number(&self, at: &PageAt) -> u64 {
        match at {
            PageAt::Number(number) => *number,
            _ => self.first(),
        }
    }

    /// The number of the last page, where the other side says enough to know.
    pub(crate) fn last_number(&self, position: &Position, facts: &Facts) -> Option<u64> {
        let by_pages = facts.pages;
        let by_total = facts.total.map(|total| total.div_ceil(self.page_size(position, facts).max(1)));
        by_pages.or(by_total).map(|pages| self.first() + pages.max(1) - 1)
    }

    fn after_numbered(&self, position: &Position, facts: &Facts, end: Step) -> Step {
        let number = self.number(&position.page);
        let next = Step::More(PageAt::Number(number + 1));
        let size = self.page_size(position, facts);
        let ordinal = number.saturating_sub(self.first()) + 1;
        if let Some(total) = facts.total {
            return match () {
                () if ordinal.saturating_mul(size.max(1)) >= total => end,
                () if facts.came() < size.max(1) => Step::Short,
                () => next,
            };
        }
        if let Some(pages) = facts.pages {
            return if ordinal >= pages { end } else { next };
        }
        self.after_counted(facts, 0, end, next)
    }

    /// Total, then a short page, then an empty one.
    fn after_counted(&self, facts: &Facts, seen: u64, end: Step, next: Step) -> Step {
        match (facts.total, self.config.size) {
            (Some(total), _) if seen >= total || facts.came() == 0 => end,
            (Some(_), _) => next,
            _ if facts.came() == 0 => end,
            (None, Some(size)) if !facts.more && facts.came() < size => end,
            _ => next,
        }
    }

    /// How many rows a full page has: as the other side says, as we asked, or as many as the first one had, since
    /// servers cap what is asked for.
    fn page_size(&self, position: &Position, facts: &Facts) -> u64 {
        let first = if position.first_page > 0 { position.first_page } else { facts.records };
        facts.per_page.unwrap_or_else(|| self.config.size.map_or(first, |asked| asked.min(first)))
    }

    fn first(&self) -> u64 {
        self.config.first.unwrap_or(1)
    }

    fn offset(&self, at: &PageAt) -> u64 {
        match at {
            PageAt::Offset(offset) => *offset,
            _ => 0,
        }
    }
}

/// A token or an address; null, false and empty mean that there is none.
fn token(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Bool(_) => None,
        other => Some(other.to_string()).filter(|text| !text.is_empty()),
    }
}

fn count(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        Value::UInt(number) => Some(*number),
        Value::Text(text) => text.trim().parse().ok(),
        other => other.to_string().parse().ok(),
    }
}

fn holds(value: &Value) -> bool {
    match value {
        Value::Bool(flag) => *flag,
        Value::Text(text) => text.eq_ignore_ascii_case("true") || &**text == "1",
        other => count(other).is_some_and(|number| number > 0),
    }
}
