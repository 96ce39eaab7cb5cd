//! The styles of real networks, in declarations alone: each has a test here, whatever else proves its parts.

mod answers;
mod auth;
mod networks;
mod paging;
mod records;
mod requests;
mod windows;

use sync_core::model::RowScope;
use sync_core::source::Reading;
use sync_core::{StreamSpec, Value};
use sync_rest::Rest;

use crate::server::{Outcome, Request, Server, read_as};

/// Reads the first two days of March 2026, or everything where the stream has no range.
pub(super) async fn declared(server: &Server, toml: &str, spec: StreamSpec, column: Option<&str>) -> Outcome {
    let toml = format!("base = {:?}\n{}", server.url(), toml.replace("SERVER", &server.url()));
    let secret = secrecy::SecretString::from("key-1");
    let source = Rest::from_toml(&toml, [spec]).unwrap().secret("key", secret).build().unwrap();
    let date = |text: &str| Some(Value::Date(text.parse().unwrap()));
    let reading = column.map_or(Reading::Listing, |column| {
        Reading::Range(RowScope::Range { column: column.into(), from: date("2026-03-01"), until: date("2026-03-03") })
    });
    read_as(&source, Default::default(), None, reading).await
}

pub(super) fn sent(request: &Request, wanted: &[(&str, &str)]) {
    for (name, value) in wanted {
        assert_eq!(request.param(name), Some(*value), "{name} in {:?}", request.query);
    }
}
