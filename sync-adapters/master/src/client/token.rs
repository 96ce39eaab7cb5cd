//! Tokens, and their renewal: one at a time, however many requests find theirs expired.

use std::fmt::Debug;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use sync_core::{Error, Result};

/// Where a branch gets its tokens from.
#[async_trait]
pub trait Tokens: Debug + Send + Sync {
    /// A token that is good from now on. Asked for at the beginning, and whenever the master no longer takes the last one.
    async fn fetch(&self) -> Result<SecretString>;
}

/// One token for ever.
#[async_trait]
impl Tokens for SecretString {
    async fn fetch(&self) -> Result<SecretString> {
        Ok(self.clone())
    }
}

/// The token in use, and which one it is in turn.
#[derive(Debug, Clone)]
pub(super) struct Token {
    number: u64,
    secret: SecretString,
}

impl Token {
    pub(super) fn secret(&self) -> &str {
        self.secret.expose_secret()
    }
}

#[derive(Debug)]
pub(super) struct Tokened {
    tokens: Box<dyn Tokens>,
    /// Held while a token is fetched: who comes meanwhile waits, and takes the same.
    current: tokio::sync::Mutex<Option<Token>>,
}

impl Tokened {
    pub(super) fn new(tokens: impl Tokens + 'static) -> Self {
        Self { tokens: Box::new(tokens), current: tokio::sync::Mutex::new(None) }
    }

    pub(super) async fn current(&self) -> Result<Token> {
        let mut current = self.current.lock().await;
        match &*current {
            Some(token) => Ok(token.clone()),
            None => self.fetch(&mut current, 0).await,
        }
    }

    /// One after this, which was refused.
    pub(super) async fn renewed(&self, refused: &Token) -> Result<Token> {
        let mut current = self.current.lock().await;
        match &*current {
            Some(token) if token.number > refused.number => Ok(token.clone()),
            _ => self.fetch(&mut current, refused.number + 1).await,
        }
    }

    async fn fetch(&self, current: &mut Option<Token>, number: u64) -> Result<Token> {
        let token = Token { number, secret: self.tokens.fetch().await? };
        if token.secret().is_empty() || !token.secret().bytes().all(|byte| byte.is_ascii_graphic()) {
            // It goes into a header.
            let what =
                "the token is empty, or holds a space, a line break or the like, as one read from a file may: trim it";
            return Err(Error::config(what));
        }
        *current = Some(token.clone());
        Ok(token)
    }
}
