//! Who may come in: tokens that are signed with a secret which all processes of the test share.

use async_trait::async_trait;
use chrono::{TimeDelta, Utc};
use jsonwebtoken::{EncodingKey, Header, encode};
use secrecy::SecretString;
use serde_json::json;
use sync_core::{Error, Result};
use sync_master::{CursorKey, Keys, Tokens};

use super::shop::CLIENT;

const ISSUER: &str = "https://login.example";
const AUDIENCE: &str = "selling";
const KEY: &str = "1";
const SECRET: [u8; 32] = [7; 32];

/// What the master knows tokens by.
///
/// # Errors
/// None: the secret is long enough.
pub fn keys() -> Result<Keys> {
    Keys::new(ISSUER, AUDIENCE).hs256(KEY, &SECRET)
}

/// What the master seals cursors with, also after it was killed.
///
/// # Errors
/// None: the secret is long enough.
pub fn cursor_key() -> Result<CursorKey> {
    CursorKey::new(&SECRET)
}

/// A token for this till, good for an hour.
///
/// # Errors
/// `Internal` when it cannot be signed.
pub fn token(till: usize) -> Result<SecretString> {
    let claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": format!("till {till}"), "client_id": CLIENT,
        "branch_id": till.to_string(), "exp": (Utc::now() + TimeDelta::hours(1)).timestamp(),
    });
    let header = Header { kid: Some(KEY.to_owned()), ..Header::default() };
    let token = encode(&header, &claims, &EncodingKey::from_secret(&SECRET));
    token.map(SecretString::from).map_err(|cause| Error::internal("a token cannot be signed").caused_by(cause))
}

/// The way of a till to its tokens.
#[derive(Debug)]
pub struct Login(pub usize);

#[async_trait]
impl Tokens for Login {
    async fn fetch(&self) -> Result<SecretString> {
        token(self.0)
    }
}
