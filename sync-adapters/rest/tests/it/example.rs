//! The annotated description beside the manifest: it can be read, and does what its comments say.

use secrecy::SecretString;
use serde_json::json;
use sync_core::model::{Partition, RowScope};
use sync_core::source::Reading;
use sync_core::{ErrorKind, ReadRequest, Retry, Source as _, StreamSpec, Value};
use sync_rest::{ApiConfig, Rest, RestSource};

use crate::server::{Outcome, Reply, Request, Server};

const EXAMPLE: &str = include_str!("../../api.example.toml");

fn specs() -> [StreamSpec; 3] {
    let offers = StreamSpec::new("offers")
        .key(["id"])
        .text("title")
        .text("category")
        .text("status")
        .json("countries")
        .text("manager")
        .text("fingerprint")
        .bool("active")
        .decimal("payout", 12, 2)
        .timestamp("updated_at")
        .version("updated_at");
    let actions = StreamSpec::new("actions").key(["account", "id"]).int("account").timestamp("action_date");
    let coupons = StreamSpec::new("coupons").int("campaign_id").text("code").key(["campaign_id", "code"]);
    [offers, actions, coupons]
}

fn source(server: &Server) -> RestSource {
    let mut config = ApiConfig::from_toml(EXAMPLE).unwrap();
    config.base = format!("{}/v2", server.url());
    let token = SecretString::from("token-1");
    Rest::from_config(config, specs()).unwrap().secret("network-token", token).build().unwrap()
}

async fn read(source: &RestSource, stream: &str, partition: &str, reading: Reading) -> Outcome {
    use futures::TryStreamExt as _;
    let feed = source.feeds().await.unwrap().into_iter().find(|feed| feed.name() == stream).unwrap();
    let mut batches = source.read(ReadRequest::new(feed, Partition::new(partition)).reading(reading));
    let mut outcome = Outcome { batches: Vec::new(), error: None };
    loop {
        match batches.try_next().await {
            Ok(Some(batch)) => outcome.batches.push(batch),
            Ok(None) => return outcome,
            Err(error) => {
                outcome.error = Some(error);
                return outcome;
            }
        }
    }
}

#[test]
fn the_example_is_a_description_of_an_api() {
    let source = Rest::from_toml(EXAMPLE, specs()).unwrap().secret("network-token", SecretString::from("t")).build();
    assert_eq!(source.unwrap().name(), "network");
    let error = Rest::from_toml(EXAMPLE, specs()).unwrap().build().unwrap_err();
    assert!(error.to_string().contains("host:network-token"), "{error}");
}

#[tokio::test]
async fn its_offers_come_behind_a_token_and_are_made_what_they_mean() {
    let server = Server::start(|request| {
        let second = request.param("cursor") == Some("b");
        let (id, title) = if second { (2, json!({"name": " Two "})) } else { (1, json!({"title": "One"})) };
        let mut offer = json!({
            "id": id, "categories": [{"name": "Shoes"}], "status": "P", "active": "yes",
            "payout": "1,234.50", "updated_at": 1_767_225_600_000_u64, "countries": "sa, ae",
            "contacts": [{"role": "billing", "email": "b@network.example"}, {"role": "manager", "email": "m@network.example"}],
        });
        offer.as_object_mut().unwrap().extend(title.as_object().unwrap().clone());
        let next = (!second).then_some("b");
        Reply::json(&json!({"data": [offer], "meta": {"next": next, "total": 2}}))
    })
    .await;
    let outcome = read(&source(&server), "offers", "", Reading::Changes).await.good();
    assert_eq!(outcome.column("title"), [Value::from("One"), Value::from("Two")]);
    assert_eq!(outcome.column("category")[0], Value::from("Shoes"));
    assert_eq!(outcome.column("status")[0], Value::from("paused"));
    assert_eq!(outcome.column("payout")[0].to_string(), "1234.50");
    assert_eq!(outcome.column("countries")[0].to_string(), r#"["SA","AE"]"#);
    assert_eq!(outcome.column("manager")[0], Value::from("m@network.example"));
    let prints = outcome.column("fingerprint");
    assert!(prints[0].to_string().len() == 32 && prints[0] != prints[1], "{prints:?}");
    let first = &server.seen()[0];
    assert_eq!((first.path.as_str(), first.header("authorization")), ("/v2/offers", "Bearer token-1"));
    assert_eq!((first.param("limit"), first.header("accept-language")), (Some("100"), "en"));
}

#[tokio::test]
async fn its_actions_are_those_of_one_account_in_ranges_of_dates() {
    let server = Server::start(|request: &Request| {
        let item = json!({"id": 1, "action_date": "01.03.2026 10:00"});
        assert_eq!(request.path, "/v2/accounts/4712/actions/search");
        Reply::json(&json!({"result": {"items": [item, {"kind": "summary"}], "total": 1}}))
    })
    .await;
    let date = |text: &str| Some(Value::Timestamp(text.parse::<chrono::DateTime<chrono::Utc>>().unwrap().into()));
    let march = RowScope::Range {
        column: "action_date".into(),
        from: date("2026-02-28T21:00:00Z"),
        until: date("2026-03-02T21:00:00Z"),
    };
    let outcome = read(&source(&server), "actions", "south", Reading::Range(march)).await.good();
    assert_eq!(outcome.column("account"), [Value::Int(4712)]);
    assert_eq!(outcome.column("action_date")[0].to_string(), "2026-03-01T07:00:00.000000Z");
    assert_eq!(outcome.complete(), Some(true));
    let body: serde_json::Value = serde_json::from_str(&server.seen()[0].body).unwrap();
    assert_eq!(body, json!({"date_from": "01.03.2026", "date_to": "02.03.2026", "page": 1, "page_size": 500}));
}

#[tokio::test]
async fn its_coupons_stand_inside_of_campaigns() {
    let server = Server::start(|request| match request.number("page") {
        None => Reply::json(&json!({
            "campaigns": [{"id": 7, "coupons": [{"coupon": "A"}, {"coupon": "B"}]}],
            "links": {"next": "/v2/campaigns?page=2"},
        })),
        Some(_) => Reply::json(&json!({"campaigns": [{"id": 8, "coupons": []}], "links": {}})),
    })
    .await;
    let outcome = read(&source(&server), "coupons", "", Reading::Listing).await.good();
    assert_eq!(outcome.column("campaign_id"), [Value::Int(7), Value::Int(7)]);
    assert_eq!(outcome.column("code"), [Value::from("A"), Value::from("B")]);
}

#[tokio::test]
async fn its_rules_tell_a_throttle_and_a_failure_from_an_answer() {
    let throttled = json!({"error": {"code": "rate_limited", "retry_in": 30}});
    let server = Server::start(move |request| match request.number {
        0 => Reply::json(&throttled).with_status(403),
        _ => Reply::json(&json!({"error": {"message": "no such account"}})),
    })
    .await;
    let source = source(&server);
    let first = read(&source, "offers", "", Reading::Changes).await;
    assert_eq!(first.error().retry(), Retry::After(std::time::Duration::from_secs(30)));
    let second = read(&source, "offers", "", Reading::Changes).await;
    assert!(second.error().to_string().contains("no such account"), "{}", second.error());
    assert_ne!(second.error().kind(), ErrorKind::Throttled);
}
