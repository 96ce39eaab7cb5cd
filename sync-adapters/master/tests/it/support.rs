//! A master with two tenants' rows, and what it takes to ask it.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use http::{HeaderMap, Request, StatusCode};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value as Json, json};
use sync_core::conflict::Park;
use sync_core::memory::MemoryReplica;
use sync_core::two_way::{Hub, Table, Tables};
use sync_core::{Clock, Key, StreamSpec, SystemClock, Value};
use sync_master::{CursorKey, Keys, Routes};
use tower::ServiceExt as _;

pub(crate) const SECRET: &[u8; 32] = b"a secret of exactly 32 bytes....";
pub(crate) const ISSUER: &str = "https://issuer.example";
pub(crate) const AUDIENCE: &str = "sync";
/// A name in a row of tenant B.
pub(crate) const CANARY: &str = "canary-of-B";

pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

pub(crate) fn tables() -> Tables {
    let items = StreamSpec::new("items")
        .text("id")
        .key(["id"])
        .text("client_id")
        .text("branch_id")
        .text("name")
        .int("stock")
        .text("grade")
        .timestamp("updated_at");
    let notes = StreamSpec::new("notes").text("id").key(["id"]).text("client_id").text("text");
    Tables::new([
        Table::new(items).scoped_by(["client_id", "branch_id"]).counters(["stock"]).server_owned(["grade"]),
        Table::new(notes).scoped_by(["client_id"]).policy(Park::new("a person decides")),
    ])
    .unwrap()
}

pub(crate) fn item(id: &str, client: &str, branch: &str, name: &str, stock: i64) -> Vec<Value> {
    vec![id.into(), client.into(), branch.into(), name.into(), stock.into(), Value::Null, Value::Null]
}

pub(crate) fn note(id: &str, client: &str, text: &str) -> Vec<Value> {
    vec![id.into(), client.into(), text.into()]
}

pub(crate) fn replica(name: &str) -> MemoryReplica {
    MemoryReplica::new(name, tables(), clock())
}

pub(crate) async fn put(replica: &MemoryReplica, table: &str, row: Vec<Value>) {
    replica.transaction(|host| host.put(table, row)).await.unwrap();
}

pub(crate) fn row(replica: &MemoryReplica, table: &str, id: &str) -> Option<Vec<Value>> {
    replica.rows(table).into_iter().find(|(key, _)| *key == Key::new([id])).map(|(_, row)| row)
}

/// A master and its router.
pub(crate) struct Shop {
    pub(crate) master: MemoryReplica,
    pub(crate) hub: Hub,
    pub(crate) router: Router,
}

impl Shop {
    pub(crate) async fn open() -> Self {
        Self::with(|routes| routes).await
    }

    pub(crate) async fn with(change: impl FnOnce(Routes) -> Routes) -> Self {
        let master = replica("master");
        for (id, client, branch, name) in [("a1", "A", "1", "pear"), ("a2", "A", "2", "plum"), ("b1", "B", "1", CANARY)]
        {
            put(&master, "items", item(id, client, branch, name, 10)).await;
        }
        put(&master, "notes", note("na", "A", "of A")).await;
        put(&master, "notes", note("nb", "B", CANARY)).await;
        let hub = Hub::new(master.clone(), clock());
        let router = change(routes(&hub)).router().unwrap();
        Self { master, hub, router }
    }

    pub(crate) async fn ask(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        Answer { status: parts.status, headers: parts.headers, text: String::from_utf8_lossy(&body).into_owned() }
    }

    pub(crate) async fn get(&self, token: &str, path: &str) -> Answer {
        self.ask(get(token, path)).await
    }

    pub(crate) async fn post(&self, token: &str, path: &str, body: &Json) -> Answer {
        self.ask(post(token, path, body)).await
    }

    /// All rows there are.
    pub(crate) fn rows(&self) -> Vec<(Key, Vec<Value>)> {
        [self.master.rows("items"), self.master.rows("notes")].concat()
    }
}

pub(crate) fn routes(hub: &Hub) -> Routes {
    let keys = Keys::new(ISSUER, AUDIENCE).hs256("k1", SECRET).unwrap();
    Routes::new(hub.clone(), keys, CursorKey::new(&[7; 32]).unwrap())
}

pub(crate) fn get(token: &str, path: &str) -> Request<Body> {
    Request::get(path).header("authorization", format!("Bearer {token}")).body(Body::empty()).unwrap()
}

pub(crate) fn post(token: &str, path: &str, body: &Json) -> Request<Body> {
    Request::post(path)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap()
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Json {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    /// Status and code of a refusal.
    pub(crate) fn refusal(&self) -> (u16, String) {
        (self.status.as_u16(), self.json()["code"].as_str().unwrap_or_default().to_owned())
    }

    pub(crate) fn ok(self) -> Json {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        self.json()
    }
}

pub(crate) fn now() -> i64 {
    chrono::Utc::now().timestamp()
}

/// Claims that are in order.
pub(crate) fn claims(client: &str, branch: Option<&str>, role: &str) -> Json {
    let mut claims = json!({
        "sub": format!("user of {client}"), "iss": ISSUER, "aud": AUDIENCE, "exp": now() + 60, "role": role, "client_id": client,
    });
    if let Some(branch) = branch {
        claims["branch_id"] = branch.into();
    }
    claims
}

pub(crate) fn header(kid: &str) -> Header {
    Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::HS256) }
}

pub(crate) fn sign(claims: &Json) -> String {
    encode(&header("k1"), claims, &EncodingKey::from_secret(SECRET)).unwrap()
}

pub(crate) fn token(client: &str, branch: &str) -> String {
    sign(&claims(client, Some(branch), "branch"))
}

pub(crate) fn super_admin() -> String {
    let mut claims = claims("none", None, "super-admin");
    claims.as_object_mut().unwrap().remove("client_id");
    sign(&claims)
}

/// A batch of one edit that makes an item.
pub(crate) fn new_item(peer: &str, previous: u64, id: &str, client: &str, branch: &str) -> Json {
    let row = json!({"id": id, "client_id": client, "branch_id": branch, "name": "new", "stock": 1});
    json!({"peer": peer, "previous": previous, "edits": [
        {"op": previous + 1, "table": "items", "hlc": "2026-11-21T10:00:00Z", "after": row},
    ]})
}

/// A batch of one edit of a note that was seen otherwise: it waits for a person.
pub(crate) fn contested_note(peer: &str, id: &str, client: &str, seen: &str) -> Json {
    let row = |text: &str| json!({"id": id, "client_id": client, "text": text});
    json!({"peer": peer, "edits": [
        {"op": 1, "table": "notes", "hlc": "2026-11-21T10:00:00Z", "before": row(seen), "after": row("contested")},
    ]})
}
