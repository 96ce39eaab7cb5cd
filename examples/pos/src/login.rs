//! Who may come in: a stand-in for the service that issues tokens.

use async_trait::async_trait;
use chrono::{TimeDelta, Utc};
use jsonwebtoken::{EncodingKey, Header, encode};
use secrecy::SecretString;
use serde_json::json;
use sync_core::{Error, Result};
use sync_master::{Keys, Tokens};

use crate::shop::CLIENT;

const ISSUER: &str = "https://login.example";
const AUDIENCE: &str = "pos";
const KEY: &str = "1";

/// The secret that tokens are signed with, anew for every start of the program.
#[derive(Clone)]
pub(crate) struct Issuer {
    secret: [u8; 32],
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer").finish_non_exhaustive()
    }
}

/// Random bytes, fit for secrets.
pub(crate) fn secret() -> [u8; 32] {
    let mut secret = [0; 32];
    secret[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    secret[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    secret
}

impl Issuer {
    pub(crate) fn new() -> Self {
        Self { secret: secret() }
    }

    /// What the master knows tokens by.
    pub(crate) fn keys(&self) -> Result<Keys> {
        Keys::new(ISSUER, AUDIENCE).hs256(KEY, &self.secret)
    }

    /// A token for this branch of the shop, good for an hour.
    pub(crate) fn token(&self, branch: &str) -> Result<SecretString> {
        let expires = Utc::now() + TimeDelta::hours(1);
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": format!("till {branch}"), "exp": expires.timestamp(),
            "client_id": CLIENT, "branch_id": branch,
        });
        let header = Header { kid: Some(KEY.to_owned()), ..Header::default() };
        let token = encode(&header, &claims, &EncodingKey::from_secret(&self.secret));
        token.map(SecretString::from).map_err(|cause| Error::internal("a token cannot be signed").caused_by(cause))
    }
}

/// What a till has: the way to log in again when its token has expired.
#[derive(Debug)]
pub(crate) struct Login {
    pub(crate) issuer: Issuer,
    pub(crate) branch: String,
}

#[async_trait]
impl Tokens for Login {
    async fn fetch(&self) -> Result<SecretString> {
        self.issuer.token(&self.branch)
    }
}
