//! What each route does for those whose rows they are.

use std::io::Write as _;

use axum::body::Body;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::Request;
use serde_json::json;
use sync_core::Value;
use sync_master::Limits;

use crate::support::*;

const ROUTES: [(&str, &str); 9] = [
    ("post", "/api/sync/batch-push"),
    ("post", "/api/sync/rows"),
    ("get", "/api/sync/pull-changes"),
    ("post", "/api/sync/resolve-conflict"),
    ("get", "/api/sync/stats"),
    ("post", "/api/sync/upload"),
    ("get", "/api/sync/download"),
    ("post", "/api/sync/acknowledge"),
    ("get", "/api/sync/room"),
];

#[tokio::test]
async fn every_route_is_in_the_document_and_every_one_but_the_document_asks_for_a_token() {
    let shop = Shop::with(|routes| routes.with_legacy().with_rooms(sync_master::Rooms::default())).await;
    let document = shop.ask(Request::get("/api/sync/openapi.json").body(Body::empty()).unwrap()).await.ok();
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.len(), ROUTES.len() + 1);
    for (method, path) in ROUTES {
        let route = &paths[path][method];
        assert!(route.is_object(), "{method} {path}");
        assert_eq!(route["security"], json!([{"token": []}]), "{path}");
        let request = Request::builder().method(method.to_uppercase().as_str()).uri(path).body(Body::empty()).unwrap();
        assert_eq!(shop.ask(request).await.refusal().0, 401, "{path}");
        let other = if method == "get" { "DELETE" } else { "GET" };
        let request = Request::builder().method(other).uri(path).body(Body::empty()).unwrap();
        assert_eq!(shop.ask(request).await.refusal().0, 405, "{path}");
    }
    assert!(document["paths"]["/api/sync/openapi.json"]["get"]["security"].is_null());
    assert_eq!(document["components"]["securitySchemes"]["token"]["scheme"], "bearer");
}

#[tokio::test]
async fn what_is_not_mounted_is_not_in_the_document_and_not_there() {
    let shop = Shop::open().await;
    let document = shop.ask(Request::get("/api/sync/openapi.json").body(Body::empty()).unwrap()).await.ok();
    for path in ["/api/sync/upload", "/api/sync/download", "/api/sync/acknowledge", "/api/sync/room"] {
        assert!(document["paths"][path].is_null(), "{path}");
        assert_eq!(shop.get(&token("A", "1"), path).await.status, 404, "{path}");
    }
    assert!(document["paths"]["/api/sync/stats"].is_object());
}

#[tokio::test]
async fn the_document_says_what_each_route_refuses_by_its_policy() {
    let shop = Shop::with(|routes| routes.with_rooms(sync_master::Rooms::default())).await;
    let document = shop.ask(Request::get("/api/sync/openapi.json").body(Body::empty()).unwrap()).await.ok();
    let responses = |path: &str, method: &str| document["paths"][path][method]["responses"].clone();
    for (path, method) in [("/api/sync/stats", "get"), ("/api/sync/batch-push", "post"), ("/api/sync/room", "get")] {
        for (status, code) in
            [("400", "bad_act_as"), ("401", "unauthorized"), ("403", "act_as_required"), ("429", "too_many_requests")]
        {
            let refusal = &responses(path, method)[status];
            assert!(refusal["description"].as_str().is_some_and(|what| what.contains(code)), "{path} {status}");
            let schema = &refusal["content"]["application/json"]["schema"]["$ref"];
            assert_eq!(schema, "#/components/schemas/Problem", "{path} {status}");
        }
    }
    // Beside what the handler says.
    assert!(responses("/api/sync/room", "get")["403"]["description"].as_str().unwrap().contains("bad_origin"));
    assert!(document["components"]["schemas"]["Problem"].is_object());
    let open = responses("/api/sync/openapi.json", "get");
    assert_eq!((open["401"].is_null(), open["429"].is_object()), (true, true));
}

#[tokio::test]
async fn routes_that_the_host_has_opened_ask_for_no_token_in_the_document_either() {
    let shop = Shop::with(|routes| routes.with_legacy_open_to_everybody("A", Some("1".to_owned()))).await;
    let document = shop.ask(Request::get("/api/sync/openapi.json").body(Body::empty()).unwrap()).await.ok();
    let download = &document["paths"]["/api/sync/download"]["get"];
    assert!(download["security"].is_null() && download["responses"]["401"].is_null());
    assert_eq!(document["paths"]["/api/sync/stats"]["get"]["security"], json!([{"token": []}]));
}

#[tokio::test]
async fn a_batch_is_applied_once_and_its_answer_comes_again() {
    let shop = Shop::open().await;
    let (token, batch) = (token("A", "1"), new_item("till", 0, "new", "A", "1"));
    let first = shop.post(&token, "/api/sync/batch-push", &batch).await.ok();
    assert_eq!(first["results"][0]["became"], "applied");
    assert_eq!((&first["last_op"], &first["results"][0]["row"]["name"]), (&json!(1), &json!("new")));
    let entries = shop.master.entries().len();
    assert_eq!(shop.post(&token, "/api/sync/batch-push", &batch).await.ok(), first);
    assert_eq!(shop.master.entries().len(), entries);
    // Another write under its number is another branch's, as far as anybody can tell.
    let other = new_item("till", 0, "other", "A", "1");
    assert_eq!(shop.post(&token, "/api/sync/batch-push", &other).await.refusal(), (409, "forked".to_owned()));
    let gap = shop.post(&token, "/api/sync/batch-push", &new_item("till", 7, "later", "A", "1")).await;
    assert_eq!((gap.refusal(), &gap.json()["last_op"]), ((409, "gap".to_owned()), &json!(1)));
}

#[tokio::test]
async fn a_batch_without_groups_is_applied_whole_or_not_at_all() {
    let shop = Shop::open().await;
    let before = shop.rows();
    let mut batch = new_item("till", 0, "new", "A", "1");
    let mut foreign = new_item("till", 1, "foreign", "B", "1")["edits"][0].clone();
    batch["edits"].as_array_mut().unwrap().push(foreign.clone());
    let token = token("A", "1");
    assert_eq!(shop.post(&token, "/api/sync/batch-push", &batch).await.refusal(), (403, "not_yours".to_owned()));
    assert_eq!(shop.rows(), before);
    foreign["after"]["client_id"] = "A".into();
    batch["edits"][1] = foreign;
    shop.post(&token, "/api/sync/batch-push", &batch).await.ok();
    assert_eq!(shop.rows().len(), before.len() + 2);
}

#[tokio::test]
async fn fifty_edits_are_the_most_of_several_groups_and_one_group_may_have_more() {
    let shop = Shop::open().await;
    let edit = |op: u64| new_item("till", op - 1, &format!("n{op}"), "A", "1")["edits"][0].clone();
    let token = token("A", "1");
    let groups = |edits: u64| {
        let groups: Vec<_> = (1..=edits).map(|op| json!({"previous": op - 1, "edits": [edit(op)]})).collect();
        json!({"peer": "groups", "groups": groups})
    };
    let refused = shop.post(&token, "/api/sync/batch-push", &groups(51)).await;
    assert_eq!(refused.refusal(), (413, "too_many_edits".to_owned()));
    shop.post(&token, "/api/sync/batch-push", &groups(50)).await.ok();
    let whole: Vec<_> = (1..=60).map(edit).collect();
    let answer = shop.post(&token, "/api/sync/batch-push", &json!({"peer": "whole", "edits": whole})).await.ok();
    assert_eq!(answer["results"].as_array().unwrap().len(), 60);
}

#[tokio::test]
async fn a_body_is_measured_after_decompression() {
    let mut limits = Limits::default();
    let batch = new_item("till", 0, "new", "A", "1");
    limits.body_bytes = batch.to_string().len() + 100;
    let shop = Shop::with(|routes| routes.limits(limits)).await;
    let padded = |more: usize| format!("{batch}{}", " ".repeat(more));
    let gzip = |text: &str| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = |text: &str| zstd::encode_all(text.as_bytes(), 0).unwrap();
    let before = shop.rows();
    let sent = |encoding: Option<&str>, body: Vec<u8>| {
        let mut request = post(&token("A", "1"), "/api/sync/batch-push", &json!(null));
        if let Some(encoding) = encoding {
            request.headers_mut().insert("content-encoding", encoding.parse().unwrap());
        }
        *request.body_mut() = Body::from(body);
        shop.ask(request)
    };
    for (encoding, body) in [
        (None, padded(101).into_bytes()),
        (Some("gzip"), gzip(&padded(101))),
        (Some("gzip"), gzip(&padded(50_000_000))),
        (Some("zstd"), zstd(&padded(101))),
    ] {
        assert_eq!(sent(encoding, body).await.refusal(), (413, "too_large".to_owned()), "{encoding:?}");
    }
    let mut cut = gzip(&padded(0));
    cut.truncate(cut.len() / 2);
    assert_eq!(sent(Some("gzip"), cut).await.refusal(), (400, "bad_body".to_owned()));
    assert_eq!(sent(Some("gzip"), b"plain".to_vec()).await.refusal(), (400, "bad_body".to_owned()));
    assert_eq!(sent(Some("br"), b"x".to_vec()).await.refusal(), (415, "bad_encoding".to_owned()));
    assert_eq!(sent(Some("gzip, gzip"), gzip(&padded(0))).await.refusal(), (415, "bad_encoding".to_owned()));
    assert_eq!(shop.rows(), before);
    for (encoding, body) in
        [(None, padded(100).into_bytes()), (Some("gzip"), gzip(&padded(100))), (Some("zstd"), zstd(&padded(100)))]
    {
        sent(encoding, body).await.ok();
    }
}

#[tokio::test]
async fn changes_come_page_by_page_and_a_cursor_that_is_too_old_or_forged_says_so() {
    let shop = Shop::open().await;
    let token = token("A", "1");
    let mut names = Vec::new();
    let mut path = "/api/sync/pull-changes?peer=till&limit=1".to_owned();
    let last = loop {
        let page = shop.get(&token, &path).await.ok();
        names.extend(page["changes"].as_array().unwrap().iter().map(|change| change["key"]["id"].clone()));
        path = format!("/api/sync/pull-changes?peer=till&limit=1&cursor={}", page["cursor"].as_str().unwrap());
        if page["more"] == json!(false) {
            break page;
        }
    };
    assert_eq!(names, [json!("a1"), json!("na")]);
    put(&shop.master, "items", item("a1", "A", "1", "renamed", 10)).await;
    let news = shop.get(&token, &path).await.ok();
    assert_eq!(news["changes"][0]["row"]["name"], "renamed");
    assert_eq!(news["changes"][0]["origin"], "master");

    let cursor = last["cursor"].as_str().unwrap();
    let other = if cursor.starts_with('A') { 'B' } else { 'A' };
    let forged = format!("/api/sync/pull-changes?peer=till&cursor={other}{}", &cursor[1..]);
    assert_eq!(shop.get(&token, &forged).await.refusal(), (400, "bad_cursor".to_owned()));
    // The master is another one since: its feed has another life.
    let again = Shop::open().await;
    assert_eq!(again.get(&token, &path).await.refusal(), (410, "start_over".to_owned()));
}

#[tokio::test]
async fn what_waits_is_listed_and_decided_once() {
    let shop = Shop::open().await;
    let token = token("A", "1");
    let pushed = shop.post(&token, "/api/sync/batch-push", &contested_note("till", "na", "A", "older")).await.ok();
    assert_eq!(pushed["results"][0]["became"], "waits");
    let stats = shop.get(&token, "/api/sync/stats").await.ok();
    let conflict = &stats["conflicts"][0];
    assert_eq!(
        (&stats["waiting"], &conflict["reason"], &conflict["peer"]),
        (&json!(1), &json!("parked"), &json!("till"))
    );
    assert_eq!(conflict["edits"][0]["existing"]["text"], "of A");
    let decided =
        json!({"id": conflict["id"], "decision": "write", "rows": [{"id": "na", "client_id": "A", "text": "agreed"}]});
    shop.post(&token, "/api/sync/resolve-conflict", &decided).await.ok();
    assert_eq!(row(&shop.master, "notes", "na"), Some(note("na", "A", "agreed")));
    let again = shop.post(&token, "/api/sync/resolve-conflict", &decided).await;
    assert_eq!(again.refusal(), (404, "not_waiting".to_owned()));
    let page = shop.get(&token, "/api/sync/pull-changes?peer=till&answered=1&waiting=0.1").await.ok();
    assert_eq!((&page["decided"][0]["table"], &page["decided"][0]["row"]["text"]), (&json!("notes"), &json!("agreed")));
}

#[tokio::test]
async fn answers_are_compressed_where_that_is_understood() {
    let shop = Shop::open().await;
    for encoding in ["gzip", "zstd"] {
        let mut request = get(&token("A", "1"), "/api/sync/openapi.json");
        request.headers_mut().insert("accept-encoding", encoding.parse().unwrap());
        assert_eq!(shop.ask(request).await.headers["content-encoding"], encoding);
    }
}

#[tokio::test]
async fn each_principal_has_a_quota_of_its_own() {
    let shop = Shop::with(|routes| routes.per_minute(3.try_into().unwrap())).await;
    let (one, other) = (token("A", "1"), token("A", "2"));
    for _ in 0..3 {
        shop.get(&one, "/api/sync/stats").await.ok();
    }
    let refused = shop.get(&one, "/api/sync/stats").await;
    assert_eq!(refused.refusal(), (429, "too_many_requests".to_owned()));
    let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=20).contains(&wait), "{wait}");
    shop.get(&other, "/api/sync/stats").await.ok();
}

#[tokio::test]
async fn columns_that_only_the_master_writes_stay_its_own() {
    let shop = Shop::open().await;
    let mut batch = new_item("till", 0, "new", "A", "1");
    batch["edits"][0]["after"]["grade"] = "best".into();
    let refused = shop.post(&token("A", "1"), "/api/sync/batch-push", &batch).await;
    assert_eq!(refused.refusal(), (403, "server_owned".to_owned()));
    assert_eq!(row(&shop.master, "items", "new"), None::<Vec<Value>>);
}
