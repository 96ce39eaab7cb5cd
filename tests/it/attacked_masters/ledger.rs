//! What the source has told: what may stand at the master.

use super::*;

/// What the source has told, and what it tells now.
pub(super) struct Ledger {
    pub(super) source: MemorySource,
    pub(super) random: Random,
    pub(super) was: Vec<BTreeSet<i64>>,
    pub(super) now: BTreeMap<usize, (String, i64)>,
    pub(super) told: u64,
}

impl Ledger {
    pub(super) fn new(seed: u64) -> Self {
        let source = MemorySource::of([products()]).page(20).feeding(Feeding::Log);
        Self { source, random: Random::new(seed), was: vec![BTreeSet::new(); ROWS], now: BTreeMap::new(), told: 0 }
    }

    pub(super) fn change(&mut self) {
        for n in 0..ROWS {
            if !self.now.contains_key(&n) || self.random.chance(0.4) {
                let stock = self.random.below(1 << 50) as i64;
                self.told += 1;
                let name = format!("told {}", self.told);
                self.source.upsert("products", product(&id(n), &name, stock));
                self.was[n].insert(stock);
                self.now.insert(n, (name, stock));
            }
        }
    }

    pub(super) fn delete(&mut self) {
        for n in TOUCHED..ROWS {
            if self.random.chance(0.2) {
                self.source.delete("products", &Key::new([id(n).as_str()]));
                self.now.remove(&n);
            }
        }
    }

    /// Whatever the sink has written is what was told, but for what tills and hosts have moved meanwhile: that is little, and what is
    /// told is far apart. And no write of it stands twice.
    pub(super) fn assert_true(&self, entries: &[Entry], what: &str) {
        let mut numbers = BTreeSet::new();
        for entry in entries.iter().filter(|entry| entry.stamp.origin.starts_with("prices")) {
            let row = entry.after.as_ref().or(entry.before.as_ref()).unwrap();
            let n = number(row).unwrap();
            let is_new = numbers.insert((entry.stamp.origin.to_string(), entry.stamp.op));
            assert!(is_new, "{what}: {} {} stands twice", entry.stamp.origin, entry.stamp.op);
            let Some(after) = &entry.after else { continue };
            let is_near = self.was[n].range(stock(after) - FAR..=stock(after) + FAR).next().is_some();
            assert!(is_near, "{what}: {n} became {}, which nobody told: {entry:?} {:?}", stock(after), self.was[n]);
        }
    }

    /// What is told now is there, and nothing else.
    pub(super) async fn assert_there(&self, office: &Office, what: &str) {
        assert_eq!(of(&office.rows().await), self.now, "{what}");
    }

    /// What is told now is there, among other rows.
    pub(super) async fn assert_held(&self, office: &Office, what: &str) {
        let there = of(&office.rows().await);
        for (n, told) in &self.now {
            assert_eq!(there.get(n), Some(told), "{what}: {n}");
        }
    }
}

/// Names and stocks of rows.
fn of(rows: &BTreeMap<usize, Vec<Value>>) -> BTreeMap<usize, (String, i64)> {
    rows.iter().map(|(&n, row)| (n, (row[2].to_string().trim_matches('"').to_owned(), stock(row)))).collect()
}
