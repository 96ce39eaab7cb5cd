//! Drops dead letters that nobody wants any more.

use std::collections::HashSet;

use super::Inner;
use super::pipeline::Pipeline;
use super::waiting::{Errand, STATE_STORE, watched, with_retries};
use crate::Result;
use crate::model::{Lane, Partition, Scope};
use crate::state::{Entry, FencingToken, LetterId, LetterQuery};

/// So many letters are read, and dropped, at once.
const PAGE: u32 = 500;

pub(super) async fn discard(inner: &Inner, pipeline: &Pipeline, letters: &[LetterId]) -> Result<u64> {
    // A lease of its own: dropping a letter while a replay tries it does no harm.
    let scope = Scope {
        pipeline: pipeline.name.clone(),
        feed: "dropped letters".to_owned(),
        partition: Partition::default(),
        lane: Lane::Replay,
    };
    let name = scope.id();
    let turn = inner.turn(&name);
    let _turn = turn.lock().await;
    let acquire = || inner.store.acquire(&name, &inner.owner, inner.settings.lease_ttl, FencingToken::default());
    let errand = |doing| Errand { run: None, scope: Some(&scope), doing, on: STATE_STORE };
    let lease = with_retries(inner, errand("lease"), acquire).await?;
    let dropped = async {
        let wanted: HashSet<&LetterId> = letters.iter().collect();
        let mut query = LetterQuery { pipeline: Some(pipeline.name.clone()), limit: PAGE, ..LetterQuery::default() };
        let mut dropped = 0;
        while dropped < wanted.len() {
            let page = with_retries(inner, errand("letters"), || inner.store.dead_letters(&query)).await?;
            let Some(last) = page.last() else { break };
            query.after = Some(last.id.clone());
            let found: Vec<Entry> = page
                .into_iter()
                .filter(|letter| wanted.contains(&letter.id))
                .map(|letter| Entry::Resolved(letter.id))
                .collect();
            if !found.is_empty() {
                with_retries(inner, errand("record"), || inner.store.record(&lease, &found)).await?;
                dropped += found.len();
            }
        }
        Ok(dropped as u64)
    }
    .await;
    let released = watched(inner, errand("lease"), inner.store.release(&lease)).await;
    dropped.and_then(|dropped| released.map(|()| dropped))
}
