//! What is wrong gets its code, and writes nothing.

use axum::body::Body;
use http::Request;
use serde_json::{Value as Json, json};

use crate::support::*;

fn edited(change: impl FnOnce(&mut Json)) -> Json {
    let mut batch = new_item("till", 0, "new", "A", "1");
    change(&mut batch);
    batch
}

#[tokio::test]
async fn a_batch_that_is_wrong_writes_nothing_and_says_what_is_wrong() {
    let shop = Shop::open().await;
    let (rows, entries, token) = (shop.rows(), shop.master.entries(), token("A", "1"));
    let cases: Vec<(u16, &str, Json)> = vec![
        (400, "bad_json", json!([])),
        (400, "bad_json", json!({"edits": []})),
        (400, "bad_json", edited(|batch| batch["admin"] = true.into())),
        (400, "bad_json", edited(|batch| batch["edits"][0]["op"] = (-1).into())),
        (400, "bad_json", edited(|batch| batch["edits"][0]["op"] = json!(1.5))),
        (400, "bad_json", edited(|batch| batch["edits"][0]["hlc"] = "yesterday".into())),
        (400, "bad_json", edited(|batch| batch["edits"][0]["rev"] = 7.into())),
        (400, "bad_batch", json!({"peer": "till"})),
        (400, "bad_batch", edited(|batch| batch["groups"] = json!([]))),
        (400, "bad_peer", edited(|batch| batch["peer"] = "".into())),
        (400, "bad_peer", edited(|batch| batch["peer"] = "a b".into())),
        (400, "bad_peer", edited(|batch| batch["peer"] = "a\n".into())),
        (400, "bad_peer", edited(|batch| batch["peer"] = "a".repeat(65).into())),
        (422, "empty_group", edited(|batch| batch["edits"] = json!([]))),
        (422, "empty_edit", edited(|batch| batch["edits"][0]["after"] = Json::Null)),
        (422, "bad_numbers", edited(|batch| batch["edits"][0]["op"] = 0.into())),
        (422, "unknown_table", edited(|batch| batch["edits"][0]["table"] = "pg_catalog.pg_user".into())),
        (422, "unknown_table", edited(|batch| batch["edits"][0]["table"] = "items\";--".into())),
        (422, "unknown_column", edited(|batch| batch["edits"][0]["after"]["role"] = "secret".into())),
        (422, "bad_row", edited(|batch| batch["edits"][0]["after"] = json!(["secret"]))),
        (422, "bad_row", edited(|batch| batch["edits"][0]["after"] = json!("secret"))),
        (422, "wrong_type", edited(|batch| batch["edits"][0]["after"]["stock"] = "secret".into())),
        (422, "wrong_type", edited(|batch| batch["edits"][0]["after"]["stock"] = "9223372036854775808".into())),
        (422, "wrong_type", edited(|batch| batch["edits"][0]["after"]["updated_at"] = "secret".into())),
        (422, "wrong_type", edited(|batch| batch["edits"][0]["after"]["id"] = Json::Null)),
        (
            422,
            "wrong_key",
            edited(|batch| {
                let mut row = batch["edits"][0]["after"].clone();
                row["id"] = "other".into();
                batch["edits"][0]["before"] = row;
            }),
        ),
        (403, "not_yours", edited(|batch| batch["edits"][0]["after"]["client_id"] = "B".into())),
        (403, "not_yours", edited(|batch| batch["edits"][0]["after"]["branch_id"] = "2".into())),
        (403, "not_yours", edited(|batch| batch["edits"][0]["after"]["branch_id"] = Json::Null)),
        (403, "server_owned", edited(|batch| batch["edits"][0]["after"]["grade"] = "secret".into())),
        (409, "gap", new_item("till", 5, "new", "A", "1")),
    ];
    for (status, code, batch) in cases {
        let answer = shop.post(&token, "/api/sync/batch-push", &batch).await;
        assert_eq!(answer.refusal(), (status, code.to_owned()), "{batch} {}", answer.text);
        assert!(!answer.text.contains("secret"), "{}", answer.text);
        assert!(answer.json()["id"].as_str().unwrap().len() >= 32);
        assert_eq!((shop.rows(), shop.master.entries()), (rows.clone(), entries.clone()), "{code}");
    }
}

#[tokio::test]
async fn a_body_that_is_none_is_refused() {
    let shop = Shop::open().await;
    let (rows, token) = (shop.rows(), token("A", "1"));
    let batch = new_item("till", 0, "new", "A", "1").to_string();
    let typed = |kind: Option<&str>, body: &str| {
        let mut request = Request::post("/api/sync/batch-push").header("authorization", format!("Bearer {token}"));
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        shop.ask(request.body(Body::from(body.to_owned())).unwrap())
    };
    for kind in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonp")] {
        assert_eq!(typed(kind, &batch).await.refusal(), (415, "not_json".to_owned()), "{kind:?}");
    }
    let twice = batch.replacen("{\"edits\"", "{\"peer\":\"other\",\"edits\"", 1);
    let deep = format!("{{\"peer\":{}", "[".repeat(100_000));
    for body in ["", "null", "{", &batch[..batch.len() - 1], &format!("{batch}{batch}"), &twice, &deep, "\u{feff}{}"] {
        assert_eq!(typed(Some("application/json"), body).await.refusal(), (400, "bad_json".to_owned()));
    }
    assert_eq!(shop.rows(), rows);
    typed(Some("application/json; charset=utf-8"), &batch).await.ok();
}

#[tokio::test]
async fn a_question_that_is_wrong_is_refused() {
    let shop = Shop::open().await;
    let token = token("A", "1");
    let many = format!("peer=till&waiting={}", vec!["0.1"; 1001].join(","));
    for (code, query) in [
        ("bad_parameter", ""),
        ("bad_parameter", "peer=till&limit=many"),
        ("bad_parameter", "peer=till&life=-1"),
        ("bad_parameter", "peer=till&waiting=1"),
        ("bad_parameter", &many),
        ("unknown_parameter", "peer=till&client_id=B"),
        ("bad_peer", "peer=a%0Ab"),
        ("bad_cursor", "peer=till&cursor="),
        ("bad_cursor", "peer=till&cursor=AAAA"),
    ] {
        let answer = shop.get(&token, &format!("/api/sync/pull-changes?{query}")).await;
        assert_eq!(answer.refusal(), (400, code.to_owned()), "{query}");
    }
}

#[tokio::test]
async fn a_decision_that_does_not_fit_decides_nothing() {
    let shop = Shop::open().await;
    let token = token("A", "1");
    shop.post(&token, "/api/sync/batch-push", &contested_note("till", "na", "A", "older")).await.ok();
    let id = shop.get(&token, "/api/sync/stats").await.ok()["conflicts"][0]["id"].clone();
    let rows = shop.rows();
    let written = |row: Json| json!({"id": id, "decision": "write", "rows": [row]});
    for (status, code, body) in [
        (400, "bad_json", json!({"id": id, "decision": "whatever"})),
        (422, "wrong_rows", json!({"id": id, "decision": "write"})),
        (422, "wrong_rows", json!({"id": id, "decision": "write", "rows": []})),
        (422, "wrong_rows", json!({"id": id, "decision": "keep_existing", "rows": [null]})),
        (422, "wrong_rows", written(json!({"id": "other", "client_id": "A"}))),
        (422, "unknown_column", written(json!({"id": "na", "client_id": "A", "role": "x"}))),
        (403, "not_yours", written(json!({"id": "na", "client_id": "B"}))),
        (404, "not_waiting", json!({"id": "0", "decision": "keep_existing"})),
    ] {
        let answer = shop.post(&token, "/api/sync/resolve-conflict", &body).await;
        assert_eq!(answer.refusal(), (status, code.to_owned()), "{body}");
        assert_eq!(shop.rows(), rows);
    }
    for (body, says) in [
        (json!({"id": id}), "missing field `decision`"),
        (json!({"id": id, "decision": "secret"}), "expected one of `take_incoming`, `keep_existing`, `write`"),
        (json!({"id": {"secret": ", expected secret"}, "decision": "write"}), "expected a string"),
    ] {
        let said = shop.post(&token, "/api/sync/resolve-conflict", &body).await.text;
        assert!(said.contains(says) && !said.contains("secret"), "{said}");
    }
    shop.post(&token, "/api/sync/resolve-conflict", &json!({"id": id, "decision": "keep_existing"})).await.ok();
}
