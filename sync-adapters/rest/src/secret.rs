//! Secrets come by reference and never appear in text.

use std::collections::HashMap;
use std::fmt;

use secrecy::SecretString;
use serde::Deserialize;
use sync_core::{Error, Result};

/// Where a secret comes from: `env:NAME` (an environment variable) or `host:NAME` (given by the host through
/// [`Rest::secret`](crate::Rest::secret)). A declaration never holds the secret itself.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct SecretRef(Origin);

#[derive(Clone)]
enum Origin {
    Env(String),
    Host(String),
    Given(SecretString),
}

impl SecretRef {
    /// The secret in this environment variable, read when the source is built.
    pub fn env(name: impl Into<String>) -> Self {
        Self(Origin::Env(name.into()))
    }

    /// The secret the host gives under this name.
    pub fn host(name: impl Into<String>) -> Self {
        Self(Origin::Host(name.into()))
    }

    /// This secret.
    pub fn given(secret: SecretString) -> Self {
        Self(Origin::Given(secret))
    }

    /// # Errors
    /// `Config` when the variable is not set, or the host gave no secret of the name.
    pub(crate) fn resolve(&self, given: &HashMap<String, SecretString>) -> Result<SecretString> {
        match &self.0 {
            Origin::Given(secret) => Ok(secret.clone()),
            Origin::Host(name) => given.get(name).cloned().ok_or_else(|| {
                Error::config(format!(
                    "the secret `host:{name}` was not given; give it with `Rest::secret({name:?}, …)`"
                ))
            }),
            Origin::Env(name) => match std::env::var(name) {
                Ok(value) if !value.is_empty() => Ok(SecretString::from(value)),
                _ => Err(Error::config(format!("the environment variable {name} is not set; put the secret there"))),
            },
        }
    }
}

impl TryFrom<String> for SecretRef {
    type Error = &'static str;

    /// The text is not repeated in the error: it may be a secret put in the wrong place.
    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(Self::env(name)),
            Some(("host", name)) if !name.is_empty() => Ok(Self::host(name)),
            _ => Err("a secret is given by reference: `env:NAME` or `host:NAME`"),
        }
    }
}

impl fmt::Debug for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Origin::Env(name) => write!(f, "env:{name}"),
            Origin::Host(name) => write!(f, "host:{name}"),
            Origin::Given(_) => f.write_str("[given]"),
        }
    }
}
