//! Puts an engine together, and refuses what cannot work before anything is read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::breaker::Breaker;
use super::pipeline::Pipeline;
use super::planted::Planted;
use super::{Engine, Inner};
use crate::clock::{Clock, SystemClock, split_mix};
use crate::event::Listener;
use crate::retry::RetryPolicy;
use crate::state::StateStore;
use crate::{Error, Result};

/// Puts an engine together.
#[derive(Debug)]
pub struct EngineBuilder {
    store: Arc<dyn StateStore>,
    clock: Arc<dyn Clock>,
    pipelines: Vec<Pipeline>,
    listeners: Vec<Arc<dyn Listener>>,
    owner: Option<String>,
    settings: Settings,
}

/// The engine's figures.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) lease_ttl: Duration,
    pub(super) retry: RetryPolicy,
    pub(super) breaker: Breaker,
    pub(super) read_ahead_bytes: u32,
    pub(super) unit_rows: usize,
    pub(super) partitions_at_once: usize,
    pub(super) planted: Planted,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease_ttl: Duration::from_secs(30),
            retry: RetryPolicy::default(),
            breaker: Breaker::default(),
            read_ahead_bytes: 4 << 20,
            unit_rows: 5_000,
            partitions_at_once: 4,
            planted: Planted::default(),
        }
    }
}

impl EngineBuilder {
    pub(super) fn new(store: impl StateStore + 'static) -> Self {
        Self {
            store: Arc::new(store),
            clock: Arc::new(SystemClock::new()),
            pipelines: Vec::new(),
            listeners: Vec::new(),
            owner: None,
            settings: Settings::default(),
        }
    }

    /// Adds a pipeline.
    #[must_use]
    pub fn pipeline(mut self, pipeline: Pipeline) -> Self {
        self.pipelines.push(pipeline);
        self
    }

    /// Tells this listener what happens.
    #[must_use]
    pub fn listener(mut self, listener: impl Listener + 'static) -> Self {
        self.listeners.push(Arc::new(listener));
        self
    }

    /// Takes time and randomness from here.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The name of this process among those that share the store: a host or pod name. It must belong to one living
    /// process, and stay the same over restarts: then a restart takes its own leases over at once, instead of waiting
    /// for them to expire. Without one, a random name is used.
    #[must_use]
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// How long a lease lasts without renewal; it is renewed every third of this. The default is 30 s.
    #[must_use]
    pub fn lease_ttl(mut self, ttl: Duration) -> Self {
        self.settings.lease_ttl = ttl;
        self
    }

    /// How often and how long to try again. The same policy serves reads, writes and leases.
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.settings.retry = retry;
        self
    }

    /// When rejected rows stop a run.
    #[must_use]
    pub fn breaker(mut self, breaker: Breaker) -> Self {
        self.settings.breaker = breaker;
        self
    }

    /// How many bytes of rows may be read ahead of the sink, for each partition that runs. The default is 4 MiB.
    #[must_use]
    pub fn read_ahead(mut self, bytes: u32) -> Self {
        self.settings.read_ahead_bytes = bytes.max(1);
        self
    }

    /// How many rows one transaction takes at most, unless a group needs more. The default is 5,000.
    #[must_use]
    pub fn unit_rows(mut self, rows: usize) -> Self {
        self.settings.unit_rows = rows.max(1);
        self
    }

    /// How many partitions of one feed run at once. The default is 4.
    #[must_use]
    pub fn partitions_at_once(mut self, partitions: usize) -> Self {
        self.settings.partitions_at_once = partitions.max(1);
        self
    }

    /// Plants a known bug, to prove that a simulation would catch it.
    #[cfg(feature = "planted-bugs")]
    #[must_use]
    pub fn plant(mut self, bug: super::Bug) -> Self {
        self.settings.planted = Planted(Some(bug));
        self
    }

    /// Checks everything that can be checked without touching the network, and puts the engine together.
    ///
    /// # Errors
    /// `Config`, naming the pipeline and stream at fault and what to do.
    pub fn build(self) -> Result<Engine> {
        if self.settings.lease_ttl < Duration::from_millis(30) {
            return Err(Error::config(
                "the lease time is below 30 ms: it must be long enough to be renewed three times",
            ));
        }
        self.settings.breaker.check()?;
        let mut pipelines = BTreeMap::new();
        for pipeline in self.pipelines {
            pipeline.check()?;
            let name = pipeline.name.clone();
            if pipelines.insert(name.clone(), Arc::new(pipeline)).is_some() {
                return Err(Error::config(
                    "two pipelines have the same name; their checkpoints would overwrite each other",
                )
                .with("pipeline", name));
            }
        }
        let owner = self.owner.unwrap_or_else(|| format!("engine-{:016x}", split_mix(self.clock.random())));
        let inner = Inner {
            store: self.store,
            clock: self.clock,
            pipelines,
            listeners: self.listeners,
            owner,
            settings: self.settings,
            turns: Mutex::default(),
        };
        Ok(Engine { inner: Arc::new(inner) })
    }
}
