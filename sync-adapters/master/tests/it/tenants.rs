//! Everybody sees their own: the matrix of callers and routes.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use http::Request;
use serde_json::{Value as Json, json};
use sync_master::{ActedAs, Audit};

use crate::support::*;

#[derive(Debug, Clone, Default)]
struct Written(Arc<Mutex<Vec<ActedAs>>>);

impl Audit for Written {
    fn record(&self, call: &ActedAs) {
        self.0.lock().unwrap().push(call.clone());
    }
}

#[derive(Debug, Clone)]
struct Who {
    name: &'static str,
    token: String,
    act_as: Option<(&'static str, &'static str)>,
    /// Whose rows it gets to see; nobody's where it is refused throughout.
    client: Option<(&'static str, &'static str)>,
}

fn everybody() -> Vec<Who> {
    let branch =
        |name, client, branch| Who { name, token: token(client, branch), act_as: None, client: Some((client, branch)) };
    let admin =
        |name, act_as: Option<(&'static str, &'static str)>| Who { name, token: super_admin(), act_as, client: act_as };
    vec![
        branch("A1", "A", "1"),
        branch("A2", "A", "2"),
        branch("B1", "B", "1"),
        admin("super-admin", None),
        admin("super-admin as A1", Some(("A", "1"))),
    ]
}

async fn ask(shop: &Shop, who: &Who, mut request: Request<Body>) -> Answer {
    if let Some((client, branch)) = who.act_as {
        request.headers_mut().insert("x-act-as-client", client.parse().unwrap());
        request.headers_mut().insert("x-act-as-branch", branch.parse().unwrap());
    }
    shop.ask(request).await
}

/// What every caller does to every route, for this client's and branch's rows.
fn requests(token: &str, client: &str, branch: &str, conflict: &Json) -> Vec<(&'static str, Request<Body>)> {
    let upload = json!({"records": [{"table": "notes", "action": "create", "id": format!("up-{client}{branch}"),
        "data": {"client_id": client, "text": "uploaded"}}]});
    let ack = json!({"timestamp": "2026-11-21T15:00:00Z", "status": "success"});
    vec![
        ("read", get(token, "/api/sync/pull-changes?peer=till")),
        (
            "write",
            post(token, "/api/sync/batch-push", &new_item("till", 0, &format!("n{client}{branch}"), client, branch)),
        ),
        ("ack", get(token, "/api/sync/pull-changes?peer=till&answered=1")),
        // Rows of everybody, whoever asks.
        (
            "rows",
            post(
                token,
                "/api/sync/rows",
                &json!({"table": "items", "keys": [{"id": "a1"}, {"id": "a2"}, {"id": "b1"}]}),
            ),
        ),
        ("stats", get(token, "/api/sync/stats")),
        ("resolve", post(token, "/api/sync/resolve-conflict", &json!({"id": conflict, "decision": "keep_existing"}))),
        ("upload", post(token, "/api/sync/upload", &upload)),
        ("download", get(token, "/api/sync/download")),
        ("acknowledge", post(token, "/api/sync/acknowledge", &ack)),
    ]
}

/// A shop where a note of B waits for a decision, and its id outside.
async fn contested() -> (Shop, Json, Written) {
    let written = Written::default();
    let audit = written.clone();
    let shop = Shop::with(|routes| routes.with_legacy().audit(audit)).await;
    shop.post(&token("B", "1"), "/api/sync/batch-push", &contested_note("desk", "nb", "B", "older")).await.ok();
    let id = shop.get(&token("B", "1"), "/api/sync/stats").await.ok()["conflicts"][0]["id"].clone();
    (shop, id, written)
}

#[tokio::test]
async fn nobody_sees_or_touches_what_is_anothers() {
    for who in everybody() {
        let (shop, conflict, written) = contested().await;
        let (client, branch) = who.client.unwrap_or(("A", "1"));
        let theirs = requests(&who.token, client, branch, &conflict);
        let routes = theirs.len();
        for (what, request) in theirs {
            let answer = ask(&shop, &who, request).await;
            let place = format!("{} {what}: {}", who.name, answer.text);
            match (who.client, what) {
                (None, _) => assert_eq!(answer.refusal(), (403, "act_as_required".to_owned()), "{place}"),
                (Some(("B", _)), _) => assert_eq!(answer.status, 200, "{place}"),
                (_, "resolve") => assert_eq!(answer.refusal(), (404, "not_waiting".to_owned()), "{place}"),
                _ => assert_eq!(answer.status, 200, "{place}"),
            }
            let shows = answer.text.contains(CANARY);
            let may = who.client.is_some_and(|(client, _)| client == "B");
            assert!(may || !shows, "{place}");
            assert!(!may || shows || !matches!(what, "read" | "rows" | "stats" | "download"), "{place}");
            if client == "A" && matches!(what, "read" | "rows") && who.client.is_some() {
                let other = if branch == "1" { "plum" } else { "pear" };
                assert!(!answer.text.contains(other), "of another branch: {place}");
            }
        }
        let acted = written.0.lock().unwrap().clone();
        assert_eq!(acted.len(), if who.act_as.is_some() { routes } else { 0 }, "{}", who.name);
        assert!(acted.iter().all(|call| call.client == "A" && call.branch.as_deref() == Some("1")));
        if who.client.is_none() {
            assert_eq!(shop.rows().len(), 5, "nothing was written");
        }
    }
}

#[tokio::test]
async fn nobody_writes_what_is_anothers() {
    let (shop, conflict, _) = contested().await;
    let before = shop.rows();
    for who in everybody() {
        let (client, branch) = who.client.unwrap_or(("A", "1"));
        let (foreign, other) = if client == "A" { ("B", "1") } else { ("A", "2") };
        let id = if client == "A" { "b1" } else { "a1" };
        let claimed = new_item("thief", 0, id, client, branch);
        let upload = |client: &str| {
            json!({"records": [{"table": "items", "action": "update", "id": id,
            "data": {"name": "stolen", "client_id": client, "branch_id": branch}}]})
        };
        let delete = json!({"records": [{"table": "items", "action": "delete", "id": id}]});
        for (path, body) in [
            ("batch-push", new_item("thief", 0, "mine-for-you", foreign, other)),
            ("batch-push", claimed),
            ("upload", upload(foreign)),
            ("upload", upload(client)),
            ("upload", delete),
        ] {
            let answer = ask(&shop, &who, post(&who.token, &format!("/api/sync/{path}"), &body)).await;
            let code = if who.client.is_none() { "act_as_required" } else { "not_yours" };
            assert_eq!(answer.refusal(), (403, code.to_owned()), "{} {body}", who.name);
        }
    }
    assert_eq!(shop.rows(), before);
    let waiting = shop.hub.inbox(&sync_core::two_way::Access::everything()).await.unwrap();
    assert_eq!(waiting.len(), 1, "{conflict} waits as before");
}

#[tokio::test]
async fn replicas_of_two_tenants_share_a_name_and_nothing_else() {
    let shop = Shop::open().await;
    for (client, branch) in [("A", "1"), ("A", "2"), ("B", "1")] {
        let batch = new_item("till", 0, &format!("n{client}{branch}"), client, branch);
        let answer = shop.post(&token(client, branch), "/api/sync/batch-push", &batch).await.ok();
        assert_eq!(answer["results"][0]["became"], "applied", "{client}{branch}");
    }
    // A client's note, written by one branch, comes to the other without the name of who wrote it.
    let note = json!({"peer": "desk-7", "edits": [{"op": 1, "table": "notes", "hlc": "1.0",
        "after": {"id": "n", "client_id": "A", "text": "of A1"}}]});
    shop.post(&token("A", "1"), "/api/sync/batch-push", &note).await.ok();
    let page = shop.get(&token("A", "2"), "/api/sync/pull-changes?peer=desk-7").await.ok();
    let second = format!("/api/sync/pull-changes?peer=desk-7&cursor={}", page["cursor"].as_str().unwrap());
    let notes = shop.get(&token("A", "2"), &second).await;
    assert!(notes.text.contains("of A1") && !notes.text.contains("desk-7"), "{}", notes.text);
}

#[tokio::test]
async fn a_cursor_is_good_for_its_own_tenant_and_branch() {
    let shop = Shop::open().await;
    let page = shop.get(&token("B", "1"), "/api/sync/pull-changes?peer=till").await.ok();
    let path = format!("/api/sync/pull-changes?peer=till&cursor={}", page["cursor"].as_str().unwrap());
    for (client, branch) in [("A", "1"), ("B", "2")] {
        assert_eq!(shop.get(&token(client, branch), &path).await.refusal(), (400, "bad_cursor".to_owned()));
    }
    shop.get(&token("B", "1"), &path).await.ok();
}

#[tokio::test]
async fn only_a_super_admin_acts_in_anothers_name_and_says_so_once() {
    let shop = Shop::open().await;
    let acting = |token: &str, headers: &[(&'static str, &str)]| {
        let mut request = get(token, "/api/sync/stats");
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        shop.ask(request)
    };
    let branch = token("A", "1");
    for headers in [[("x-act-as-client", "B")], [("x-act-as-branch", "2")]] {
        assert_eq!(acting(&branch, &headers).await.refusal(), (403, "not_super_admin".to_owned()));
    }
    let admin = super_admin();
    assert_eq!(acting(&admin, &[("x-act-as-branch", "1")]).await.refusal(), (403, "act_as_required".to_owned()));
    let twice = [("x-act-as-client", "A"), ("x-act-as-client", "B")];
    assert_eq!(acting(&admin, &twice).await.refusal(), (400, "bad_act_as".to_owned()));
    assert_eq!(acting(&admin, &[("x-act-as-client", "")]).await.refusal(), (400, "bad_act_as".to_owned()));
    acting(&admin, &[("x-act-as-client", "A")]).await.ok();
    for role in ["Super-Admin", "super-admin ", "superadmin", "admin"] {
        let token = sign(&claims("A", Some("1"), role));
        assert_eq!(acting(&token, &[("x-act-as-client", "B")]).await.refusal(), (403, "not_super_admin".to_owned()));
    }
}
