//! What the master keeps about its branches: how far each has come, and what it answered.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::model::Key;
use crate::two_way::{Book, Edit, EditResult, Group, Peer, Transaction, refuse};
use crate::{Error, ErrorKind, Result, Retry};

/// How far a branch has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PeerBook {
    /// Its last write that is durable here.
    pub(super) last_op: u64,
    /// Its last write whose answer it holds.
    #[serde(default)]
    pub(super) answered: u64,
    /// The place in the feed up to which it has everything.
    pub(super) read: u64,
    /// When it was heard last, milliseconds since 1970.
    pub(super) heard: u64,
    /// Whether it has ever asked what comes after a position. One that only writes waits for nothing in the feed.
    #[serde(default)]
    pub(super) reads: bool,
    /// Whether it said that it writes alone.
    #[serde(default)]
    pub(super) alone: bool,
    /// Whether another life of the same name has said so since: this one writes no more.
    #[serde(default)]
    pub(super) ended: bool,
}

/// An answer, and what it was given to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Answer {
    /// The hash of the group.
    pub(super) hash: String,
    pub(super) result: EditResult,
    /// When it was given, milliseconds since 1970.
    pub(super) at: u64,
    /// The row's key, where it took the place of the answer that the write waits: its branch asks for it, whenever it comes.
    #[serde(default)]
    pub(super) waited: Option<Key>,
}

/// Writes that were lost when the master was restored from a backup: what is based on one of them is based on nothing.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Lost {
    pub(super) above: u64,
    pub(super) below: u64,
}

/// Under which they are kept.
pub(super) const LOST: &str = "lost";

/// Whether a write with this `rev` is none that this feed has seen.
pub(super) async fn is_lost(tx: &mut dyn Transaction, rev: u64) -> Result<bool> {
    let lost: Vec<Lost> = load(tx, Book::Lost, LOST).await?.unwrap_or_default();
    Ok(rev > tx.head().await?.rev || lost.iter().any(|lost| rev > lost.above && rev < lost.below))
}

pub(super) async fn load<T: DeserializeOwned>(tx: &mut dyn Transaction, book: Book, id: &str) -> Result<Option<T>> {
    tx.get(book, id).await?.map(|body| read(&body)).transpose()
}

pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body)
        .map_err(|cause| Error::internal("a book of two-way sync cannot be read").caused_by(cause))
}

pub(super) async fn save(tx: &mut dyn Transaction, book: Book, id: &str, value: &impl Serialize) -> Result<()> {
    tx.put(book, id, Some(body(value)?)).await
}

/// A thing as a book holds it.
pub(super) fn body(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|cause| Error::internal("a book of two-way sync cannot be written").caused_by(cause))
}

impl PeerBook {
    /// # Errors
    /// With the code `ended`, where another life has taken this one's place.
    pub(super) fn still_writes(&self) -> Result<()> {
        if !self.ended {
            return Ok(());
        }
        let message = "another process has begun to write under this name, and this one writes no more: give each its own name, if both are meant to";
        Err(refuse(ErrorKind::Conflict, "ended", message).with_retry(Retry::Never))
    }
}

pub(super) async fn peer(tx: &mut dyn Transaction, peer: &Peer) -> Result<PeerBook> {
    Ok(load(tx, Book::Peers, &peer.to_string()).await?.unwrap_or_default())
}

/// Sorted by the number of the write.
pub(super) fn result_id(peer: &str, op: u64) -> String {
    format!("{peer}/{op:020}")
}

/// Under which a row is known in the book of waiting rows. A key that the database may not take as a row's, which lets its group wait,
/// must not keep it out of this book, too.
pub(super) fn waiting_id(table: &str, key: &Key) -> String {
    let mut text = key.to_string();
    if text.len() > LONG || text.contains('\0') {
        text = blake3::hash(text.as_bytes()).to_hex().to_string();
    }
    format!("{table}/{:016x}/{text}", key.stable_hash())
}

/// The longest key that stands in an id as it is, bytes.
const LONG: usize = 200;

/// Equal for equal writes alone. What a branch works out anew for each push is left out.
pub(super) fn hash_of(group: &Group) -> Result<String> {
    let written = |edit: &Edit| Edit { base: 0, ..edit.clone() };
    let body = serde_json::to_vec(&group.edits.iter().map(written).collect::<Vec<_>>())
        .map_err(|cause| Error::internal("a group cannot be hashed").caused_by(cause))?;
    Ok(blake3::hash(&body).to_hex().to_string())
}
