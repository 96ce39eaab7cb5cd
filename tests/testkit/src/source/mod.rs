//! Proves a [`Source`]: every claimed capability must hold, and what is not claimed is left out.
//!
//! The source must hold data: at least one feed (or partition of one) whose rows come in three batches or more, and
//! whose version column, where it has one, holds the same value in neighbouring rows here and there.
//!
//! ```
//! use sync_core::StreamSpec;
//! use sync_core::memory::MemorySource;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let report = sync_testkit::source::conformance(async |_| {
//!     let shop = MemorySource::of([StreamSpec::new("orders").key(["id"]).text("note")]).page(10);
//!     (0..35i64).for_each(|id| shop.upsert("orders", [id.into(), "note".into()]));
//!     Ok::<_, sync_core::Error>(shop)
//! })
//! .await;
//! report.assert();
//! # }
//! ```
//!
//! A source whose rows the suite may also change is proven further: give it a [`Hand`] by [`with_hand`].

mod changes;
mod cursors;
mod listings;
mod reading;
mod shape;
mod watch;

use std::fmt::Display;

use async_trait::async_trait;
use sync_core::{Key, Result, Source};

use crate::report::{Check, Report, broken, checks};

/// What is proven: a source, and somebody who changes its rows.
///
/// Every source is a subject without a hand.
#[async_trait]
pub trait Subject: Send + Sync {
    /// The source.
    fn source(&self) -> &dyn Source;

    /// Does this at the other side. Returns the stream and the key it happened to, or `None` when nobody can.
    async fn act(&self, act: Act) -> Result<Option<(String, Key)>>;
}

/// What the suite asks to be done at the other side.
///
/// A check asks several times on one source, up to a few dozen: each call does it once more. [`Change`](Self::Change) may
/// come back to a row; each of the others names a row that no call named before. A hand that does something else than it
/// was asked for is told so, and the check does not blame the source.
///
/// A hand answers `None` to what cannot happen at the other side, and to nothing else: a check that is left out proves
/// nothing. [`Report::assert_held`] says which checks must not be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Act {
    /// Add a row with a new key, with a version (where there is one) above all others.
    Add,
    /// Change some row that has been there from the beginning, with a version above all others.
    Change,
    /// Delete some row that has been there from the beginning.
    Remove,
    /// Let a row, new or changed, take the very version of the highest row there is, so that both stand at one position;
    /// its key sorts *above* the keys of all rows with that version.
    TieAbove,
    /// The same, with a key that sorts *below* the highest key of the rows with that version. Answer `None` only where the
    /// other side cannot do this, not even by changing an old row: where a counter gives each change its own version.
    /// [`CursorKind`](sync_core::source::CursorKind) says what a source promises about it.
    TieBelow,
    /// Add rows with new keys in one transaction, more than a batch holds.
    AddGroup,
}

/// Somebody who changes rows at the other side of a source. [`Act`] says what is asked for, and how often.
#[async_trait]
pub trait Hand: Send + Sync {
    /// Does this, and returns the stream and the key it happened to; `None` where it cannot.
    async fn act(&self, act: Act) -> Result<Option<(String, Key)>>;
}

#[async_trait]
impl<S: Source> Subject for S {
    fn source(&self) -> &dyn Source {
        self
    }

    async fn act(&self, _: Act) -> Result<Option<(String, Key)>> {
        Ok(None)
    }
}

/// A source together with a hand.
#[derive(Debug)]
pub struct Handled<S, H> {
    source: S,
    hand: H,
}

/// The source, with somebody who changes its rows.
pub fn with_hand<S: Source, H: Hand>(source: S, hand: H) -> Handled<S, H> {
    Handled { source, hand }
}

#[async_trait]
impl<S: Source, H: Hand> Subject for Handled<S, H> {
    fn source(&self) -> &dyn Source {
        &self.source
    }

    async fn act(&self, act: Act) -> Result<Option<(String, Key)>> {
        self.hand.act(act).await
    }
}

/// Runs every check, each on a source of its own with the same data.
///
/// `make` is given the name of the check, which is different each time and fit for a file's name.
pub async fn conformance<S: Subject + 'static, E: Display>(make: impl AsyncFn(&str) -> Result<S, E>) -> Report {
    let mut report = Report::new("source");
    for check in CHECKS {
        let finding = match make(check.name).await {
            Ok(subject) => (check.run)(&subject).await,
            Err(error) => broken(format!("the source could not be made: {error}")),
        };
        report.add(check.name, check.says, finding);
    }
    report
}

/// The names of all checks of [`conformance`].
pub fn names() -> Vec<&'static str> {
    CHECKS.iter().map(|check| check.name).collect()
}

const CHECKS: &[Check<dyn Subject>] = checks![dyn Subject;
    shape::there_is_enough_to_read => "the suite needs a feed whose rows come in three batches or more",
    shape::feeds_and_partitions_stay_the_same => "names and partitions must stay the same over releases: cursors are kept under them",
    shape::rows_belong_to_their_feed => "streams that share one cursor: a batch holds rows of them, in their schema",
    shape::partitions_share_no_row => "the durable parts of a feed",
    reading::a_read_ends_where_one_may_stop => "`Inside` forbids stopping: a read that ends there is not over",
    reading::reading_again_brings_the_same => "reading the same position again brings the same changes",
    reading::a_dropped_read_leaves_nothing_behind => "dropping the stream stops the read; a later read does not trip over it",
    reading::a_first_load_comes_by_key => "in which order rows come on a first load: by key, ascending",
    reading::groups_are_not_torn => "nobody may stop inside a group",
    cursors::no_row_is_lost_behind_a_cursor => "every change before that cursor has been handed over, in this read or an earlier one",
    cursors::every_read_can_be_continued => "`Boundary::Resume`: reading may continue here",
    cursors::the_last_cursor_has_everything_behind_it => "the cursor names the position and what breaks ties there; without cursors every read starts at the beginning",
    cursors::a_foreign_cursor_is_gone => "`Gone` when another version wrote it, or it cannot be read",
    cursors::receipts_may_come_twice => "may be called again with the same receipt",
    listings::a_listing_names_every_row_once => "a complete listing of rows: begins with `Boundary::Begins` and ends with `Boundary::Ends`",
    listings::a_listing_says_what_it_covers => "the scope it covered",
    listings::a_range_brings_its_rows_alone => "all rows of a scope, whatever the cursor of changes is",
    changes::an_added_row_comes_next => "every change is handed over once it is there",
    changes::a_changed_row_comes_next => "every change is handed over once it is there",
    changes::a_row_at_the_same_position_comes_too => "rows that share a position are not lost (P3)",
    changes::a_row_below_the_cursor_at_its_position_comes_too => "never hand out a cursor past rows that may still appear (P3)",
    changes::a_change_during_a_read_is_not_lost => "never hand out a cursor past rows that may still appear (P3)",
    changes::a_first_load_brings_every_row_whatever_changed_before => "every change before that cursor has been handed over, in this read or an earlier one",
    changes::changes_of_one_row_come_in_order => "changes of one key come in the order they happened",
    changes::a_deleted_row_is_reported => "whether it reports deletes",
    changes::a_row_deleted_during_a_first_load_is_reported => "where a source reports deletes, a read from the beginning begins with a position",
    changes::a_deleted_row_is_not_listed => "the rows after this one are all rows of it",
];
