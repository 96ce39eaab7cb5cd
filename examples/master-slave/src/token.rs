//! Tokens of slaves: signed by the master with a secret that lies beside its database.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use chrono::{TimeDelta, Utc};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;
use sync_master::{CursorKey, Keys};
use uuid::Uuid;

use crate::Result;
use crate::tables::CLIENT;

const ISSUER: &str = "https://master.example";
const AUDIENCE: &str = "master-slave";
const KEY: &str = "1";

/// What the master signs tokens and hides cursors with.
pub struct Secret([u8; 64]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Secret").finish_non_exhaustive()
    }
}

impl Secret {
    /// The one in this file, which is made where it is not there, for its owner alone.
    ///
    /// # Errors
    /// When the file cannot be read or made, or holds something else.
    pub fn in_file(path: &Path) -> Result<Self> {
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(file) => Self::made(file)?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(format!("{} cannot be made: {error}", path.display()).into()),
        }
        let bytes = fs::read(path)?;
        let secret = bytes.try_into().map_err(|_| format!("{} is no secret of a master: remove it", path.display()))?;
        Ok(Self(secret))
    }

    fn made(mut file: File) -> Result<()> {
        // Each has 122 random bits.
        let bytes: Vec<u8> = (0..4).flat_map(|_| Uuid::new_v4().into_bytes()).collect();
        file.write_all(&bytes)?;
        Ok(file.sync_all()?)
    }

    /// What the master knows tokens by.
    ///
    /// # Errors
    /// Never in practice: the secret is long enough.
    pub fn keys(&self) -> Result<Keys> {
        Ok(Keys::new(ISSUER, AUDIENCE).hs256(KEY, &self.0[..32])?)
    }

    /// What it hides cursors with.
    ///
    /// # Errors
    /// Never in practice: the secret is long enough.
    pub fn cursors(&self) -> Result<CursorKey> {
        Ok(CursorKey::new(&self.0[32..])?)
    }

    /// A token for the slave of this name, good for thirty days.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn token(&self, slave: &str) -> Result<String> {
        let expires = (Utc::now() + TimeDelta::days(30)).timestamp();
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": slave, "exp": expires, "client_id": CLIENT, "branch_id": slave,
        });
        let header = Header { kid: Some(KEY.to_owned()), ..Header::default() };
        Ok(encode(&header, &claims, &EncodingKey::from_secret(&self.0[..32]))?)
    }
}
