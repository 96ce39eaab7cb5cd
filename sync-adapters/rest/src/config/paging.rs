//! How a listing goes on from page to page.

use serde::Deserialize;
use sync_core::{Error, Result};

use crate::pointer::is_pointer;

/// The styles of paging.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Style {
    /// One answer holds everything.
    #[default]
    None,
    /// Numbered pages.
    Page,
    /// So many rows left out.
    Offset,
    /// A token in the body names the next page.
    Cursor,
    /// An address in the body, absolute or relative, is the next page.
    Next,
    /// An address in the `Link` header with `rel="next"` is the next page (RFC 8288).
    Link,
    /// Rows above the highest key seen so far.
    Keyset,
}

/// How a listing goes on from page to page. The rules to stop are tried in this order: the next page is not named,
/// the total is reached, the number of pages is reached, the page is short, the page is empty.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct PagingConfig {
    /// The style.
    pub style: Style,
    /// The query parameter of the page number, the offset, the token or the key. Leave it out where the path, the query or
    /// the body holds the variable itself: `{page}`, `{offset}`, `{cursor}`, `{after}`.
    pub param: Option<String>,
    /// The number of the first page: 1, or 0.
    pub first: Option<u64>,
    /// How many rows to ask for.
    pub size: Option<u64>,
    /// The query parameter of `size`; or use the variable `{size}`.
    pub size_param: Option<String>,
    /// Where the body names the next page's token or address, a JSON pointer.
    pub at: Option<String>,
    /// Whether the last page leaves the member at `at` out, instead of setting it to null, false or an empty text. Where it
    /// does not, a full page without the member is an error: a wrong pointer would lose the rest.
    pub absent_at_end: bool,
    /// The column with the key, for keysets: the key of the stream, or a column that is `unique`.
    pub column: Option<String>,
    /// Whether no two rows have the same value in `column`. Rows that share one would be lost at the border of two pages.
    pub unique: bool,
    /// Where the body says how many rows there are in all.
    pub total: Option<String>,
    /// Where the body says how many pages there are in all.
    pub pages: Option<String>,
    /// Where the body says how many rows a page has, when the server may cap what we ask for.
    pub per_page: Option<String>,
    /// Where the body says whether there is more (true, 1).
    pub more: Option<String>,
    /// Where the body says that the listing is complete (true, 1).
    pub done: Option<String>,
    /// How many numbered pages to fetch at once. They are handed over in order. What brings rows into an empty target asks for the
    /// first pages together; any other read asks for the first one alone, which may be all there is. While a page is written, up to as
    /// many again may have come behind it, and are held in memory.
    pub concurrency: Option<usize>,
    /// Whether numbered pages and offsets stand still while they are read: the other side answers all pages of a listing
    /// from one state, or rows are only ever added behind the last one. Nothing can slip from page to page then, and one
    /// look at each is enough. A row that is deleted or moves while we read is lost with this.
    pub stable: bool,
}

impl PagingConfig {
    /// # Errors
    /// `Config`, naming the field that is missing, wrong or of no use with the style.
    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |field: &str, why: &str| {
            Err(Error::config(format!("paging field `{field}` {why}")).with("style", format!("{:?}", self.style)))
        };
        let numbered = matches!(self.style, Style::Page);
        let needs_at = matches!(self.style, Style::Cursor | Style::Next);
        if needs_at != self.at.is_some() {
            return wrong(
                "at",
                if needs_at { "is needed: where does the body name the next page?" } else { "has no use here" },
            );
        }
        if (self.style == Style::Keyset) != self.column.is_some() {
            return wrong(
                "column",
                if self.style == Style::Keyset { "is needed: which column is the key?" } else { "has no use here" },
            );
        }
        if self.absent_at_end && !needs_at {
            return wrong("absent_at_end", "has no use here");
        }
        if self.unique && self.style != Style::Keyset {
            return wrong("unique", "has no use here");
        }
        if self.first.is_some() && !numbered {
            return wrong("first", "is for numbered pages");
        }
        if self.concurrency.is_some_and(|at_once| !numbered || !(1..=64).contains(&at_once)) {
            return wrong("concurrency", "is for numbered pages, from 1 to 64");
        }
        if self.stable && !matches!(self.style, Style::Page | Style::Offset) {
            return wrong("stable", "is for numbered pages and offsets");
        }
        if self.size == Some(0) {
            return wrong("size", "is at least 1");
        }
        if self.size_param.is_some() && self.size.is_none() {
            return wrong("size", "is needed with `size_param`");
        }
        let pointers = [
            ("at", &self.at),
            ("total", &self.total),
            ("pages", &self.pages),
            ("per_page", &self.per_page),
            ("more", &self.more),
            ("done", &self.done),
        ];
        for (field, pointer) in pointers {
            if pointer.as_deref().is_some_and(|pointer| !is_pointer(pointer)) {
                return wrong(field, "is a JSON pointer such as `/meta/total`");
            }
        }
        Ok(())
    }
}
