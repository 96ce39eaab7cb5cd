//! How to get in.

use serde::Deserialize;

use super::SigningConfig;
use crate::secret::SecretRef;

/// How to get in. Secrets stand here by reference.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum AuthConfig {
    /// The API is open.
    #[default]
    None,
    /// One or more headers, such as a raw key in `Authorization`.
    Headers {
        /// The headers.
        headers: Vec<HeaderConfig>,
    },
    /// `Authorization: Bearer …`.
    Bearer {
        /// The token.
        token: SecretRef,
    },
    /// `Authorization: Basic …` (RFC 7617).
    Basic {
        /// The user name or account id.
        user: SecretRef,
        /// The password.
        password: SecretRef,
    },
    /// A key in the query of every request.
    Query {
        /// The parameter.
        name: String,
        /// The key.
        key: SecretRef,
    },
    /// OAuth 2.0 client credentials (RFC 6749 §4.4).
    ClientCredentials {
        /// The address tokens come from.
        token_url: String,
        /// The client's id.
        client_id: SecretRef,
        /// The client's secret.
        client_secret: SecretRef,
        /// The scope asked for.
        #[serde(default)]
        scope: Option<String>,
        /// How the client shows who it is.
        #[serde(default)]
        client_auth: ClientAuthentication,
    },
    /// OAuth 2.0 with a user's name and password (RFC 6749 §4.3), for the services that still ask for it. A refresh token
    /// in the answer is not used: a new access token is asked for in the same way.
    Password {
        /// The address tokens come from.
        token_url: String,
        /// The client's id.
        client_id: SecretRef,
        /// The client's secret, where it has one.
        #[serde(default)]
        client_secret: Option<SecretRef>,
        /// The user's name.
        username: SecretRef,
        /// The user's password.
        password: SecretRef,
        /// The scope asked for.
        #[serde(default)]
        scope: Option<String>,
        /// How the client shows who it is.
        #[serde(default)]
        client_auth: ClientAuthentication,
    },
    /// A signature over parts of each request.
    Signed(SigningConfig),
    /// An OAuth 2.0 refresh token, which may change with every use (RFC 6749 §6, RFC 9700 §4.14).
    RefreshToken {
        /// The address tokens come from.
        token_url: String,
        /// The client's id.
        client_id: SecretRef,
        /// The client's secret, where it has one.
        #[serde(default)]
        client_secret: Option<SecretRef>,
        /// The first refresh token. A newer one in the [`TokenStore`](crate::TokenStore) goes before it.
        refresh_token: SecretRef,
        /// The scope asked for.
        #[serde(default)]
        scope: Option<String>,
        /// How the client shows who it is.
        #[serde(default)]
        client_auth: ClientAuthentication,
    },
}

/// One header that holds a secret.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderConfig {
    /// The header's name.
    pub name: String,
    /// Its value.
    pub value: SecretRef,
    /// What stands before the value, such as `secret `.
    #[serde(default)]
    pub prefix: String,
}

/// How a client shows who it is (RFC 6749 §2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ClientAuthentication {
    /// Id and secret in a Basic header.
    #[default]
    BasicHeader,
    /// Id and secret in the form.
    Body,
}
