//! What describes an API: plain data, from TOML, JSON or the builder. Unknown fields are refused.

mod auth;
mod drop;
mod endpoint;
mod format;
mod paging;
mod parent;
mod range;
mod rule;
mod signing;
mod transform;

use std::collections::BTreeMap;

use serde::Deserialize;
use sync_core::{Error, Result};

pub use auth::{AuthConfig, ClientAuthentication, HeaderConfig};
pub use drop::DropConfig;
pub use endpoint::{BodyConfig, Endpoint, MethodConfig, OneOrMany, PartitionConfig, get, post, post_form};
pub use format::{CsvConfig, Format};
pub use paging::{PagingConfig, Style};
pub use parent::ParentConfig;
pub use range::{HalveConfig, PassConfig, SinceConfig, WindowConfig, WindowEnd};
pub use rule::{Class, RuleConfig, Unit, WaitSource};
pub use signing::{Algorithm, Encoding, SentConfig, SigningConfig};
pub use transform::{Case, LookUp, Transform};

/// One API: where it is, how to get in, its limits and its streams.
///
/// A whole description, annotated, is `api.example.toml` beside the manifest of this crate:
///
/// ```toml
#[doc = include_str!("../../api.example.toml")]
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ApiConfig {
    /// The name in logs and reports; the host of `base` where it is not given.
    #[serde(default)]
    pub name: Option<String>,
    /// The address that all paths are appended to.
    pub base: String,
    /// How to get in.
    #[serde(default)]
    pub auth: AuthConfig,
    /// Headers of every request that are no secret, such as `Accept`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Other hosts that next links and redirects may lead to. Credentials are not sent there.
    #[serde(default)]
    pub allow_hosts: Vec<String>,
    /// Content types that count as a stream's format besides its own, such as `application/json` and `…+json`.
    #[serde(default)]
    pub accept_types: Vec<String>,
    /// Where error bodies hold their message, JSON pointers; the first one found is shown.
    #[serde(default)]
    pub messages: Vec<String>,
    /// Limits of one request and of one run.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// The rate the other side allows.
    #[serde(default)]
    pub rate: Option<RateConfig>,
    /// What answers mean, in order; the first rule that fits decides, then the usual meaning of the status.
    #[serde(default)]
    pub rules: Vec<RuleConfig>,
    /// The streams, by name.
    #[serde(default)]
    pub streams: BTreeMap<String, Endpoint>,
}

impl ApiConfig {
    /// An API at this address, open to everybody, without streams.
    pub fn new(base: impl Into<String>) -> Self {
        Self {
            name: None,
            base: base.into(),
            auth: AuthConfig::None,
            headers: BTreeMap::new(),
            allow_hosts: Vec::new(),
            accept_types: Vec::new(),
            messages: Vec::new(),
            limits: LimitsConfig::default(),
            rate: None,
            rules: Vec::new(),
            streams: BTreeMap::new(),
        }
    }

    /// The API that a TOML text describes.
    ///
    /// # Errors
    /// `Config`, naming the field and the line. Values are not repeated: one may be a secret put in the wrong place.
    pub fn from_toml(text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|fault| {
            let line = fault.span().map(|span| text[..span.start.min(text.len())].matches('\n').count());
            let key = line.and_then(|line| text.lines().nth(line)).and_then(|line| line.split_once('='));
            let mut error = Error::config(format!(
                "the description of the API cannot be read: {}",
                without_values(fault.message())
            ));
            if let Some(line) = line {
                error = error.with("line", line + 1);
            }
            match key {
                Some((key, _)) => error.with("field", key.trim()),
                None => error,
            }
        })
    }

    /// The API that a JSON text describes.
    ///
    /// # Errors
    /// As for [`ApiConfig::from_toml`].
    pub fn from_json(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|fault| {
            Error::config(format!("the description of the API cannot be read: {}", without_values(&fault.to_string())))
        })
    }
}

/// A parser's message without what stands in double quotes: values do, names of fields stand in backticks.
fn without_values(message: &str) -> String {
    message.split('"').enumerate().map(|(index, part)| if index % 2 == 0 { part } else { "…" }).collect()
}

/// Limits of one request and of one run.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct LimitsConfig {
    /// The longest wait for a connection, seconds.
    pub connect_seconds: f64,
    /// The longest wait for the next bytes of a response, seconds.
    pub idle_seconds: f64,
    /// The longest one request may take in all, seconds.
    pub request_seconds: f64,
    /// The largest body after decompression, bytes.
    pub body_bytes: u64,
    /// How much larger than the bytes on the wire a body may get by decompression.
    pub decompression_ratio: u64,
    /// The most headers a response may have.
    pub headers: usize,
    /// The most pages one listing may have.
    pub pages: u64,
    /// The most rows one listing may have.
    pub rows: u64,
    /// The longest one read may go on, seconds. It stops at a page, and the next run continues there.
    pub read_seconds: f64,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            connect_seconds: 10.0,
            idle_seconds: 30.0,
            request_seconds: 120.0,
            body_bytes: 32 << 20,
            decompression_ratio: 100,
            headers: 100,
            pages: 100_000,
            rows: 100_000_000,
            read_seconds: 6.0 * 3600.0,
        }
    }
}

/// The rate the other side allows.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RateConfig {
    /// What the rate is counted by: sources with the same key share it. The API's host where it is not given.
    #[serde(default)]
    pub key: Option<String>,
    /// How many requests are allowed…
    pub requests: u32,
    /// …in this many seconds.
    pub per_seconds: f64,
    /// How many may go out at once after a pause. 1.
    #[serde(default = "one")]
    pub burst: u32,
    /// How many may be under way at once. 1, or as many as the most concurrent stream fetches.
    #[serde(default)]
    pub at_once: Option<usize>,
}

impl RateConfig {
    /// This many requests in this many seconds.
    pub fn new(requests: u32, per_seconds: f64) -> Self {
        Self { key: None, requests, per_seconds, burst: 1, at_once: None }
    }
}

fn one() -> u32 {
    1
}
