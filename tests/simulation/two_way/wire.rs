//! What lies between a branch and its master, and under both: a network that loses, doubles and delays, and processes that die
//! around a commit.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use sync_core::two_way::{
    Access, Became, Book, Edit, Entry, Head, Held, Hub, Master, Outline, Page, Pull, Push, Pushed, Replica, RowWrite,
    Stamp, Table, Tables, Transaction,
};
use sync_core::{Error, Key, Result, Value};
use sync_testkit::Random;

/// Faults, drawn from the seed.
#[derive(Debug, Clone)]
pub(super) struct Faults(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    random: Random,
    rate: f64,
    injected: usize,
    /// Messages that were sent: the network may bring one again, much later.
    sent: Vec<Message>,
    /// Messages with anything in them.
    busy: u64,
    /// Edits as they were sent, and what they became, by branch and number.
    answered: BTreeMap<(String, u64), (Edit, Option<Became>)>,
}

#[derive(Debug, Clone)]
enum Message {
    Push(Push),
    Pull(Pull),
}

impl Faults {
    pub(super) fn new(seed: u64, rate: f64) -> Self {
        Self(Arc::new(Mutex::new(State {
            random: Random::new(seed),
            rate,
            injected: 0,
            sent: Vec::new(),
            busy: 0,
            answered: BTreeMap::new(),
        })))
    }

    pub(super) fn quiet(&self) {
        self.0.lock().unwrap().rate = 0.0;
    }

    pub(super) fn injected(&self) -> usize {
        self.0.lock().unwrap().injected
    }

    fn strikes(&self) -> bool {
        let mut state = self.0.lock().unwrap();
        let rate = state.rate;
        let strikes = rate > 0.0 && state.random.chance(rate);
        state.injected += usize::from(strikes);
        strikes
    }

    fn note(&self, message: Message) {
        self.0.lock().unwrap().sent.push(message);
    }

    /// How many messages carried anything since the last time.
    pub(super) fn busy(&self) -> u64 {
        std::mem::take(&mut self.0.lock().unwrap().busy)
    }

    fn note_edits(&self, push: &Push, pushed: Option<&Pushed>) {
        let mut state = self.0.lock().unwrap();
        for edit in push.groups.iter().flat_map(|group| &group.edits) {
            let result = pushed.and_then(|pushed| pushed.results.iter().find(|result| result.op == edit.op));
            let entry = state.answered.entry((push.peer.to_string(), edit.op)).or_insert_with(|| (edit.clone(), None));
            if let Some(result) = result {
                // A branch that was restored from a backup gives the numbers that never arrived to other edits.
                *entry = (edit.clone(), Some(result.became));
            }
        }
    }

    /// All edits that were sent, and what they became, by branch and number.
    pub(super) fn answered(&self) -> BTreeMap<(String, u64), (Edit, Option<Became>)> {
        self.0.lock().unwrap().answered.clone()
    }

    fn count(&self, busy: bool) {
        self.0.lock().unwrap().busy += u64::from(busy);
    }

    /// A message that was sent long ago arrives at last.
    pub(super) async fn bring_an_old_one(&self, hub: &Hub) {
        let message = {
            let mut state = self.0.lock().unwrap();
            let sent = state.sent.len() as u64;
            if sent == 0 {
                return;
            }
            let which = state.random.below(sent) as usize;
            state.sent[which].clone()
        };
        let everything = Access::everything();
        let _ = match message {
            Message::Push(push) => hub.push(&push, &everything).await.map(drop),
            Message::Pull(pull) => hub.pull(&pull, &everything).await.map(drop),
        };
    }
}

fn lost(what: &'static str) -> Error {
    Error::unavailable(what)
}

/// The way from a branch to the hub.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    pub(super) hub: Hub,
    pub(super) faults: Faults,
}

#[async_trait]
impl Master for Wire {
    async fn push(&self, push: &Push) -> Result<Pushed> {
        self.faults.note(Message::Push(push.clone()));
        self.faults.count(true);
        self.faults.note_edits(push, None);
        if self.faults.strikes() {
            return Err(lost("the request was lost"));
        }
        let everything = Access::everything();
        let mut pushed = self.hub.push(push, &everything).await;
        if self.faults.strikes() {
            pushed = self.hub.push(push, &everything).await;
        }
        if self.faults.strikes() {
            return Err(lost("the answer was lost").ambiguous());
        }
        self.faults.note_edits(push, pushed.as_ref().ok());
        pushed
    }

    async fn pull(&self, pull: &Pull) -> Result<Page> {
        self.faults.note(Message::Pull(pull.clone()));
        if self.faults.strikes() {
            return Err(lost("the request was lost"));
        }
        let page = self.hub.pull(pull, &Access::everything()).await;
        if self.faults.strikes() {
            return Err(lost("the answer was lost"));
        }
        self.faults.count(page.as_ref().is_ok_and(|page| !page.items.is_empty() || !page.decided.is_empty()));
        page
    }
}

/// A replica whose process dies around some commits.
#[derive(Debug, Clone)]
pub(super) struct Mortal<S> {
    pub(super) site: S,
    pub(super) faults: Faults,
}

#[async_trait]
impl<S: Replica> Replica for Mortal<S> {
    fn name(&self) -> &sync_core::model::Origin {
        self.site.name()
    }

    fn tables(&self) -> &Tables {
        self.site.tables()
    }

    async fn begin(&self) -> Result<Box<dyn Transaction>> {
        Ok(Box::new(MortalTransaction { inner: self.site.begin().await?, faults: self.faults.clone() }))
    }

    async fn look(&self) -> Result<Box<dyn Transaction>> {
        self.site.look().await
    }

    async fn sequence(&self) -> Result<Head> {
        self.site.sequence().await
    }
}

#[derive(Debug)]
struct MortalTransaction {
    inner: Box<dyn Transaction>,
    faults: Faults,
}

#[async_trait]
impl Transaction for MortalTransaction {
    async fn rows(&mut self, table: &Table, keys: &[Key]) -> Result<Vec<Held>> {
        self.inner.rows(table, keys).await
    }

    async fn write(&mut self, writes: &[RowWrite]) -> Result<Vec<u64>> {
        self.inner.write(writes).await
    }

    async fn clashing(&mut self, write: &RowWrite) -> Result<Vec<(String, Key)>> {
        self.inner.clashing(write).await
    }

    async fn scan(
        &mut self,
        table: &Table,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<(Key, Stamp, Vec<Value>)>> {
        self.inner.scan(table, after, limit).await
    }

    async fn feed(&mut self, after: u64, limit: usize) -> Result<Vec<Entry>> {
        self.inner.feed(after, limit).await
    }

    async fn outline(&mut self, after: u64, limit: usize) -> Result<Vec<Outline>> {
        self.inner.outline(after, limit).await
    }

    async fn pending(&mut self, table: &Table, keys: &[Key], above: u64) -> Result<Vec<Entry>> {
        self.inner.pending(table, keys, above).await
    }

    async fn head(&mut self) -> Result<Head> {
        self.inner.head().await
    }

    async fn nonce(&mut self, seq: u64) -> Result<Option<u64>> {
        self.inner.nonce(seq).await
    }

    async fn begin_epoch(&mut self, epoch: u64, rev: u64) -> Result<()> {
        self.inner.begin_epoch(epoch, rev).await
    }

    async fn trim(&mut self, up_to: u64) -> Result<u64> {
        self.inner.trim(up_to).await
    }

    async fn get(&mut self, book: Book, id: &str) -> Result<Option<Vec<u8>>> {
        self.inner.get(book, id).await
    }

    async fn put(&mut self, book: Book, id: &str, body: Option<Vec<u8>>) -> Result<()> {
        self.inner.put(book, id, body).await
    }

    async fn list(&mut self, book: Book, prefix: &str, after: &str, limit: usize) -> Result<Vec<(String, Vec<u8>)>> {
        self.inner.list(book, prefix, after, limit).await
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        if self.faults.strikes() {
            return Err(lost("the process died before the commit"));
        }
        let strikes = self.faults.strikes();
        self.inner.commit().await?;
        if strikes { Err(lost("the process died after the commit").ambiguous()) } else { Ok(()) }
    }
}
