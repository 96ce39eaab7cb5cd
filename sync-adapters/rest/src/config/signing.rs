//! Which parts of a request are signed, and where the signature goes.

use serde::Deserialize;

use crate::secret::SecretRef;

/// A signature over parts of each request.
///
/// ```
/// use sync_core::StreamSpec;
/// use sync_rest::Rest;
///
/// let description = r#"
///     base = "https://shop.example"
///
///     [auth]
///     type = "signed"
///     key_id = "host:id"
///     secret = "host:secret"
///     signs = "{method}\n{path}\n{query}\n{timestamp}"
///     send = [
///         { header = "X-Timestamp", value = "{timestamp}" },
///         { header = "Authorization", value = "HMAC {key_id}:{signature}" },
///     ]
///
///     [streams.orders]
///     path = "/orders"
/// "#;
/// let shop = Rest::from_toml(description, [StreamSpec::new("orders").key(["id"])])?
///     .secret("id", "key-1".into())
///     .secret("secret", "s3cr3t".into())
///     .build()?;
/// # Ok::<(), sync_core::Error>(())
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SigningConfig {
    /// Which key it is, where the other side wants to be told.
    #[serde(default)]
    pub key_id: Option<SecretRef>,
    /// The key itself.
    pub secret: SecretRef,
    /// The text that is signed. Its variables: `{method}`; `{host}`; `{path}` and `{query}` as they are sent, the query
    /// without the parameter that carries the signature; `{sorted_query}`, its pairs in the order of their names and
    /// values; `{query_NAME}`, one parameter's value; `{body}`, `{body_sha256}` (hexadecimal) and
    /// `{body_sha256_base64}`; `{timestamp}`; `{nonce}`, 32 random hexadecimal digits, others for each request and each
    /// try of it; `{key_id}`; and `{secret}`, for the algorithm `sha256` alone.
    pub signs: String,
    /// How it is signed.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// How the signature is written.
    #[serde(default)]
    pub encoding: Encoding,
    /// How the time is written, in UTC: `epoch_seconds`, `epoch_millis`, `rfc3339`, or a format in the signs of `chrono`.
    #[serde(default = "epoch_seconds")]
    pub timestamp: String,
    /// What is sent, and where. One of them carries the signature.
    pub send: Vec<SentConfig>,
}

impl SigningConfig {
    /// HMAC-SHA256 over this text, written in hexadecimal. Say with [`SigningConfig::header`] or
    /// [`SigningConfig::query`] where the signature goes.
    pub fn new(secret: SecretRef, signs: impl Into<String>) -> Self {
        Self {
            key_id: None,
            secret,
            signs: signs.into(),
            algorithm: Algorithm::default(),
            encoding: Encoding::default(),
            timestamp: epoch_seconds(),
            send: Vec::new(),
        }
    }

    /// A header with this value; for its variables see [`SentConfig::value`].
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.send.push(SentConfig { header: Some(name.into()), query: None, value: value.into() });
        self
    }

    /// A query parameter with this value; for its variables see [`SentConfig::value`].
    #[must_use]
    pub fn query(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.send.push(SentConfig { header: None, query: Some(name.into()), value: value.into() });
        self
    }
}

fn epoch_seconds() -> String {
    "epoch_seconds".to_owned()
}

/// One header or query parameter of a signed request.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SentConfig {
    /// The header; or `query`.
    #[serde(default)]
    pub header: Option<String>,
    /// The query parameter; or `header`. It is signed with the query, unless it carries the signature.
    #[serde(default)]
    pub query: Option<String>,
    /// The value; its variables are `{signature}`, `{timestamp}`, `{nonce}`, `{body_sha256}`, `{body_sha256_base64}` and
    /// `{key_id}`.
    pub value: String,
}

/// How a request is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Algorithm {
    /// HMAC with SHA-256 (RFC 2104).
    #[default]
    HmacSha256,
    /// SHA-256 over a text that holds the key, for the services that want no more. The text names `{secret}`.
    Sha256,
}

/// How bytes are written as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Encoding {
    /// Hexadecimal, lower case.
    #[default]
    Hex,
    /// Base64 with padding (RFC 4648 §4).
    Base64,
}
