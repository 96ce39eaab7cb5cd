//! Cursors on the wire: sealed positions that nobody can read, forge, or use in another's name.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sync_core::two_way::Position;
use sync_core::{Error, ErrorKind, Result};

use crate::refusal::refuse;

/// What cursors are sealed with. All processes that serve one master share it.
///
/// A position names the last row that was looked at, which may be another tenant's: so cursors are not only signed, but
/// hidden. The seal is that of RFC 5297: a keyed hash (BLAKE3) over tenant and position, which is also the starting value of the
/// key stream (BLAKE3 under another key) that the position is hidden with.
#[derive(Clone)]
pub struct CursorKey {
    keys: Vec<[[u8; 32]; 2]>,
}

impl fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CursorKey").finish_non_exhaustive()
    }
}

const SEAL: usize = 32;

impl CursorKey {
    /// From a secret of at least 32 random bytes.
    ///
    /// # Errors
    /// `Config` when it is shorter.
    pub fn new(secret: &[u8]) -> Result<Self> {
        Ok(Self { keys: vec![derive(secret)?] })
    }

    /// Cursors that were sealed with this secret are still taken: for the time of a change.
    ///
    /// # Errors
    /// `Config` when it is shorter than 32 bytes.
    pub fn also_takes(mut self, secret: &[u8]) -> Result<Self> {
        self.keys.push(derive(secret)?);
        Ok(self)
    }

    pub(super) fn seal(&self, tenant: &str, position: &Position) -> Result<String> {
        self.seal_bytes(tenant, position).map(|bytes| URL_SAFE_NO_PAD.encode(bytes))
    }

    pub(super) fn seal_bytes(&self, tenant: &str, position: &Position) -> Result<Vec<u8>> {
        let mut body = serde_json::to_vec(position)
            .map_err(|cause| Error::internal("a position cannot be written").caused_by(cause))?;
        let [mac, hide] = &self.keys[0];
        let seal = sealed(mac, tenant, &body);
        mask(hide, seal.as_bytes(), &mut body);
        Ok([seal.as_bytes(), body.as_slice()].concat())
    }

    /// # Errors
    /// `bad_cursor` where it was not sealed with this key for this tenant.
    pub(super) fn open(&self, tenant: &str, cursor: &str) -> Result<Position> {
        self.open_bytes(tenant, &URL_SAFE_NO_PAD.decode(cursor).map_err(|_| bad())?)
    }

    pub(super) fn open_bytes(&self, tenant: &str, bytes: &[u8]) -> Result<Position> {
        let (seal, hidden) = bytes.split_at_checked(SEAL).ok_or_else(bad)?;
        let seal = blake3::Hash::from_slice(seal).map_err(|_| bad())?;
        for [mac, hide] in &self.keys {
            let mut body = hidden.to_vec();
            mask(hide, seal.as_bytes(), &mut body);
            // Compared in constant time: `blake3::Hash` sees to it.
            if sealed(mac, tenant, &body) == seal {
                return serde_json::from_slice(&body).map_err(|_| bad());
            }
        }
        Err(bad())
    }
}

fn derive(secret: &[u8]) -> Result<[[u8; 32]; 2]> {
    if secret.len() < 32 {
        return Err(Error::config("the secret of cursors has at least 32 bytes"));
    }
    Ok(["sync-master 2026-11 cursor seal", "sync-master 2026-11 cursor stream"]
        .map(|use_| blake3::derive_key(use_, secret)))
}

fn sealed(key: &[u8; 32], tenant: &str, body: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(key);
    // The length in front: no tenant and body together look like another pair.
    hasher.update(&(tenant.len() as u64).to_le_bytes()).update(tenant.as_bytes()).update(body);
    hasher.finalize()
}

fn mask(key: &[u8; 32], start: &[u8], body: &mut [u8]) {
    let mut stream = vec![0; body.len()];
    blake3::Hasher::new_keyed(key).update(start).finalize_xof().fill(&mut stream);
    body.iter_mut().zip(stream).for_each(|(byte, stream)| *byte ^= stream);
}

fn bad() -> Error {
    refuse(ErrorKind::Config, "bad_cursor", "this cursor was not given to this caller: leave it out to begin anew")
}

#[cfg(test)]
mod tests {
    use sync_core::Key;
    use sync_core::two_way::Head;

    use super::*;
    use crate::refusal::said;

    fn position() -> Position {
        Position::Load {
            table: "items".to_owned(),
            after: Some(Key::new(["canary"])),
            then: Head::default(),
            seen: Head::default(),
        }
    }

    #[test]
    fn a_cursor_opens_for_its_tenant_and_hides_what_it_holds() {
        let key = CursorKey::new(&[7; 32]).unwrap();
        let sealed = key.seal("a", &position()).unwrap();
        assert_eq!(key.open("a", &sealed).unwrap(), position());
        let bytes = key.seal_bytes("a", &position()).unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"canary" || window == b"items\""));
    }

    #[test]
    fn a_cursor_that_is_changed_anywhere_or_anothers_is_refused() {
        let key = CursorKey::new(&[7; 32]).unwrap();
        let bytes = key.seal_bytes("a", &position()).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut forged = bytes.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(key.open_bytes("a", &forged).is_err(), "bit {bit}");
        }
        assert_eq!(said(&key.open_bytes("b", &bytes).unwrap_err(), "code"), Some("bad_cursor"));
        assert!(CursorKey::new(&[8; 32]).unwrap().open_bytes("a", &bytes).is_err());
        for junk in ["", "AAAA", "not base64!", &"A".repeat(43)] {
            assert!(key.open("a", junk).is_err(), "{junk}");
        }
    }

    #[test]
    fn cursors_outlive_a_change_of_the_key() {
        let old = CursorKey::new(&[7; 32]).unwrap().seal("a", &position()).unwrap();
        let new = CursorKey::new(&[8; 32]).unwrap().also_takes(&[7; 32]).unwrap();
        assert_eq!(new.open("a", &old).unwrap(), position());
    }
}
