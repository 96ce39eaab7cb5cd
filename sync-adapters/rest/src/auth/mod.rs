//! Puts credentials on requests, and renews those that can be renewed.

mod signing;
mod token;

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use sync_core::{Clock, Error, Result};
use url::Url;

use crate::config::{AuthConfig, ClientAuthentication};
use crate::redact::Redactor;
use crate::secret::SecretRef;
use crate::transport::{HttpRequest, HttpTransport};
use signing::Signer;
pub use token::TokenStore;
use token::{Grant, TokenSource};

/// Which token a request carried, so that only the first of many refused requests renews it.
pub(crate) type Generation = u64;

#[derive(Debug)]
pub(crate) enum Auth {
    None,
    Headers(Vec<(HeaderName, HeaderValue)>),
    Query { name: String, key: SecretString },
    Signed(Box<Signer>),
    Token(TokenSource),
}

/// What tokens are fetched with.
#[derive(Debug, Clone)]
pub(crate) struct AuthParts {
    pub(crate) transport: Arc<dyn HttpTransport>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) redactor: Arc<Redactor>,
    pub(crate) store: Option<Arc<dyn TokenStore>>,
}

impl Auth {
    /// # Errors
    /// `Config` when a secret is missing or cannot stand in a header.
    pub(crate) fn new(config: &AuthConfig, secrets: &HashMap<String, SecretString>, parts: AuthParts) -> Result<Self> {
        let redactor = Arc::clone(&parts.redactor);
        let secret = |reference: &SecretRef| {
            let secret = reference.resolve(secrets)?;
            redactor.learn(&secret);
            Ok::<_, Error>(secret)
        };
        let client = |id: &SecretRef, client_secret: Option<&SecretRef>| {
            Ok::<_, Error>((secret(id)?, client_secret.map(secret).transpose()?))
        };
        match config {
            AuthConfig::None => Ok(Self::None),
            AuthConfig::Bearer { token } => {
                Ok(Self::Headers(vec![(AUTHORIZATION, sensitive("Bearer ", &secret(token)?)?)]))
            }
            AuthConfig::Headers { headers } => {
                let headers = headers.iter().map(|header| {
                    let name = header
                        .name
                        .parse()
                        .map_err(|_| Error::config(format!("{:?} is no header name", header.name)))?;
                    Ok((name, sensitive(&header.prefix, &secret(&header.value)?)?))
                });
                headers.collect::<Result<_>>().map(Self::Headers)
            }
            AuthConfig::Basic { user, password } => {
                let pair = basic(&secret(user)?, Some(&secret(password)?));
                redactor.learn(&pair);
                Ok(Self::Headers(vec![(AUTHORIZATION, sensitive("Basic ", &pair)?)]))
            }
            AuthConfig::Query { name, key } => Ok(Self::Query { name: name.clone(), key: secret(key)? }),
            AuthConfig::ClientCredentials { token_url, client_id, client_secret, scope, client_auth } => {
                let client = client(client_id, Some(client_secret))?;
                Self::token(parts, token_url, client, *client_auth, scope.as_deref(), Grant::ClientCredentials)
            }
            AuthConfig::Password { token_url, client_id, client_secret, username, password, scope, client_auth } => {
                let client = client(client_id, client_secret.as_ref())?;
                let grant = Grant::Password { username: secret(username)?, password: secret(password)? };
                Self::token(parts, token_url, client, *client_auth, scope.as_deref(), grant)
            }
            AuthConfig::Signed(config) => {
                let key_id = config.key_id.as_ref().map(secret).transpose()?;
                let signer = Signer::new(config, key_id, secret(&config.secret)?, parts.clock)?;
                Ok(Self::Signed(Box::new(signer)))
            }
            AuthConfig::RefreshToken { token_url, client_id, client_secret, refresh_token, scope, client_auth } => {
                let client = client(client_id, client_secret.as_ref())?;
                let grant = Grant::RefreshToken { first: secret(refresh_token)? };
                Self::token(parts, token_url, client, *client_auth, scope.as_deref(), grant)
            }
        }
    }

    fn token(
        parts: AuthParts,
        url: &str,
        client: (SecretString, Option<SecretString>),
        how: ClientAuthentication,
        scope: Option<&str>,
        grant: Grant,
    ) -> Result<Self> {
        let url = Url::parse(url).map_err(|cause| Error::config("`token_url` is no address").caused_by(cause))?;
        Ok(Self::Token(TokenSource::new(parts, url, client, how, scope.map(str::to_owned), grant)))
    }

    /// The address tokens come from, for the check of addresses.
    pub(crate) fn token_url(&self) -> Option<&Url> {
        match self {
            Self::Token(source) => Some(source.url()),
            _ => None,
        }
    }

    /// The query parameters that are put on each request anew, and must not stay in saved addresses.
    pub(crate) fn own_parameters(&self) -> Vec<&str> {
        match self {
            Self::Query { name, .. } => vec![name],
            Self::Signed(signer) => signer.parameters().collect(),
            _ => Vec::new(),
        }
    }

    /// Puts the credentials on a request to our own origin.
    pub(crate) async fn sign(&self, request: &mut HttpRequest) -> Result<Generation> {
        match self {
            Self::None => Ok(0),
            Self::Headers(headers) => {
                for (name, value) in headers {
                    request.headers.insert(name.clone(), value.clone());
                }
                Ok(0)
            }
            Self::Query { name, key } => {
                request.url.query_pairs_mut().append_pair(name, key.expose_secret());
                Ok(0)
            }
            Self::Signed(signer) => signer.sign(request).map(|()| 0),
            Self::Token(source) => {
                let (token, generation) = source.token().await?;
                request.headers.insert(AUTHORIZATION, sensitive("Bearer ", &token)?);
                Ok(generation)
            }
        }
    }

    /// Renews the credentials that were refused; false when there is nothing to renew.
    pub(crate) async fn renew(&self, refused: Generation) -> Result<bool> {
        match self {
            Self::Token(source) => source.renew(refused).await.map(|()| true),
            _ => Ok(false),
        }
    }
}

/// User and password as RFC 7617 §2 wants them.
fn basic(user: &SecretString, password: Option<&SecretString>) -> SecretString {
    let password = password.map(|password| password.expose_secret()).unwrap_or_default();
    SecretString::from(STANDARD.encode(format!("{}:{password}", user.expose_secret())))
}

/// A header value that prints as `Sensitive`.
fn sensitive(prefix: &str, secret: &SecretString) -> Result<HeaderValue> {
    let text = SecretString::from(format!("{prefix}{}", secret.expose_secret()));
    let mut value = HeaderValue::from_str(text.expose_secret()).map_err(|_| {
        Error::config("a secret holds characters that cannot stand in a header; does it end with a line break?")
    })?;
    value.set_sensitive(true);
    Ok(value)
}
