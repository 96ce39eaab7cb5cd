//! An HTTP client for APIs, and a declarative REST source over it.
//!
//! [`Rest`] describes an API, by a builder or from TOML; [`RestSource`] reads it. An API is data: the address, how to get
//! in, the rate it allows, what its answers mean, and for each stream the request, where the records stand, how pages
//! follow each other and how to ask for what is new. [`ApiConfig`] shows a whole description with every part explained
//! (`api.example.toml`), [`styles`] says how each style of real APIs is declared; the smallest description is this:
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
//! *What comes in is not always written as one would wish.* Columns may be taken from the first of several places, from
//! a variable of the partition, from a list by a name or from the description itself, be a hash over others, and their
//! texts cut, cleaned and looked up ([`Transform`]);
//! [`Parse`](sync_core::json::Parse) says how what is left is written. Records that stand in an array inside of others are
//! exploded, with `^/…` for a place in the record around; rows of sums are dropped ([`DropConfig`]). Bodies in CSV
//! and XML are read as if they were JSON ([`Format`]).
//!
//! ```
//! # use sync_core::StreamSpec;
//! # use sync_rest::Rest;
//! let description = r#"
//!     base = "https://network.example"
//!
//!     [streams.purchases]
//!     path = "/publishers/{account}/performance"
//!     records = ["/payload/data"]
//!     columns = { account = "{account}", shop = "/campaign/name" }
//!     parse = { locked = "flag", amount = { number = { thousands = ".", point = "," } } }
//!     partitions = [{ name = "main", variables = { account = "4711" } }]
//!
//!     [streams.purchases.transforms]
//!     network = { constant = "boostiny" }
//!     order_id = { first_of = ["/order_id", "/network_order_id"], trim = true, null_if = ["", "N/A"] }
//!     coupon = { trim = true, case = "upper" }
//!     status = { map = { A = "approved", P = "pending" }, default = "unknown" }
//!
//!     [streams.coupons]
//!     path = "/publishers/4711/campaigns"
//!     records = ["/payload/data"]
//!     explode = "/coupons"
//!     columns = { campaign_id = "^/id", campaign = "^/name", code = "/coupon" }
//!     drop = [{ pointer = "/report_type", equals = ["summary"] }, { pointer = "^/id", present = false }]
//!
//!     [streams.payments]
//!     path = "/payments.csv"
//!     format = "csv"
//!     csv = { delimiter = "|" }
//!     columns = { id = "/Payment ID" }
//!
//!     [streams.deals]
//!     path = "/deals.xml"
//!     format = "xml"
//!     records = ["/couponfeed/link"]
//!     columns = { id = "/@id", shop = "/advertisername" }
//!     paging = { style = "page", param = "page", pages = "/couponfeed/TotalPages" }
//! "#;
//! let coupons = StreamSpec::new("coupons")
//!     .int("campaign_id").text("campaign").text("code").key(["campaign_id", "code"]);
//! let payments = StreamSpec::new("payments").key(["id"]).decimal("Amount", 12, 2);
//! let deals = StreamSpec::new("deals").text("id").text("shop").key(["id"]);
//! let purchases = StreamSpec::new("purchases")
//!     .text("account").text("order_id").text("shop").text("network").text("coupon").text("status")
//!     .bool("locked").decimal("amount", 12, 2)
//!     .key(["account", "order_id"]);
//! let network = Rest::from_toml(description, [purchases, coupons, payments, deals])?.build()?;
//! # Ok::<(), sync_core::Error>(())
//! ```
//!
//! *Dates.* A stream that is asked for by dates is read in windows, oldest first, and the last days are read again. A
//! window that holds too much for one answer is halved until it fits; rows that are found by several dates are read in
//! several passes, one after the other:
//!
//! ```
//! use sync_core::StreamSpec;
//! use sync_rest::Rest;
//!
//! let description = r#"
//!     base = "https://network.example"
//!
//!     [[rules]]
//!     status = [400]
//!     matches = "too many rows"
//!     class = "too_many"
//!
//!     [[rules]]
//!     status = [502, 504]
//!     class = "too_slow"
//!
//!     [streams.actions]
//!     path = "/actions/"
//!     records = ["/results"]
//!
//!     [streams.actions.window]
//!     column = "day"
//!     from = "date_start"
//!     to = "date_end"
//!     start = "2026-01-01"
//!     lookback_days = 7
//!     halve = { smallest_seconds = 86400 }
//!     also = [
//!         { name = "status", from = "status_updated_start", to = "status_updated_end" },
//!         { name = "closing", from = "closing_date_start", to = "closing_date_end", lookback_days = 120 },
//!     ]
//! "#;
//! let actions = StreamSpec::new("actions").key(["id"]).date("day").text("status");
//! let network = Rest::from_toml(description, [actions])?.build()?;
//! # Ok::<(), sync_core::Error>(())
//! ```
//!
//! *Partitions.* A stream of many accounts, ad spaces or campaigns is read part by part, each with a position of its own.
//! The parts are declared, or taken from a listing at the beginning of every run. A part that is no longer listed is no
//! longer read, and keeps its rows and its position; a list that is broken, or empty without leave, is an error. Name the
//! column that holds the part in every row (`partition_column`), and the listing of one part deletes what is gone from it,
//! and nothing of the others:
//!
//! ```
//! use sync_core::StreamSpec;
//! use sync_rest::Rest;
//!
//! let description = r#"
//!     base = "https://network.example"
//!
//!     [streams.coupons]
//!     path = "/accounts/{account}/coupons"
//!     records = ["/data"]
//!     partition_column = "account"
//!
//!     [streams.coupons.partitions_from]
//!     path = "/accounts"
//!     query = { status = "active" }
//!     records = ["/accounts"]
//!     paging = { style = "page", param = "page", total = "/total" }
//!     name = "/id"
//!     variables = { account = "/id" }
//!     most = 200
//! "#;
//! let coupons = StreamSpec::new("coupons").key(["code"]).text("code").text("account");
//! let network = Rest::from_toml(description, [coupons])?.build()?;
//! # Ok::<(), sync_core::Error>(())
//! ```
//!
//! *What goes out.* Requests go to the declared origin only, over TLS (plain on loopback), never to private addresses
//! unless the host allows it, without redirects, proxies or retries. Secrets stand in requests and nowhere else.
//!
//! *What comes in* is bounded and suspected: bodies after decompression, headers, pages, rows and time have limits; a page
//! that comes again, goes round in a circle or is shorter than its total is no end of a listing. Numbered pages, from which
//! rows slip when others go, are read a second time, all but the last, before rows are taken for gone or a version moves on.

mod ahead;
mod auth;
mod client;
mod config;
mod error;
mod evidence;
mod fan_out;
mod format;
mod http_date;
mod look;
mod paging;
mod partition;
mod passes;
mod plan;
mod pointer;
mod position;
mod reader;
mod records;
mod redact;
mod rest;
mod rules;
mod secret;
mod shape;
mod slowness;
mod source;
mod suspect;
mod tasks;
mod template;
mod throttle;
mod time_form;
mod transport;
mod unseen;
mod variables;
mod window;

#[doc = include_str!("../STYLES.md")]
pub mod styles {}

pub use auth::TokenStore;
pub use config::{
    Algorithm, ApiConfig, AuthConfig, BodyConfig, Case, Class, ClientAuthentication, CsvConfig, DropConfig, Encoding,
    Endpoint, Format, HalveConfig, HeaderConfig, LimitsConfig, LookUp, MethodConfig, OneOrMany, PagingConfig,
    ParentConfig, PartitionConfig, PassConfig, RateConfig, RuleConfig, SentConfig, SigningConfig, SinceConfig, Style,
    Transform, Unit, WaitSource, WindowConfig, WindowEnd, get, post, post_form,
};
pub use rest::Rest;
pub use secret::SecretRef;
pub use source::RestSource;
pub use throttle::Throttle;
pub use transport::{HttpRequest, HttpResponse, HttpTransport, Network, ReqwestTransport, SocketOptions};
