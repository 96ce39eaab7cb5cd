//! The builder: where the API is, how to get in, which streams to read. Building makes no network call.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use sync_core::{Clock, Error, Result, StreamSpec, SystemClock};
use url::Url;

use crate::auth::{Auth, AuthParts, TokenStore};
use crate::client::{Bucket, Client};
use crate::config::{ApiConfig, AuthConfig, Endpoint, HeaderConfig, LimitsConfig, RateConfig, RuleConfig};
use crate::evidence::Interrupted;
use crate::fan_out::Discovered;
use crate::plan::{StreamPlan, header_map};
use crate::redact::Redactor;
use crate::secret::SecretRef;
use crate::slowness::Slowness;
use crate::source::{Inner, RestSource, Strikes};
use crate::throttle::Throttle;
use crate::transport::{BodyLimits, HttpTransport, Network, ReqwestTransport, SocketOptions, check_literal};
use crate::variables;

/// Describes a source over HTTP.
///
/// ```
/// use sync_core::StreamSpec;
/// use sync_rest::{Rest, get};
///
/// let orders = StreamSpec::new("orders").key(["id"]).version("updated_at").decimal("total", 12, 2);
/// let shop = Rest::at("https://shop.example")
///     .stream(&orders, get("/orders").records("/data").cursor("/next").since("updated_since"))
///     .build()?;
/// # Ok::<(), sync_core::Error>(())
/// ```
pub struct Rest {
    config: ApiConfig,
    streams: Vec<(StreamSpec, Endpoint)>,
    secrets: HashMap<String, SecretString>,
    transport: Option<Arc<dyn HttpTransport>>,
    clock: Arc<dyn Clock>,
    throttle: Option<Throttle>,
    token_store: Option<Arc<dyn TokenStore>>,
    network: Network,
    authorities: Vec<Vec<u8>>,
}

impl Rest {
    /// An API at this address: `https`, or `http` on loopback. Paths of streams are appended to it.
    pub fn at(base: impl Into<String>) -> Self {
        Self::of(ApiConfig::new(base), Vec::new())
    }

    /// The API that a TOML text describes, with the streams it names.
    ///
    /// # Errors
    /// `Config`, naming the field and the line, or the stream that is described on one side only.
    pub fn from_toml(text: &str, streams: impl IntoIterator<Item = StreamSpec>) -> Result<Self> {
        Self::from_config(ApiConfig::from_toml(text)?, streams)
    }

    /// The API of a description, with the streams it names. Described streams that are not given are not read.
    ///
    /// # Errors
    /// `Config` when a stream is not described.
    pub fn from_config(mut config: ApiConfig, streams: impl IntoIterator<Item = StreamSpec>) -> Result<Self> {
        let mut found = Vec::new();
        for spec in streams {
            let endpoint = config.streams.remove(spec.name()).ok_or_else(|| {
                Error::config(format!("the description has no `[streams.{}]`", spec.name())).with("stream", spec.name())
            })?;
            found.push((spec, endpoint));
        }
        Ok(Self::of(config, found))
    }

    fn of(config: ApiConfig, streams: Vec<(StreamSpec, Endpoint)>) -> Self {
        Self {
            config,
            streams,
            secrets: HashMap::new(),
            transport: None,
            clock: Arc::new(SystemClock::new()),
            throttle: None,
            token_store: None,
            network: Network::default(),
            authorities: Vec::new(),
        }
    }

    /// The source's name in logs and reports; otherwise the host.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.config.name = Some(name.into());
        self
    }

    /// One more stream.
    #[must_use]
    pub fn stream(mut self, spec: &StreamSpec, endpoint: Endpoint) -> Self {
        self.streams.push((spec.clone(), endpoint));
        self
    }

    /// How to get in.
    #[must_use]
    pub fn auth(mut self, auth: AuthConfig) -> Self {
        self.config.auth = auth;
        self
    }

    /// `Authorization: Bearer …` with the token in this environment variable.
    #[must_use]
    pub fn bearer_env(self, variable: impl Into<String>) -> Self {
        self.auth(AuthConfig::Bearer { token: SecretRef::env(variable) })
    }

    /// `Authorization: Bearer …` with this token.
    #[must_use]
    pub fn bearer(self, token: SecretString) -> Self {
        self.auth(AuthConfig::Bearer { token: SecretRef::given(token) })
    }

    /// `Authorization: Basic …` with user and password in these environment variables.
    #[must_use]
    pub fn basic_env(self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.auth(AuthConfig::Basic { user: SecretRef::env(user), password: SecretRef::env(password) })
    }

    /// A header with the key in this environment variable.
    #[must_use]
    pub fn header_env(self, name: impl Into<String>, variable: impl Into<String>) -> Self {
        let header = HeaderConfig { name: name.into(), value: SecretRef::env(variable), prefix: String::new() };
        self.auth(AuthConfig::Headers { headers: vec![header] })
    }

    /// A query parameter with the key in this environment variable.
    #[must_use]
    pub fn query_key_env(self, name: impl Into<String>, variable: impl Into<String>) -> Self {
        self.auth(AuthConfig::Query { name: name.into(), key: SecretRef::env(variable) })
    }

    /// A secret that the description names as `host:NAME`.
    #[must_use]
    pub fn secret(mut self, name: impl Into<String>, secret: SecretString) -> Self {
        self.secrets.insert(name.into(), secret);
        self
    }

    /// A header of every request that is no secret.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.headers.insert(name.into(), value.into());
        self
    }

    /// Another host that next links and redirects may lead to. Credentials are not sent there.
    #[must_use]
    pub fn allow_host(mut self, host: impl Into<String>) -> Self {
        self.config.allow_hosts.push(host.into());
        self
    }

    /// Lets the source reach private and link-local addresses.
    #[must_use]
    pub fn allow_private_network(mut self) -> Self {
        self.network = Network::Private;
        self
    }

    /// One more certificate authority to trust, PEM.
    #[must_use]
    pub fn trust(mut self, authority: impl Into<Vec<u8>>) -> Self {
        self.authorities.push(authority.into());
        self
    }

    /// The rate the other side allows.
    #[must_use]
    pub fn rate(mut self, rate: RateConfig) -> Self {
        self.config.rate = Some(rate);
        self
    }

    /// Buckets to share with other sources.
    #[must_use]
    pub fn throttle(mut self, throttle: Throttle) -> Self {
        self.throttle = Some(throttle);
        self
    }

    /// Limits of one request and of one run.
    #[must_use]
    pub fn limits(mut self, change: impl FnOnce(&mut LimitsConfig)) -> Self {
        change(&mut self.config.limits);
        self
    }

    /// One more rule about what answers mean.
    #[must_use]
    pub fn rule(mut self, rule: RuleConfig) -> Self {
        self.config.rules.push(rule);
        self
    }

    /// Where error bodies hold their message, a JSON pointer.
    #[must_use]
    pub fn message_at(mut self, pointer: impl Into<String>) -> Self {
        self.config.messages.push(pointer.into());
        self
    }

    /// Another way to the other side, such as a simulated one.
    #[must_use]
    pub fn transport(mut self, transport: Arc<dyn HttpTransport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Another clock, such as a simulated one.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Where rotated refresh tokens are kept.
    #[must_use]
    pub fn token_store(mut self, store: Arc<dyn TokenStore>) -> Self {
        self.token_store = Some(store);
        self
    }

    /// The source. Everything that can be known to be wrong without a network call is found here, but for certificates of the
    /// platform that are missing: they are read meanwhile, and the first request says so.
    ///
    /// # Errors
    /// `Config`, naming the field, the stream or the variable, and the remedy.
    pub fn build(self) -> Result<RestSource> {
        let limits = self.config.limits.clone();
        let base = address("base", &self.config.base, self.network)?;
        if base.query().is_some() || base.fragment().is_some() {
            return Err(Error::config("field `base` holds a query or a fragment; put parameters into `query`"));
        }
        if self.streams.is_empty() {
            return Err(Error::config("the source has no streams; add one with `stream`"));
        }
        let host = base.host_str().unwrap_or_default();
        let streams = self.streams.iter().map(|(spec, endpoint)| {
            variables::check(endpoint).map_err(|error| error.with("stream", spec.name()))?;
            let mut plan = StreamPlan::new(Arc::new(spec.clone()), endpoint.clone(), &self.config.rules)?;
            if endpoint.rate.is_some() {
                let key = format!("{host}/{}", spec.name());
                let bucket = Bucket::new(endpoint.rate.as_ref(), key, endpoint.paging.concurrency.unwrap_or(1));
                plan.bucket = Some(Arc::new(bucket.map_err(|error| error.with("stream", spec.name()))?));
            }
            Ok((spec.name().to_owned(), Arc::new(plan)))
        });
        let streams: std::collections::BTreeMap<_, _> = streams.collect::<Result<_>>()?;
        if streams.len() < self.streams.len() {
            return Err(Error::config("two streams have the same name"));
        }
        let at_once = self.streams.iter().filter_map(|(_, endpoint)| endpoint.paging.concurrency).max().unwrap_or(1);
        let bucket = Bucket::new(self.config.rate.as_ref(), host.to_owned(), at_once)?;
        let transport = match self.transport {
            Some(transport) => transport,
            None => {
                let transport = ReqwestTransport::new(&SocketOptions {
                    connect: seconds("connect_seconds", limits.connect_seconds)?,
                    idle: seconds("idle_seconds", limits.idle_seconds)?,
                    network: self.network,
                    authorities: self.authorities,
                })?;
                transport.begin(&base);
                Arc::new(transport)
            }
        };
        let redactor = Arc::new(Redactor::default());
        let parts = AuthParts {
            transport: Arc::clone(&transport),
            clock: Arc::clone(&self.clock),
            redactor: Arc::clone(&redactor),
            store: self.token_store,
        };
        let auth = Auth::new(&self.config.auth, &self.secrets, parts)?;
        if let Some(url) = auth.token_url() {
            check_literal(url, self.network).map_err(|error| error.with("field", "token_url"))?;
        }
        let client = Client {
            transport,
            auth,
            redactor,
            throttle: self.throttle.unwrap_or_else(|| Throttle::new(Arc::clone(&self.clock))),
            clock: self.clock,
            bucket,
            network: self.network,
            allow_hosts: self.config.allow_hosts,
            accept_types: self.config.accept_types,
            messages: self.config.messages,
            headers: header_map(&self.config.headers)?,
            most_headers: limits.headers,
            body: BodyLimits { bytes: limits.body_bytes, ratio: limits.decompression_ratio },
            deadline: seconds("request_seconds", limits.request_seconds)?,
            base: base.clone(),
        };
        let name = self.config.name.or_else(|| base.host_str().map(str::to_owned)).unwrap_or_default();
        Ok(RestSource {
            inner: Arc::new(Inner {
                name,
                client,
                limits,
                streams,
                strikes: Strikes::default(),
                slowness: Slowness::default(),
                interrupted: Interrupted::default(),
                discovered: Discovered::default(),
            }),
        })
    }
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rest")
            .field("auth", &self.config.auth)
            .field("streams", &self.streams.len())
            .finish_non_exhaustive()
    }
}

fn address(field: &str, text: &str, network: Network) -> Result<Url> {
    // The text is not repeated: it may hold a credential.
    let url =
        Url::parse(text).map_err(|cause| Error::config(format!("field `{field}` is no address")).caused_by(cause))?;
    check_literal(&url, network).map_err(|error| error.with("field", field))?;
    Ok(url)
}

fn seconds(field: &str, value: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(value)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| Error::config(format!("field `limits.{field}` is a number of seconds above zero")))
}
