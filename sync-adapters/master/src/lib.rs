//! The HTTP master of two-way sync: [`Routes`] that a host mounts, and [`HttpMaster`], which a branch reaches it with.
//!
//! The rules are those of [`sync_core::two_way`]; here is what HTTP adds to them: who is asking, whose rows those are, how rows
//! travel, how much may be asked for, and what a lost answer means.
//!
//! ```
//! use std::sync::Arc;
//!
//! use jsonwebtoken::{EncodingKey, Header, encode};
//! use secrecy::SecretString;
//! use sync_core::memory::MemoryReplica;
//! use sync_core::two_way::{Branch, Hub, Table, Tables};
//! use sync_core::{StreamSpec, SystemClock};
//! use sync_master::{CursorKey, HttpMaster, Keys, Routes};
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let notes = || StreamSpec::new("notes").text("id").key(["id"]).text("client_id").text("text");
//! let tables = || Tables::new([Table::new(notes()).scoped_by(["client_id"])]);
//! let clock = Arc::new(SystemClock::new());
//!
//! // The master: a hub, the keys that tokens are signed with, and a secret of its own for cursors.
//! let master = MemoryReplica::new("master", tables()?, clock.clone());
//! let secret = [7; 32]; // random in earnest, and kept safe
//! let keys = Keys::new("https://login.example", "sync").hs256("2026-11", &secret)?;
//! let routes = Routes::new(Hub::new(master.clone(), clock.clone()), keys, CursorKey::new(&[8; 32])?).router()?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let address = format!("http://{}", listener.local_addr()?);
//! tokio::spawn(async move { axum::serve(listener, routes).await });
//!
//! // A branch: a database, the master's address, and a token that says whose rows it may see.
//! let claims = serde_json::json!({
//!     "iss": "https://login.example", "aud": "sync", "sub": "till-1", "exp": chrono::Utc::now().timestamp() + 60,
//!     "iat": chrono::Utc::now().timestamp(), "client_id": "pear & sons",
//! });
//! let header = Header { kid: Some("2026-11".into()), ..Header::default() };
//! let token = SecretString::from(encode(&header, &claims, &EncodingKey::from_secret(&secret))?);
//! let till = MemoryReplica::new("till-1", tables()?, clock.clone());
//! let branch = Branch::new(till.clone(), HttpMaster::at(&address, &tables()?, token)?, clock);
//!
//! till.transaction(|host| host.put("notes", ["n1".into(), "pear & sons".into(), "written offline".into()])).await?;
//! branch.sync().await?;
//! assert_eq!(master.rows("notes"), till.rows("notes"));
//! # Ok(()) }
//! ```
//!
//! # Who may do what
//!
//! | Claim | What it is for |
//! |---|---|
//! | `iss`, `aud`, `exp`, `sub` | required; `nbf` is respected; clocks may be 5 seconds apart |
//! | `jti`, `iat` | by which [`Revoked`] knows one token, and those that a subject was given before; a token without `iat` counts as one of those |
//! | `client_id` | whose rows: those with this value in the client's scope column |
//! | `branch_id` | which of them, in tables that are scoped by branch; without it those tables are closed |
//! | `role` | `super-admin` acts in the name that `x-act-as-client` and `x-act-as-branch` say, and only so |
//!
//! A branch is its client's and its branch's: with a token of another one it is refused (`bad_cursor`), and sends nothing, until
//! [`Branch::start_over`](sync_core::two_way::Branch::start_over) says that it is meant. A replica's name on the wire means something to its own client and branch alone: two tenants may each have a `till-1`. Over TLS,
//! which the host brings, since a token that is read on the way is as good as stolen.
//!
//! # Rows as JSON
//!
//! A row is an object by column. Integers beyond 2^53 and decimals are text, and text is taken for any number; instants
//! are RFC 3339, bytes base64. A column that is not named is null; one that the table does not have is refused.
//!
//! # Refusals
//!
//! `{ "code", "message", "id" }`: the code for programs, the id to find it in the master's log, which is `tracing`: a host without a
//! subscriber, such as `tracing_subscriber::fmt::init()`, logs nothing. No refusal holds a row's
//! value, SQL, or anything of another tenant.
//!
//! | Status | Codes | What to do |
//! |---|---|---|
//! | 400 | `bad_json`, `bad_batch`, `bad_peer`, `bad_parameter`, `bad_cursor`, `moved`, … | correct the request |
//! | 401 | `unauthorized` | get a new token, and send it again once |
//! | 403 | `not_yours`, `server_owned`, `act_as_required`, `not_super_admin`, `bad_origin` | leave it out |
//! | 404 | `not_waiting` | it is decided already, or not yours |
//! | 409 | `gap` (with `last_op`), `forked`, `ended`, `busy` | send from `last_op` on; begin another life; give each process a name of its own; try again |
//! | 410 | `start_over` | leave the cursor out, and keep what is pending |
//! | 413 | `too_large`, `too_many_edits`, `group_too_large`, `too_many_keys` | send smaller batches |
//! | 415 | `not_json`, `bad_encoding` | JSON, plain or in gzip or zstd |
//! | 422 | `unknown_table`, `unknown_column`, `wrong_type`, … | correct the row |
//! | 426 | `not_websocket` | a room is joined by an upgrade |
//! | 429, 503 | | wait as long as `Retry-After` says |
//!
//! # As things happen
//!
//! [`Rooms`] tell branches over WebSocket that there is something to pull, and [`LiveBranch`] follows them: it syncs when there is
//! news, when its host has written, and from time to time; while no room can be joined it asks at intervals.
//!
//! # As a source and a sink
//!
//! A branch has a database of its own. What has none goes through a pipeline, as with every adapter: [`MasterSource`] brings what a master
//! has, and what happens there, into any sink; [`MasterSink`] brings rows from any source to a master, and so to all its branches.
//!
//! # Slaves that upload and download
//!
//! [`Routes::with_legacy`] adds `upload`, `download` and `acknowledge` in their old shapes. A slave knows no numbers and no
//! cursors: the master numbers its rows, and the `timestamp` of a download carries a cursor in its digits after the second. A slave
//! that sends it back as it came gets what changed; one that sends a time of its own gets everything.

mod client;
#[doc(hidden)]
pub mod proof;
mod refusal;
mod server;
mod sink;
mod source;
mod wire;

pub use client::{HttpMaster, LiveBranch, LiveSettings, LiveState, Tokens};
pub use server::{ActedAs, Audit, CursorKey, Keys, Limits, Revoked, RoomSettings, Rooms, Routes, TracingAudit};
pub use sink::MasterSink;
pub use source::MasterSource;
