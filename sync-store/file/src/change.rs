//! What an event changes in the file, as data: changes that could not be written add up to one.

use chrono::{DateTime, Utc};

use crate::state::State;
use crate::status::SyncStatus;

/// A change of the file; what is `None` stays as it is.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Change {
    pub(crate) at: DateTime<Utc>,
    /// When the file begins again, before the rest is done.
    pub(crate) afresh: Option<DateTime<Utc>>,
    pub(crate) status: Option<State>,
    pub(crate) synced: Option<DateTime<Utc>>,
    pub(crate) pending: Option<u64>,
    pub(crate) error: Option<Option<String>>,
    /// Whether failures are counted from zero, and how many are added then.
    pub(crate) succeeded: bool,
    pub(crate) failures: u64,
}

impl Change {
    pub(crate) fn at(at: DateTime<Utc>) -> Self {
        Self { at, ..Self::default() }
    }

    /// This change and then a later one, as one.
    pub(crate) fn then(self, later: Self) -> Self {
        if later.afresh.is_some() {
            return later;
        }
        Self {
            at: later.at,
            afresh: self.afresh,
            status: later.status.or(self.status),
            synced: later.synced.or(self.synced),
            pending: later.pending.or(self.pending),
            error: later.error.or(self.error),
            succeeded: self.succeeded || later.succeeded,
            failures: if later.succeeded { later.failures } else { self.failures + later.failures },
        }
    }

    pub(crate) fn apply(&self, file: &mut SyncStatus) {
        if let Some(at) = self.afresh {
            file.reset(at);
        }
        file.updated_at = self.at;
        if let Some(status) = &self.status {
            file.status = status.clone();
        }
        file.last_synced_at = self.synced.or(file.last_synced_at);
        file.pending_records = self.pending.unwrap_or(file.pending_records);
        if let Some(error) = &self.error {
            file.last_error.clone_from(error);
        }
        let counted = if self.succeeded { 0 } else { file.retry_count };
        file.retry_count = counted.saturating_add(self.failures);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_added_up_do_what_they_do_one_by_one() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        let changes = [
            Change { status: Some(State::Running), pending: Some(5), ..Change::at(at(1)) },
            Change { status: Some(State::Failed), failures: 1, error: Some(Some("down".into())), ..Change::at(at(2)) },
            Change { succeeded: true, synced: Some(at(3)), error: Some(None), pending: Some(0), ..Change::at(at(3)) },
            Change { afresh: Some(at(4)), ..Change::at(at(4)) },
            Change::at(at(5)),
        ];
        for first in &changes {
            for second in &changes {
                for third in &changes {
                    let mut singly = SyncStatus::begun(at(0));
                    singly.retry_count = 7;
                    let mut at_once = singly.clone();
                    [first, second, third].iter().for_each(|change| change.apply(&mut singly));
                    first.clone().then(second.clone()).then(third.clone()).apply(&mut at_once);
                    assert_eq!(at_once.to_json(), singly.to_json());
                }
            }
        }
    }
}
