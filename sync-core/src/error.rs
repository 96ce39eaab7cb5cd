//! One error for the whole library: what went wrong, whether to try again, and what an operator should do.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::model::Value;
use crate::state::FencingToken;

/// The result of everything in this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What kind of thing went wrong. [`Error::remedy`] says what an operator should do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The host asked for something that cannot work: a bad option, a missing capability, a bad name.
    Config,
    /// The other side does not accept our credentials.
    Unauthorized,
    /// The other side knows us and says no.
    Forbidden,
    /// The position we hold no longer exists at the other side: start over with a full run.
    Gone,
    /// The other side asks us to slow down.
    Throttled,
    /// The other side, or the way to it, is down or too slow for the moment.
    Unavailable,
    /// The other side answered with something that cannot be read.
    Malformed,
    /// A row is not acceptable to the target, whoever tries it and however often.
    Data,
    /// Somebody else changed the row between our reading and our writing.
    Conflict,
    /// A newer holder of the same lease has taken over, or the lease is held by somebody else.
    Fenced,
    /// The target has no room left.
    Full,
    /// The shape of the source or the target is not what was declared.
    Schema,
    /// A safety limit was reached: endless paging, oversize body, too many rejected rows.
    Limit,
    /// The host asked us to stop.
    Cancelled,
    /// A promise inside this library was broken.
    Internal,
}

impl ErrorKind {
    /// What an operator should do about an error of this kind, where nothing more is known: see [`Error::remedy`].
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Config => "correct the configuration that the message names, then run again",
            Self::Unauthorized => "check or renew the credentials, then run again",
            Self::Forbidden => "grant the account the right that the message names",
            Self::Gone => "run once with the option `full`; the saved position is no longer valid at the source",
            Self::Throttled => "wait; the next run starts by itself after the time the source asked for",
            Self::Unavailable => {
                "check that the other side is up and reachable; the next run continues where this one stopped"
            }
            Self::Malformed => {
                "compare what the source answers with its declaration, as the message says, and correct one of the two"
            }
            Self::Data => "look at the dead letters, correct the rows or the declaration, and replay them",
            Self::Conflict => "run again; another writer changed the same rows meanwhile",
            Self::Fenced => {
                "nothing, if another process does this work now. Two that run at once must not share an owner: give each a name of its own that stays the same, `.owner(…)`. What a killed one has left is free for the same owner at once, for others when the message says (`until`)"
            }
            Self::Full => "free space at the target, then run again",
            Self::Schema => "compare the difference in the message with the declaration, and correct one of the two",
            Self::Limit => "raise the limit in the message if it is too low; otherwise repair the source",
            Self::Cancelled => "run again; the next run continues where this one stopped",
            Self::Internal => "report this as a defect, with the message and the log",
        }
    }

    /// A short lower-case name, stable over releases, for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Gone => "gone",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Malformed => "malformed",
            Self::Data => "data",
            Self::Conflict => "conflict",
            Self::Fenced => "fenced",
            Self::Full => "full",
            Self::Schema => "schema",
            Self::Limit => "limit",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        }
    }
}

/// Whether the same call may succeed later. Only the engine acts on it: adapters never retry by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Retry {
    /// It will fail again in the same way.
    #[default]
    Never,
    /// Try again with growing pauses.
    Backoff,
    /// Try again, but not before this much time has passed (the source said so).
    After(Duration),
    /// It was tried as often as the policy allows.
    Exhausted,
}

/// An error: kind, retry advice, what was being done, and the cause.
///
/// Messages start lower-case and name the thing at fault; they never hold a secret or the value of a row.
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    kind: ErrorKind,
    retry: Retry,
    ambiguous: bool,
    remedy: Option<&'static str>,
    message: Cow<'static, str>,
    context: Vec<(&'static str, String)>,
    fenced_by: Option<FencingToken>,
    row: Option<RowAt>,
    staged: Option<Vec<Value>>,
    others: Vec<Error>,
    cause: Option<Cause>,
}

/// The change of a write unit that an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowAt {
    /// The position of the step in the unit.
    pub step: usize,
    /// The position of the change in the step.
    pub row: usize,
}

impl Error {
    /// An error of this kind with a message that names the thing at fault. It says [`Retry::Never`] unless told otherwise.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            inner: Box::new(Inner {
                kind,
                retry: Retry::Never,
                ambiguous: false,
                remedy: None,
                message: message.into(),
                context: Vec::new(),
                fenced_by: None,
                row: None,
                staged: None,
                others: Vec::new(),
                cause: None,
            }),
        }
    }

    /// The host asked for something that cannot work.
    pub fn config(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// The other side is down for the moment; retried with growing pauses.
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Unavailable, message).with_retry(Retry::Backoff)
    }

    /// A file cannot be read or written. The message says what was tried; name the file with [`Error::with`]. What a
    /// person must mend first, such as a folder that is missing or may not be written, is a fault of the configuration; what
    /// is not written as it must be, such as a text that is not UTF-8, is malformed; all else may pass.
    pub fn file(message: impl Into<Cow<'static, str>>, cause: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let error = match cause.kind() {
            Io::NotFound | Io::PermissionDenied | Io::NotADirectory | Io::IsADirectory | Io::ReadOnlyFilesystem => {
                Self::config(message)
            }
            Io::InvalidData => Self::malformed(message),
            Io::StorageFull | Io::QuotaExceeded => Self::unavailable(message).with_remedy(Self::NO_ROOM),
            _ => Self::unavailable(message).with_remedy(Self::FILE),
        };
        error.caused_by(cause)
    }

    /// A row is not acceptable to the target.
    pub fn data(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Data, message)
    }

    /// The other side's answer cannot be read.
    pub fn malformed(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Malformed, message)
    }

    /// A promise inside this library was broken.
    pub fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Another holder with a higher token has taken over.
    pub fn fenced(by: FencingToken, message: impl Into<Cow<'static, str>>) -> Self {
        let mut error = Self::new(ErrorKind::Fenced, message);
        error.inner.fenced_by = Some(by);
        error
    }

    /// What to do about a file that cannot be read or written for now.
    const FILE: &str =
        "see what keeps the file from being used, as the message says; the next run continues where this one stopped";

    const NO_ROOM: &str = "free space where the file lies; the next run continues where this one stopped";

    /// What to do about a database file that another program has locked.
    pub const FILE_LOCKED: &str =
        "another program has the file locked: let it finish, or end it; the next run continues where this one stopped";

    /// What to do about a database file that may not be opened or written.
    pub const FILE_FORBIDDEN: &str = "let this account read and write the file and the folder that it lies in";

    /// Says what an operator should do, where that is not what [`ErrorKind::remedy`] says of all errors of this kind.
    #[must_use]
    pub fn with_remedy(mut self, remedy: &'static str) -> Self {
        self.inner.remedy = Some(remedy);
        self
    }

    /// Says whether the same call may succeed later.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.inner.retry = retry;
        self
    }

    /// Says that the effect may have happened although the call failed (a lost reply).
    #[must_use]
    pub fn ambiguous(mut self) -> Self {
        self.inner.ambiguous = true;
        self
    }

    /// Says that the effect has not happened, after somebody has looked.
    #[must_use]
    pub fn without_effect(mut self) -> Self {
        self.inner.ambiguous = false;
        self
    }

    /// Adds what was being done: a name and an id, never a value of a row.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        let (key, value) = (key, value.to_string());
        self.inner.others = self.inner.others.into_iter().map(|other| other.with(key, &value)).collect();
        if !self.inner.context.iter().any(|known| (known.0, known.1.as_str()) == (key, value.as_str())) {
            self.inner.context.push((key, value));
        }
        self
    }

    /// Names the one change of the unit that is at fault, so that the engine need not search for it.
    #[must_use]
    pub fn at_row(mut self, step: usize, row: usize) -> Self {
        self.inner.row = Some(RowAt { step, row });
        self
    }

    /// Keeps the values of the one staged row that is at fault, in schema order: for its dead letter, never for a message.
    #[must_use]
    pub fn with_staged_row(mut self, step: usize, values: Vec<Value>) -> Self {
        self.inner.row = Some(RowAt { step, row: 0 });
        self.inner.staged = Some(values);
        self
    }

    /// Names further changes of the same unit that are at fault, each by an error of its own, so that the engine need not
    /// try the unit once for each of them. The positions are those of the unit as it was given, in its order; each row is
    /// at fault with those before it left out.
    #[must_use]
    pub fn with_others(mut self, others: impl IntoIterator<Item = Self>) -> Self {
        self.inner.others.extend(others);
        self
    }

    /// Keeps the error that caused this one.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<Cause>) -> Self {
        self.inner.cause = Some(cause.into());
        self
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// What an operator should do about it.
    pub fn remedy(&self) -> &'static str {
        self.inner.remedy.unwrap_or(self.inner.kind.remedy())
    }

    /// Whether the same call may succeed later.
    pub fn retry(&self) -> Retry {
        self.inner.retry
    }

    /// Whether the effect may have happened although the call failed.
    pub fn is_ambiguous(&self) -> bool {
        self.inner.ambiguous
    }

    /// The change of the unit that is at fault, where the sink could tell.
    pub fn row(&self) -> Option<RowAt> {
        self.inner.row
    }

    /// The values of the one staged row that is at fault, where a publish could tell.
    pub fn staged_row(&self) -> Option<&[Value]> {
        self.inner.staged.as_deref()
    }

    /// The errors of further changes of the unit that are at fault as well.
    pub fn others(&self) -> &[Self] {
        &self.inner.others
    }

    /// Gives the changes that are at fault the places that `place` names for them.
    pub(crate) fn placed(mut self, place: &impl Fn(RowAt) -> RowAt) -> Self {
        self.inner.row = self.inner.row.map(place);
        self.inner.others = self.inner.others.into_iter().map(|other| other.placed(place)).collect();
        self
    }

    /// The token that fenced us, where the other side could tell.
    pub fn fenced_by(&self) -> Option<FencingToken> {
        self.inner.fenced_by
    }

    /// The message alone, without context and cause.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// What was being done, as names and ids.
    pub fn context(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.inner.context.iter().map(|(key, value)| (*key, value.as_str()))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)?;
        for (index, (key, value)) in self.inner.context.iter().enumerate() {
            let open = if index == 0 { " [" } else { ", " };
            write!(f, "{open}{key}: {value}")?;
        }
        if !self.inner.context.is_empty() {
            f.write_str("]")?;
        }
        if let Some(cause) = &self.inner.cause {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} error", self.inner.kind.name())?;
        match (self.inner.retry, self.inner.ambiguous) {
            (Retry::Never, false) => {}
            (Retry::Never, true) => f.write_str(" (ambiguous)")?,
            (retry, false) => write!(f, " ({retry:?})")?,
            (retry, true) => write!(f, " ({retry:?}, ambiguous)")?,
        }
        write!(f, ": {self}; remedy: {}", self.remedy())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner.cause.as_deref().map(|cause| cause as _)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_missing_folder_is_for_a_person_to_mend_and_a_full_disk_may_pass() {
        let said = |kind| {
            let error = Error::file("cannot write the file", io::Error::from(kind));
            (error.kind(), error.retry())
        };
        assert_eq!(said(io::ErrorKind::NotFound), (ErrorKind::Config, Retry::Never));
        assert_eq!(said(io::ErrorKind::PermissionDenied), (ErrorKind::Config, Retry::Never));
        assert_eq!(said(io::ErrorKind::StorageFull), (ErrorKind::Unavailable, Retry::Backoff));
        // A text that is no UTF-8 does not become one by waiting.
        assert_eq!(said(io::ErrorKind::InvalidData).0, ErrorKind::Malformed);
    }

    #[test]
    fn nobody_is_sent_to_another_side_for_a_file_of_this_machine() {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Interrupted, io::ErrorKind::TimedOut] {
            let remedy = Error::file("cannot write the file", io::Error::from(kind)).remedy();
            assert!(!remedy.contains("other side") && remedy.contains("file"), "{kind:?}: {remedy}");
        }
    }
}
