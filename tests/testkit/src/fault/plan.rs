//! The script: which calls go wrong, and how.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sync_core::{Error, ErrorKind, Key, Result, Retry};

use super::{At, Call, Fault};
use crate::random::Random;

/// Which calls go wrong, and how. Clones share one script, one count and one source of chance.
#[derive(Debug, Clone)]
pub struct FaultPlan {
    state: Arc<Mutex<State>>,
}

/// A fault that was injected.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Injected {
    /// The call.
    pub call: Call,
    /// Which call of its kind, from 1.
    pub number: u64,
    /// What went wrong.
    pub fault: Fault,
}

#[derive(Debug)]
struct State {
    random: Random,
    rules: Vec<Rule>,
    poison: Vec<Poison>,
    calls: BTreeMap<Call, u64>,
    injected: Vec<Injected>,
    crashed: bool,
    quiet: bool,
}

#[derive(Debug)]
struct Rule {
    call: Call,
    at: At,
    fault: Fault,
    left: u64,
}

/// Rows that the target refuses.
#[derive(Debug)]
enum Poison {
    Row { stream: String, key: Key, named: bool },
    Share { seed: u64, share: f64, named: bool },
}

/// How a target speaks of a row it refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// It names the row.
    Named,
    /// It only says that one of them is bad.
    Unnamed,
}

impl FaultPlan {
    /// A plan without faults, whose chances follow from the seed.
    pub fn new(seed: u64) -> Self {
        let state = State {
            random: Random::new(seed),
            rules: Vec::new(),
            poison: Vec::new(),
            calls: BTreeMap::new(),
            injected: Vec::new(),
            crashed: false,
            quiet: false,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Lets these calls go wrong. Where two rules meet, the one that was given first holds.
    #[must_use]
    pub fn on(self, call: Call, at: At, fault: Fault) -> Self {
        self.at_most(u64::MAX, call, at, fault)
    }

    /// Lets these calls go wrong, so many times in all.
    #[must_use]
    pub fn at_most(self, times: u64, call: Call, at: At, fault: Fault) -> Self {
        self.add(Rule { call, at, fault, left: times });
        self
    }

    /// Lets the sink refuse this row for ever, by name: the error says which row it is.
    #[must_use]
    pub fn poison(self, stream: &str, key: Key) -> Self {
        self.lock().poison.push(Poison::Row { stream: stream.to_owned(), key, named: true });
        self
    }

    /// Lets the sink refuse this row for ever without saying which row it is: somebody has to search.
    #[must_use]
    pub fn hidden_poison(self, stream: &str, key: Key) -> Self {
        self.lock().poison.push(Poison::Row { stream: stream.to_owned(), key, named: false });
        self
    }

    /// Lets the sink refuse a share of all rows, from 0 to 1, chosen by key: a row is either always good or always bad.
    #[must_use]
    pub fn poison_share(self, share: f64, named: bool) -> Self {
        {
            let mut state = self.lock();
            let seed = state.random.next();
            state.poison.push(Poison::Share { seed, share, named });
        }
        self
    }

    /// Whether the sink refuses this row.
    pub fn is_poison(&self, stream: &str, key: &Key) -> bool {
        self.lock().blame(stream, key).is_some()
    }

    /// Mends all rows: from now on the sink takes them.
    pub fn heal(&self) {
        self.lock().poison.clear();
    }

    /// Injects nothing any more; poison stays. What must come to rest, comes to rest now.
    pub fn quiet(&self) {
        self.lock().quiet = true;
    }

    /// Injects again.
    pub fn resume(&self) {
        self.lock().quiet = false;
    }

    /// Whether the process has died.
    pub fn has_crashed(&self) -> bool {
        self.lock().crashed
    }

    /// Starts the process again after a crash. The counts go on.
    pub fn restart(&self) {
        self.lock().crashed = false;
    }

    /// How many calls there were of this kind.
    pub fn calls(&self, call: Call) -> u64 {
        self.lock().calls.get(&call).copied().unwrap_or(0)
    }

    /// The faults that were injected, in order.
    pub fn injected(&self) -> Vec<Injected> {
        self.lock().injected.clone()
    }

    fn add(&self, rule: Rule) {
        self.lock().rules.push(rule);
    }

    /// Counts a call and says what goes wrong with it.
    ///
    /// # Errors
    /// When the process has died already.
    pub(super) fn strike(&self, call: Call) -> Result<Option<Fault>> {
        let mut state = self.lock();
        if state.crashed {
            return Err(dead(call));
        }
        let fault = state.strike(call);
        if matches!(fault, Some(Fault::CrashBefore | Fault::CrashAfter)) {
            state.crashed = true;
        }
        Ok(fault)
    }

    /// How the sink speaks of this row, when it refuses it.
    pub(super) fn blame(&self, stream: &str, key: &Key) -> Option<Blame> {
        self.lock().blame(stream, key)
    }

    /// The error of a fault.
    pub(super) fn error(&self, call: Call, fault: Fault) -> Error {
        match fault {
            Fault::Refuse(kind) => Error::new(kind, "refused on purpose"),
            Fault::Throttle(pause) => {
                Error::new(ErrorKind::Throttled, "throttled on purpose").with_retry(Retry::After(pause))
            }
            Fault::LostReply | Fault::LostRequest => Error::unavailable("no reply came, on purpose").ambiguous(),
            Fault::CrashBefore | Fault::CrashAfter => dead(call),
            _ => Error::unavailable("failed on purpose"),
        }
        .with("call", format_args!("{call:?}"))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn strike(&mut self, call: Call) -> Option<Fault> {
        let mut count = |call| {
            let calls = self.calls.entry(call).or_default();
            *calls += 1;
            *calls
        };
        let (number, of_all) = (count(call), count(Call::Any));
        if self.quiet {
            return None;
        }
        for rule in &mut self.rules {
            let number = match rule.call {
                Call::Any => of_all,
                own if own == call => number,
                _ => continue,
            };
            let strikes = match rule.at {
                At::Nth(nth) => number == nth,
                At::From(first) => number >= first,
                At::Every(nth) => nth > 0 && number.is_multiple_of(nth),
                At::Chance(chance) => self.random.chance(chance),
            };
            if strikes && rule.left > 0 {
                rule.left -= 1;
                self.injected.push(Injected { call, number, fault: rule.fault });
                return Some(rule.fault);
            }
        }
        None
    }

    fn blame(&self, stream: &str, key: &Key) -> Option<Blame> {
        let named = self.poison.iter().find_map(|poison| match poison {
            Poison::Row { stream: bad, key: row, named } => (bad == stream && row == key).then_some(*named),
            Poison::Share { seed, share, named } => {
                Random::new(seed ^ key.stable_hash()).chance(*share).then_some(*named)
            }
        });
        named.map(|named| if named { Blame::Named } else { Blame::Unnamed })
    }
}

fn dead(call: Call) -> Error {
    Error::internal("the process has died, on purpose").with("call", format_args!("{call:?}"))
}
