//! An HTTP client for APIs, and a declarative REST source over it.
//!
//! [`Rest`] describes an API, by a builder or from TOML; [`RestSource`] reads it. An API is data: the address, how to get
//! in, the rate it allows, what its answers mean, and for each stream the request, where the records stand, how pages
//! follow each other and how to ask for what is new.
//!
//! ```
//! use sync_core::StreamSpec;
//! use sync_rest::Rest;
//!
//! let description = r#"
//!     base = "https://shop.example/api"
//!     rate = { requests = 600, per_seconds = 60 }
//!
//!     [streams.orders]
//!     path = "/orders"
//!     records = ["/data"]
//!     since = { param = "updated_since" }
//!     paging = { style = "page", param = "page", size = 100, size_param = "limit", total = "/total" }
//! "#;
//! let orders = StreamSpec::new("orders").key(["id"]).version("updated_at").decimal("total", 12, 2);
//! let shop = Rest::from_toml(description, [orders])?.build()?;
//! # Ok::<(), sync_core::Error>(())
//! ```
//!
//! *What goes out.* Requests go to the declared origin only, over TLS (plain on loopback), never to private addresses
//! unless the host allows it, without redirects, proxies or retries. Secrets stand in requests and nowhere else.
//!
//! *What comes in* is bounded and suspected: bodies after decompression, headers, pages, rows and time have limits; a page
//! that comes again, goes round in a circle or is shorter than its total is no end of a listing.

mod ahead;
mod auth;
mod client;
mod config;
mod error;
mod evidence;
mod http_date;
mod paging;
mod passes;
mod plan;
mod pointer;
mod position;
mod reader;
mod redact;
mod rest;
mod rules;
mod secret;
mod slowness;
mod source;
mod suspect;
mod tasks;
mod template;
mod throttle;
mod time_form;
mod transport;
mod variables;
mod window;

pub use auth::TokenStore;
pub use config::{
    Algorithm, ApiConfig, AuthConfig, BodyConfig, Class, ClientAuthentication, Encoding, Endpoint, HalveConfig,
    HeaderConfig, LimitsConfig, MethodConfig, OneOrMany, PagingConfig, PartitionConfig, PassConfig, RateConfig,
    RuleConfig, SentConfig, SigningConfig, SinceConfig, Style, Unit, WaitSource, WindowConfig, WindowEnd, get, post,
    post_form,
};
pub use rest::Rest;
pub use secret::SecretRef;
pub use source::RestSource;
pub use throttle::Throttle;
pub use transport::{HttpRequest, HttpResponse, HttpTransport, Network, ReqwestTransport, SocketOptions};
