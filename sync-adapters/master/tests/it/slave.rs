//! Slaves of system 003: rows, one timestamp, and nothing lost over it.

use axum::body::Body;
use http::Request;
use serde_json::{Value as Json, json};
use sync_core::{Key, Value};
use sync_master::{Limits, Routes};

use crate::support::*;

async fn shop() -> Shop {
    Shop::with(Routes::with_legacy).await
}

fn record(action: &str, id: &str, data: &Json) -> Json {
    json!({"table": "items", "action": action, "id": id, "data": data})
}

fn upload(records: &[Json]) -> Json {
    json!({"records": records})
}

fn name(shop: &Shop, id: &str) -> Option<Value> {
    row(&shop.master, "items", id).map(|row| row[3].clone())
}

#[tokio::test]
async fn an_upload_creates_updates_and_deletes_and_fills_in_whose_the_rows_are() {
    let shop = shop().await;
    let token = token("A", "1");
    let records = [
        record("create", "new", &json!({"name": "kiwi", "stock": 3, "grade": "mine"})),
        record("update", "a1", &json!({"name": "renamed"})),
        record("update", "new", &json!({"stock": 2})),
    ];
    let answer = shop.post(&token, "/api/sync/upload", &upload(&records)).await.ok();
    assert_eq!((&answer["success"], &answer["processed"]), (&json!(true), &json!(3)));
    let mut kiwi = item("new", "A", "1", "kiwi", 2);
    kiwi[5] = Value::Null; // Only the master writes this column: what the slave has there is left out.
    assert_eq!(row(&shop.master, "items", "new"), Some(kiwi));
    assert_eq!(row(&shop.master, "items", "a1"), Some(item("a1", "A", "1", "renamed", 10)));
    let delete = json!({"records": [{"table": "items", "action": "delete", "id": "new"}]});
    shop.post(&token, "/api/sync/upload", &delete).await.ok();
    shop.post(&token, "/api/sync/upload", &delete).await.ok();
    assert_eq!(name(&shop, "new"), None);
}

#[tokio::test]
async fn an_upload_that_comes_again_changes_nothing_and_an_older_one_does_not_win() {
    let shop = shop().await;
    let token = token("A", "1");
    let at = |minute: u32, name: &str| {
        upload(&[record(
            "update",
            "a1",
            &json!({"name": name, "updated_at": format!("2030-01-01T10:{minute:02}:00Z")}),
        )])
    };
    let status = |answer: Answer| answer.ok()["results"][0]["status"].as_str().unwrap().to_owned();
    let past = |minute: u32, name: &str| {
        upload(&[record(
            "create",
            "old",
            &json!({"name": name, "updated_at": format!("2020-01-01T10:{minute:02}:00Z")}),
        )])
    };
    assert_eq!(status(shop.post(&token, "/api/sync/upload", &past(5, "five")).await), "applied");
    let entries = shop.master.entries().len();
    assert_eq!(status(shop.post(&token, "/api/sync/upload", &past(5, "five")).await), "applied");
    assert_eq!(shop.master.entries().len(), entries, "an upload that comes again writes nothing");
    assert_eq!(status(shop.post(&token, "/api/sync/upload", &past(4, "four")).await), "overruled");
    assert_eq!(name(&shop, "old"), Some("five".into()));
    assert_eq!(status(shop.post(&token, "/api/sync/upload", &past(6, "six")).await), "applied");
    assert_eq!(name(&shop, "old"), Some("six".into()));
    // The same values as long ago are a new write all the same.
    assert_eq!(status(shop.post(&token, "/api/sync/upload", &past(7, "five")).await), "applied");
    assert_eq!(name(&shop, "old"), Some("five".into()));
    // A clock far ahead does not win for ever: its time is set back to the present.
    shop.post(&token, "/api/sync/upload", &at(1, "ahead")).await.ok();
    assert_eq!(name(&shop, "a1"), Some("ahead".into()));
}

#[tokio::test]
async fn an_upload_is_taken_whole_or_not_at_all() {
    let shop = shop().await;
    let (token, before) = (token("A", "1"), shop.rows());
    let good = record("create", "new", &json!({"name": "kiwi"}));
    for (status, code, bad) in [
        (422, "unknown_table", json!({"table": "users", "action": "create", "id": "1", "data": {}})),
        (422, "unknown_column", record("create", "x", &json!({"role": "admin"}))),
        (422, "unknown_column", record("create", "x", &json!({"_sync_no_key": 1}))),
        (422, "wrong_type", record("create", "x", &json!({"stock": "many"}))),
        (400, "unknown_action", record("drop", "x", &json!({}))),
        (400, "bad_record", record("update", "x", &json!({"id": "y"}))),
        (400, "bad_record", json!({"table": "items", "action": "create", "id": "x"})),
        (422, "wrong_type", json!({"table": "items", "action": "delete", "id": {"a": 1}})),
        (400, "bad_json", json!({"table": "items", "action": "create"})),
        (403, "not_yours", record("update", "b1", &json!({"name": "stolen"}))),
        (403, "not_yours", record("create", "x", &json!({"client_id": "B"}))),
    ] {
        let answer = shop.post(&token, "/api/sync/upload", &upload(&[good.clone(), bad.clone()])).await;
        assert_eq!(answer.refusal(), (status, code.to_owned()), "{bad} {}", answer.text);
        assert_eq!(shop.rows(), before, "{bad}");
    }
    shop.post(&token, "/api/sync/upload", &upload(&[good])).await.ok();
}

#[tokio::test]
async fn uploads_at_once_and_after_a_restart_are_all_taken() {
    let shop = shop().await;
    let again = Shop {
        master: shop.master.clone(),
        hub: shop.hub.clone(),
        router: routes(&shop.hub).with_legacy().router().unwrap(),
    };
    let token = token("A", "1");
    let bodies: Vec<Json> =
        (0..6).map(|n| upload(&[record("create", &format!("c{n}"), &json!({"name": "x"}))])).collect();
    // Two processes that know nothing of each other, in turns.
    for (n, body) in bodies.iter().enumerate() {
        let shop = if n % 2 == 0 { &shop } else { &again };
        shop.post(&token, "/api/sync/upload", body).await.ok();
    }
    let others: Vec<Json> =
        (0..6).map(|n| upload(&[record("create", &format!("d{n}"), &json!({"name": "x"}))])).collect();
    let [a, b, c, d, e, f] = [0, 1, 2, 3, 4, 5].map(|n| {
        let shop = if n % 2 == 0 { &shop } else { &again };
        shop.post(&token, "/api/sync/upload", &others[n])
    });
    let answers = tokio::join!(a, b, c, d, e, f);
    for answer in [answers.0, answers.1, answers.2, answers.3, answers.4, answers.5] {
        answer.ok();
    }
    assert_eq!(shop.master.rows("items").len(), 3 + 12);
}

#[tokio::test]
async fn a_download_brings_everything_once_and_then_what_changed() {
    let shop = shop().await;
    let token = token("A", "1");
    let first = shop.get(&token, "/api/sync/download").await.ok();
    assert_eq!((&first["full"], &first["has_more"]), (&json!(true), &json!(false)));
    let ids: Vec<&Json> = first["records"].as_array().unwrap().iter().map(|record| &record["id"]).collect();
    assert_eq!(ids, [&json!("a1"), &json!("na")]);
    assert_eq!(first["records"][0]["action"], "create");
    let stamp = first["timestamp"].as_str().unwrap();
    assert!(chrono::DateTime::parse_from_rfc3339(stamp).is_ok(), "{stamp}");
    let since = |stamp: &str, rest: &str| format!("/api/sync/download?last_synced_at={stamp}{rest}");

    assert_eq!(shop.get(&token, &since(stamp, "")).await.ok()["records"], json!([]));
    put(&shop.master, "items", item("a1", "A", "1", "renamed", 10)).await;
    shop.master.transaction(|host| host.delete("notes", &Key::new(["na"]))).await.unwrap();
    let news = shop.get(&token, &since(stamp, "")).await.ok();
    let acted: Vec<_> = news["records"].as_array().unwrap().iter().map(|r| (&r["action"], &r["id"])).collect();
    assert_eq!(acted, [(&json!("update"), &json!("a1")), (&json!("delete"), &json!("na"))]);
    assert_eq!(news["full"], json!(false));
    // Asked again, it comes again: only the slave knows whether it has arrived.
    assert_eq!(shop.get(&token, &since(stamp, "")).await.ok()["records"], news["records"]);

    let own_clock = shop.get(&token, &since("2026-11-21T15:00:00Z", "")).await.ok();
    assert_eq!((&own_clock["full"], own_clock["records"].as_array().unwrap().len()), (&json!(true), 1));
    // The cursor is good for the tables it was given for.
    let other = shop.get(&token, &since(stamp, "&tables[]=items")).await.ok();
    assert_eq!(other["full"], json!(true));
    let items = shop.get(&token, "/api/sync/download?tables[]=items&tables%5B%5D=notes").await.ok();
    let stamp = items["timestamp"].as_str().unwrap();
    let same = shop.get(&token, &since(stamp, "&tables[]=notes&tables[]=items")).await.ok();
    assert_eq!((&same["full"], &same["records"]), (&json!(false), &json!([])));
    for (status, code, path) in [
        (400, "bad_timestamp", since("yesterday", "")),
        (422, "unknown_table", "/api/sync/download?tables[]=users".to_owned()),
        (400, "unknown_parameter", "/api/sync/download?client_id=B".to_owned()),
    ] {
        assert_eq!(shop.get(&token, &path).await.refusal(), (status, code.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn what_is_acknowledged_need_not_be_kept_and_what_is_not_is_kept() {
    // A download of several pages: those that follow the first are not the slave's yet, either.
    let mut limits = Limits::default();
    limits.page_rows = 1;
    let shop = Shop::with(|routes| routes.with_legacy().limits(limits)).await;
    let hub = {
        let mut settings = sync_core::two_way::HubSettings::default();
        settings.keep = std::time::Duration::ZERO;
        shop.hub.clone().settings(settings)
    };
    let token = token("A", "1");
    let download = |stamp: String| format!("/api/sync/download?last_synced_at={stamp}");
    let stamped = |answer: Json| answer["timestamp"].as_str().unwrap().to_owned();
    let first = stamped(shop.get(&token, "/api/sync/download").await.ok());
    for n in 0..3 {
        put(&shop.master, "items", item("a1", "A", "1", &format!("name {n}"), 10)).await;
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let second = stamped(shop.get(&token, &download(first.clone())).await.ok());
    hub.clean_up().await.unwrap();
    let kept = shop.get(&token, &download(first.clone())).await.ok();
    assert_eq!(kept["records"].as_array().unwrap().len(), 3, "the answer may have been lost: it comes again");

    let ack = |stamp: &str, status: &str| json!({"timestamp": stamp, "status": status, "message": "a\u{1b}[31m\r\nb"});
    shop.post(&token, "/api/sync/acknowledge", &ack(&second, "failed")).await.ok();
    hub.clean_up().await.unwrap();
    shop.get(&token, &download(first.clone())).await.ok();
    shop.post(&token, "/api/sync/acknowledge", &ack(&second, "success")).await.ok();
    assert!(hub.clean_up().await.unwrap().entries > 0);
    assert_eq!(shop.get(&token, &download(first)).await.refusal(), (410, "start_over".to_owned()));
    shop.get(&token, &download(second)).await.ok();
    assert_eq!(
        shop.post(&token, "/api/sync/acknowledge", &ack("now", "success")).await.refusal(),
        (400, "bad_timestamp".to_owned())
    );
}

#[tokio::test]
async fn routes_that_the_host_opens_act_as_one_tenant_and_the_others_stay_closed() {
    let shop = Shop::with(|routes| routes.with_legacy_open_to_everybody("A", Some("1".to_owned()))).await;
    let open = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    let answer = shop.ask(open("/api/sync/download")).await;
    assert!(answer.text.contains("pear") && !answer.text.contains(CANARY));
    answer.ok();
    assert_eq!(shop.ask(open("/api/sync/stats")).await.refusal().0, 401);
    // A token is not looked at: everybody is A.
    assert!(!shop.get(&token("B", "1"), "/api/sync/download").await.text.contains(CANARY));
}
