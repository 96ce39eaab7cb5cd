//! What a conformance suite found, check by check.

use std::fmt;

use futures::future::BoxFuture;
use sync_core::Error;

/// What became of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The adapter keeps the sentence.
    Held,
    /// The adapter does not claim what the check is about; says what.
    Skipped(String),
    /// The adapter breaks the sentence; says how.
    Broken(String),
}

/// One check of a suite, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checked {
    /// The check's name.
    pub name: &'static str,
    /// The sentence of the specification that it is about.
    pub says: &'static str,
    /// What became of it.
    pub verdict: Verdict,
}

/// What a suite found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a report proves nothing until somebody looks: call `assert` or `assert_held`"]
pub struct Report {
    subject: String,
    checks: Vec<Checked>,
}

impl Report {
    pub(crate) fn new(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), checks: Vec::new() }
    }

    pub(crate) fn add(&mut self, name: &'static str, says: &'static str, finding: Finding) {
        let verdict = match finding {
            Ok(()) => Verdict::Held,
            Err(Stop::Skipped(why)) => Verdict::Skipped(why),
            Err(Stop::Broken(how)) => Verdict::Broken(how),
        };
        self.checks.push(Checked { name, says, verdict });
    }

    /// Every check in order.
    pub fn checks(&self) -> &[Checked] {
        &self.checks
    }

    /// The names of the checks that the adapter breaks.
    pub fn broken(&self) -> Vec<&'static str> {
        self.named(|verdict| matches!(verdict, Verdict::Broken(_)))
    }

    /// The names of the checks that were left out, since the adapter does not claim what they are about.
    pub fn skipped(&self) -> Vec<&'static str> {
        self.named(|verdict| matches!(verdict, Verdict::Skipped(_)))
    }

    /// The names of the checks that the adapter keeps.
    pub fn held(&self) -> Vec<&'static str> {
        self.named(|verdict| matches!(verdict, Verdict::Held))
    }

    /// Passes when no check is broken.
    ///
    /// # Panics
    /// With the whole report, when one is.
    #[track_caller]
    pub fn assert(&self) {
        assert!(self.broken().is_empty(), "{self}");
    }

    /// Passes when no check is broken, and none of these was left out: for what must not go unproven.
    ///
    /// # Panics
    /// With the whole report, when one is broken or left out; with the names that are nearest, when the suite has no check of
    /// that name.
    #[track_caller]
    pub fn assert_held<'a>(&self, names: impl IntoIterator<Item = &'a str>) {
        self.assert();
        let names: Vec<&str> = names.into_iter().collect();
        for name in &names {
            let known = self.checks.iter().any(|check| check.name == *name);
            assert!(known, "{} has no check {name:?}; there are {}", self.subject, self.nearest(name).join(", "));
        }
        let held = self.held();
        let missing: Vec<&str> = names.into_iter().filter(|name| !held.contains(name)).collect();
        assert!(missing.is_empty(), "these checks were not held: {missing:?}\n{self}");
    }

    /// The names of checks that are most like this one.
    fn nearest(&self, name: &str) -> Vec<&'static str> {
        let mut names = self.named(|_| true);
        let unlike = |other: &&'static str| (strsim::sorensen_dice(name, other) * -1000.0) as i64;
        names.sort_by_key(unlike);
        names.truncate(3);
        names
    }

    /// Passes when no check is broken, and none was left out: for an adapter that claims everything.
    ///
    /// # Panics
    /// With the whole report, when one is broken or left out.
    #[track_caller]
    pub fn assert_no_skips(&self) {
        self.assert();
        assert!(self.skipped().is_empty(), "checks were left out\n{self}");
    }

    fn named(&self, wanted: impl Fn(&Verdict) -> bool) -> Vec<&'static str> {
        self.checks.iter().filter(|check| wanted(&check.verdict)).map(|check| check.name).collect()
    }
}

impl fmt::Display for Report {
    /// What is broken with its sentence first, then the rest by name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (held, skipped, broken) = (self.held().len(), self.skipped().len(), self.broken().len());
        writeln!(f, "{}: {held} checks held, {broken} broken, {skipped} skipped", self.subject)?;
        for check in &self.checks {
            if let Verdict::Broken(how) = &check.verdict {
                writeln!(
                    f,
                    "  BROKEN  {}\n          the specification says: {}\n          but {how}",
                    check.name, check.says
                )?;
            }
        }
        for check in &self.checks {
            match &check.verdict {
                Verdict::Held => writeln!(f, "  held    {}", check.name)?,
                Verdict::Skipped(why) => writeln!(f, "  skipped {} ({why})", check.name)?,
                Verdict::Broken(_) => {}
            }
        }
        Ok(())
    }
}

/// What a check comes to.
pub(crate) type Finding = Result<(), Stop>;

/// Why a check did not hold.
#[derive(Debug)]
pub(crate) enum Stop {
    Skipped(String),
    Broken(String),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Broken(format!("it failed: {error:?}"))
    }
}

/// One check of an adapter of type `T`.
pub(crate) struct Check<T: ?Sized> {
    pub(crate) name: &'static str,
    pub(crate) says: &'static str,
    pub(crate) run: for<'a> fn(&'a T) -> BoxFuture<'a, Finding>,
}

/// The table of a suite: each check is an async function of the same name, with the sentence that it is about.
macro_rules! checks {
    ($subject:ty; $($check:path => $says:literal),+ $(,)?) => {
        &[$($crate::report::Check::<$subject> {
            name: $crate::report::last_part(stringify!($check)),
            says: $says,
            run: |subject| Box::pin($check(subject)),
        }),+]
    };
}
pub(crate) use checks;

/// The name of a check without the path of its module.
pub(crate) const fn last_part(path: &'static str) -> &'static str {
    let bytes = path.as_bytes();
    let mut start = bytes.len();
    while start > 0 && bytes[start - 1] != b':' && bytes[start - 1] != b' ' {
        start -= 1;
    }
    path.split_at(start).1
}

/// Leaves the check out unless the adapter claims this.
pub(crate) fn needs(claimed: bool, what: &str) -> Finding {
    if claimed { Ok(()) } else { Err(Stop::Skipped(format!("needs {what}"))) }
}

/// Breaks the check unless this holds.
pub(crate) fn holds(condition: bool, otherwise: impl Into<String>) -> Finding {
    if condition { Ok(()) } else { broken(otherwise) }
}

/// Breaks the check unless both are the same.
pub(crate) fn same<T: PartialEq<U> + fmt::Debug, U: fmt::Debug>(what: &str, found: T, wanted: U) -> Finding {
    if found == wanted { Ok(()) } else { broken(format!("{what}: found {found:?}, wanted {wanted:?}")) }
}

/// Breaks the check.
pub(crate) fn broken(how: impl Into<String>) -> Finding {
    Err(Stop::Broken(how.into()))
}
