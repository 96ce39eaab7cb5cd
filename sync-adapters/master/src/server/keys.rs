//! Who is asking: JWTs, each key with the one algorithm it is for.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use sync_core::{Error, Result};

/// How far clocks may be apart.
pub(super) const LEEWAY: Duration = Duration::from_secs(5);

/// The longest token that is looked at, bytes.
const LONGEST: usize = 8192;

/// The keys that tokens are signed with, by `kid`, and for whom and by whom they are issued.
///
/// A token is taken when its `kid` names one of these keys, it is signed with that key and the one algorithm the key is for,
/// and it has `exp`, `aud`, `iss` and `sub`, all of them right; `nbf` is respected. Nothing that a token says of keys
/// (`jku`, `jwk`, `x5u`, `x5c`) is followed: such a token is refused (RFC 8725, 3.1, 3.10).
///
/// Keys are rotated by adding the new one, issuing with it, and removing the old one when its last token has expired. One token, or
/// those of one subject, are taken back by [`Revoked`](super::Revoked).
#[derive(Clone)]
pub struct Keys {
    issuer: String,
    audience: String,
    keys: BTreeMap<String, (Algorithm, DecodingKey)>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kids: BTreeMap<_, _> = self.keys.iter().map(|(kid, (algorithm, _))| (kid, algorithm)).collect();
        f.debug_struct("Keys")
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .field("keys", &kids)
            .finish()
    }
}

/// What a verified token says.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Claims {
    pub(super) sub: String,
    exp: f64,
    #[serde(default, rename = "iat")]
    pub(super) issued: Option<f64>,
    #[serde(default)]
    pub(super) jti: Option<String>,
    #[serde(default)]
    pub(super) client_id: Option<Id>,
    #[serde(default)]
    pub(super) branch_id: Option<Id>,
    #[serde(default)]
    pub(super) role: Option<String>,
}

impl Claims {
    /// Until when the token is taken.
    pub(super) fn until(&self) -> DateTime<Utc> {
        let seconds = Duration::try_from_secs_f64(self.exp).unwrap_or_default().saturating_add(LEEWAY);
        TimeDelta::from_std(seconds)
            .ok()
            .and_then(|since| DateTime::UNIX_EPOCH.checked_add_signed(since))
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

/// An id, as text or as a number.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Id {
    Text(String),
    Number(u64),
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
        }
    }
}

impl Keys {
    /// Tokens of this issuer (`iss`) for this audience (`aud`). No key is known yet.
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        Self { issuer: issuer.into(), audience: audience.into(), keys: BTreeMap::new() }
    }

    /// A shared secret for HS256, at least 32 bytes.
    ///
    /// # Errors
    /// `Config` when the secret is too short, or the `kid` is taken.
    pub fn hs256(self, kid: impl Into<String>, secret: &[u8]) -> Result<Self> {
        if secret.len() < 32 {
            return Err(Error::config("a secret for HS256 has at least 32 bytes (RFC 7518, 3.2)"));
        }
        self.key(kid, Algorithm::HS256, DecodingKey::from_secret(secret))
    }

    /// A public key for RS256, as PEM.
    ///
    /// # Errors
    /// `Config` when it is no such key, or the `kid` is taken.
    pub fn rs256_pem(self, kid: impl Into<String>, pem: &[u8]) -> Result<Self> {
        let key = DecodingKey::from_rsa_pem(pem).map_err(|cause| no_key("RS256", cause))?;
        self.key(kid, Algorithm::RS256, key)
    }

    /// A public key for ES256, as PEM.
    ///
    /// # Errors
    /// `Config` when it is no such key, or the `kid` is taken.
    pub fn es256_pem(self, kid: impl Into<String>, pem: &[u8]) -> Result<Self> {
        let key = DecodingKey::from_ec_pem(pem).map_err(|cause| no_key("ES256", cause))?;
        self.key(kid, Algorithm::ES256, key)
    }

    /// A public key for EdDSA (Ed25519), as PEM.
    ///
    /// # Errors
    /// `Config` when it is no such key, or the `kid` is taken.
    pub fn ed25519_pem(self, kid: impl Into<String>, pem: &[u8]) -> Result<Self> {
        let key = DecodingKey::from_ed_pem(pem).map_err(|cause| no_key("EdDSA", cause))?;
        self.key(kid, Algorithm::EdDSA, key)
    }

    fn key(mut self, kid: impl Into<String>, algorithm: Algorithm, key: DecodingKey) -> Result<Self> {
        let kid = kid.into();
        if kid.is_empty() || self.keys.contains_key(&kid) {
            return Err(Error::config("each key has a `kid` of its own").with("kid", kid));
        }
        self.keys.insert(kid, (algorithm, key));
        Ok(self)
    }

    /// The claims of a token that is in order; why it is not, for the log alone.
    pub(super) fn verify(&self, token: &str) -> Result<Claims, String> {
        if token.len() > LONGEST {
            return Err("the token is too long".to_owned());
        }
        let header = decode_header(token).map_err(|error| error.to_string())?;
        let brings_keys = header.jku.is_some() || header.jwk.is_some() || header.x5u.is_some() || header.x5c.is_some();
        if brings_keys || header.crit.is_some() {
            return Err("the token brings keys or demands of its own".to_owned());
        }
        let kid = header.kid.ok_or("the token names no key")?;
        let (algorithm, key) = self.keys.get(&kid).ok_or("the token names a key that is not known")?;
        if header.alg != *algorithm {
            return Err("the token is not signed with the algorithm of its key".to_owned());
        }
        let mut rules = Validation::new(*algorithm);
        rules.leeway = LEEWAY.as_secs();
        rules.validate_nbf = true;
        rules.set_audience(&[&self.audience]);
        rules.set_issuer(&[&self.issuer]);
        // Without this, a token that leaves `aud` or `iss` out passes the two lines above.
        rules.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        let claims = decode::<Claims>(token, key, &rules).map_err(|error| error.to_string())?.claims;
        if claims.sub.is_empty() { Err("the token is about nobody".to_owned()) } else { Ok(claims) }
    }
}

fn no_key(algorithm: &'static str, cause: jsonwebtoken::errors::Error) -> Error {
    Error::config("this is no public key in PEM for its algorithm").with("algorithm", algorithm).caused_by(cause)
}
