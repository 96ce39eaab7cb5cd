//! The way to a master, on which pushes come late, twice or not at all.

use super::*;

/// A way on which everything takes its time, pushes come late, twice or without an answer.
#[derive(Debug, Clone)]
pub(super) struct Slow<M> {
    pub(super) way: M,
    pub(super) seed: Arc<AtomicU64>,
    pub(super) loses: Arc<AtomicU64>,
}

impl<M> Slow<M> {
    pub(super) fn random(&self) -> Random {
        Random::new(self.seed.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(super) async fn pause(&self, most: u64) {
        tokio::time::sleep(Duration::from_micros(self.random().below(most))).await;
    }
}

#[async_trait]
impl<M: Master + Clone + 'static> Master for Slow<M> {
    async fn push(&self, push: &Push) -> Result<Pushed> {
        let (mut random, loses) = (self.random(), self.loses.load(Ordering::SeqCst));
        let (late, together, lost) = (random.below(100) < loses, random.below(100) < loses, random.below(100) < loses);
        let (way, push) = (self.clone(), push.clone());
        if late {
            let (way, push) = (way.clone(), push.clone());
            tokio::spawn(async move {
                way.pause(120_000).await;
                way.way.push(&push).await
            });
        }
        if together {
            let (way, push) = (way.clone(), push.clone());
            tokio::spawn(async move { way.way.push(&push).await });
        }
        // Whoever asked may be gone by then; and some are gone with it.
        let survives = random.chance(0.5);
        let taken = if survives {
            tokio::spawn(async move {
                way.pause(8_000).await;
                way.way.push(&push).await
            })
            .await
            .unwrap()
        } else {
            way.way.push(&push).await
        };
        self.pause(3_000).await;
        if lost { Err(Error::new(ErrorKind::Unavailable, "lost").ambiguous()) } else { taken }
    }

    async fn pull(&self, pull: &Pull) -> Result<Page> {
        let (way, pull) = (self.clone(), pull.clone());
        if self.random().below(100) < self.loses.load(Ordering::SeqCst) {
            let (way, pull) = (way.clone(), pull.clone());
            tokio::spawn(async move {
                way.pause(120_000).await;
                way.way.pull(&pull).await
            });
        }
        way.pause(4_000).await;
        way.way.pull(&pull).await
    }

    async fn look_up(&self, lookup: &Lookup) -> Result<Vec<Found>> {
        self.pause(3_000).await;
        self.way.look_up(lookup).await
    }
}
