//! OAuth 2.0 access tokens: fetched once for all who wait, renewed early, rotated without loss.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use sync_core::{Error, ErrorKind, Result, Retry};
use tokio::sync::Mutex;
use url::Url;
use url::form_urlencoded;

use super::{AuthParts, Generation, basic, sensitive};
use crate::config::ClientAuthentication;
use crate::error;
use crate::transport::{BodyLimits, HttpRequest, read_body};

/// Whoever was refused within this time of a failed renewal gets the same answer: many reads wait for one token.
const SAME_FAILURE: Duration = Duration::from_secs(5);
const LONGEST_REQUEST: Duration = Duration::from_secs(60);
const ANSWER: BodyLimits = BodyLimits { bytes: 256 << 10, ratio: 100 };

/// Keeps refresh tokens that change with every use. Without one, a rotated token is lost when the process ends.
#[async_trait]
pub trait TokenStore: fmt::Debug + Send + Sync {
    /// The newest refresh token under this name; `None` when the declared one was never rotated.
    async fn load(&self, name: &str) -> Result<Option<SecretString>>;

    /// Keeps the newest refresh token durably. The one before it is worthless from now on.
    async fn keep(&self, name: &str, token: &SecretString) -> Result<()>;
}

/// How a token is asked for.
pub(super) enum Grant {
    ClientCredentials,
    Password { username: SecretString, password: SecretString },
    RefreshToken { first: SecretString },
}

/// Where access tokens come from.
pub(crate) struct TokenSource {
    shared: Arc<Shared>,
}

struct Shared {
    parts: AuthParts,
    url: Url,
    client: (SecretString, Option<SecretString>),
    how: ClientAuthentication,
    scope: Option<String>,
    grant: Grant,
    /// Held while a token is fetched: that is the single flight.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    access: Option<Access>,
    generation: Generation,
    refresh: Option<SecretString>,
    /// The refresh token has been rotated, and the store does not have the new one yet.
    unkept: bool,
    failed: Option<(Duration, Generation, ErrorKind, Retry)>,
}

struct Access {
    token: SecretString,
    /// When to renew it, on the clock's scale.
    renew_at: Option<Duration>,
}

/// RFC 6749 §5.1. Some servers write the lifetime as text.
#[derive(Deserialize)]
struct Granted {
    access_token: SecretString,
    #[serde(default)]
    expires_in: Option<serde_json::Value>,
    #[serde(default)]
    refresh_token: Option<SecretString>,
}

impl TokenSource {
    pub(super) fn new(
        parts: AuthParts,
        url: Url,
        client: (SecretString, Option<SecretString>),
        how: ClientAuthentication,
        scope: Option<String>,
        grant: Grant,
    ) -> Self {
        Self { shared: Arc::new(Shared { parts, url, client, how, scope, grant, state: Mutex::default() }) }
    }

    pub(super) fn url(&self) -> &Url {
        &self.shared.url
    }

    /// A token that is still good for a while.
    pub(super) async fn token(&self) -> Result<(SecretString, Generation)> {
        self.flight(None).await
    }

    /// Fetches a new token, unless somebody did since the refused one was given out.
    pub(super) async fn renew(&self, refused: Generation) -> Result<()> {
        self.flight(Some(refused)).await.map(drop)
    }

    /// The fetch runs to its end even when the read that asked for it is dropped: a rotated token that nobody
    /// keeps would lock the account out.
    async fn flight(&self, refused: Option<Generation>) -> Result<(SecretString, Generation)> {
        {
            let state = self.shared.state.lock().await;
            if let Some(access) = self.shared.usable(&state, refused) {
                return Ok(access);
            }
        }
        let shared = Arc::clone(&self.shared);
        let task = tokio::spawn(async move { shared.fetch(refused).await });
        task.await.map_err(|cause| Error::internal("fetching a token was broken off").caused_by(cause))?
    }
}

impl Shared {
    fn usable(&self, state: &State, refused: Option<Generation>) -> Option<(SecretString, Generation)> {
        let access = state.access.as_ref().filter(|_| !state.unkept && refused != Some(state.generation))?;
        let now = self.parts.clock.elapsed();
        access.renew_at.is_none_or(|at| now < at).then(|| (access.token.clone(), state.generation))
    }

    async fn fetch(&self, refused: Option<Generation>) -> Result<(SecretString, Generation)> {
        let mut state = self.state.lock().await;
        self.keep(&mut state).await?;
        if let Some(access) = self.usable(&state, refused) {
            return Ok(access);
        }
        let now = self.parts.clock.elapsed();
        if let Some((at, generation, kind, retry)) = state.failed
            && generation == state.generation
            && now.saturating_sub(at) < SAME_FAILURE
        {
            return Err(Error::new(kind, "the token could not be renewed a moment ago").with_retry(retry));
        }
        match self.ask(&mut state).await {
            Ok(granted) => self.accept(&mut state, granted).await,
            Err(fault) => {
                state.failed = Some((now, state.generation, fault.kind(), fault.retry()));
                Err(fault.with("token_url", self.url.host_str().unwrap_or_default()))
            }
        }
    }

    async fn accept(&self, state: &mut State, granted: Granted) -> Result<(SecretString, Generation)> {
        self.parts.redactor.learn(&granted.access_token);
        let life = match granted.expires_in {
            Some(serde_json::Value::Number(seconds)) => seconds.as_f64(),
            Some(serde_json::Value::String(text)) => text.trim().parse().ok(),
            _ => None,
        };
        let life = life.filter(|seconds| *seconds > 0.0).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        state.access = Some(Access {
            token: granted.access_token.clone(),
            renew_at: life.map(|life| self.parts.clock.elapsed() + life.saturating_sub(margin(life))),
        });
        state.generation += 1;
        state.failed = None;
        if let (Some(new), Grant::RefreshToken { .. }) = (granted.refresh_token, &self.grant) {
            self.parts.redactor.learn(&new);
            let rotated = state.refresh.as_ref().is_none_or(|old| old.expose_secret() != new.expose_secret());
            state.refresh = Some(new);
            state.unkept |= rotated;
        }
        self.keep(state).await?;
        Ok((granted.access_token, state.generation))
    }

    /// Hands a rotated refresh token to the store before its access token is used.
    async fn keep(&self, state: &mut State) -> Result<()> {
        if let (true, Some(token), Some(store)) = (state.unkept, &state.refresh, &self.parts.store) {
            store.keep(&self.name(), token).await?;
        }
        state.unkept = false;
        Ok(())
    }

    fn name(&self) -> String {
        format!("{} {}", self.url.origin().ascii_serialization(), self.client.0.expose_secret())
    }

    async fn ask(&self, state: &mut State) -> Result<Granted> {
        if let (Grant::RefreshToken { first }, None) = (&self.grant, &state.refresh) {
            let kept = match &self.parts.store {
                Some(store) => store.load(&self.name()).await?,
                None => None,
            };
            state.refresh = Some(kept.unwrap_or_else(|| first.clone()));
        }
        let request = self.request(state.refresh.as_ref())?;
        let exchange = async {
            let response = self.parts.transport.send(request).await?;
            let status = response.status;
            let body = read_body(&response.headers, response.body, ANSWER).await;
            Ok::<_, Error>((status, body))
        };
        let (status, body) = crate::client::within(&*self.parts.clock, LONGEST_REQUEST, exchange).await?;
        match status.as_u16() {
            200..=299 => serde_json::from_slice(&body?.0)
                .map_err(|_| Error::malformed("the token endpoint's answer holds no access token")),
            // RFC 6749 §5.2: invalid_client, invalid_grant and the like.
            400 | 401 | 403 => Err(error::unauthorized().with("status", status.as_u16())),
            _ => Err(error::of_status(status)),
        }
    }
}

impl Shared {
    fn request(&self, refresh: Option<&SecretString>) -> Result<HttpRequest> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        match (&self.grant, refresh) {
            (Grant::RefreshToken { .. }, Some(refresh)) => {
                self.parts.redactor.learn(refresh);
                form.append_pair("grant_type", "refresh_token").append_pair("refresh_token", refresh.expose_secret())
            }
            (Grant::Password { username, password }, _) => form
                .append_pair("grant_type", "password")
                .append_pair("username", username.expose_secret())
                .append_pair("password", password.expose_secret()),
            _ => form.append_pair("grant_type", "client_credentials"),
        };
        if let Some(scope) = &self.scope {
            form.append_pair("scope", scope);
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let (id, secret) = &self.client;
        match (self.how, secret) {
            (ClientAuthentication::BasicHeader, Some(secret)) => {
                let pair = basic(&form_encoded(id), Some(&form_encoded(secret)));
                self.parts.redactor.learn(&pair);
                headers.insert(AUTHORIZATION, sensitive("Basic ", &pair)?);
            }
            (_, secret) => {
                form.append_pair("client_id", id.expose_secret());
                if let Some(secret) = secret {
                    form.append_pair("client_secret", secret.expose_secret());
                }
            }
        }
        Ok(HttpRequest { method: Method::POST, url: self.url.clone(), headers, body: Some(form.finish().into()) })
    }
}

/// How long before its end a token is renewed: a tenth of its life, at least a minute, at most half of it.
fn margin(life: Duration) -> Duration {
    (life / 10).max(Duration::from_secs(60)).min(life / 2)
}

/// Id and secret are form-encoded before they become a Basic header (RFC 6749 §2.3.1).
fn form_encoded(text: &SecretString) -> SecretString {
    SecretString::from(form_urlencoded::byte_serialize(text.expose_secret().as_bytes()).collect::<String>())
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSource").field("host", &self.shared.url.host_str()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_early_but_never_before_half_of_its_life() {
        let seconds = |life| margin(Duration::from_secs(life)).as_secs();
        assert_eq!(seconds(3600), 360);
        assert_eq!(seconds(300), 60);
        assert_eq!(seconds(80), 40);
        assert_eq!(seconds(2), 1);
    }
}
