//! Declarations that cannot work are refused before any network call, by the name of the field.

use secrecy::SecretString;
use sync_core::{Error, ErrorKind, StreamSpec};
use sync_rest::{ApiConfig, Rest, get, post};

use crate::reading::orders;

fn refusal(toml: &str) -> Error {
    let built = Rest::from_toml(toml, [orders()]).and_then(Rest::build);
    let error = built.expect_err(toml);
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    error
}

#[test]
fn each_mistake_is_named() {
    let api = "base = \"https://shop.example\"\n";
    let stream = "[streams.orders]\npath = \"/orders\"\n";
    let cases = [
        (format!("bas = \"x\"\n{stream}"), "bas"),
        (format!("{api}{stream}pagging = {{}}\n"), "pagging"),
        (format!("{api}{stream}paging = {{ style = \"cursr\" }}\n"), "cursr"),
        (format!("{api}{stream}paging = {{ style = \"cursor\", param = \"c\" }}\n"), "`at`"),
        (format!("{api}{stream}paging = {{ style = \"page\" }}\n"), "`paging.param`"),
        (format!("{api}{stream}paging = {{ style = \"page\", param = \"p\", at = \"/x\" }}\n"), "`at`"),
        (format!("{api}{stream}paging = {{ style = \"offset\", param = \"p\", total = \"meta\" }}\n"), "`total`"),
        (
            format!("{api}{stream}paging = {{ style = \"cursor\", param = \"p\", at = \"/n\", concurrency = 4 }}\n"),
            "`concurrency`",
        ),
        (
            format!("{api}{stream}paging = {{ style = \"cursor\", param = \"p\", at = \"/n\", stable = true }}\n"),
            "`stable`",
        ),
        (format!("{api}{stream}paging = {{ style = \"keyset\", param = \"p\", column = \"nope\" }}\n"), "nope"),
        (format!("{api}{stream}since = {{ param = \"s\", format = \"iso\" }}\n"), "iso"),
        (format!("{api}{stream}since = {{}}\n"), "`since.param`"),
        (format!("{api}{stream}columns = {{ nope = \"/x\" }}\n"), "nope"),
        (
            format!("{api}{stream}window = {{ column = \"id\", from = \"f\", start = \"2026-01-01\" }}\n"),
            "`window.column`",
        ),
        (format!("{api}[streams.orders]\npath = \"orders\"\n"), "`path`"),
        (format!("{api}[streams.orders]\npath = \"/{{account}}\"\n"), "account"),
        (format!("{api}[streams.orders]\npath = \"/o\"\nmethod = \"POST\"\n"), "`body`"),
        (format!("{api}[streams.others]\npath = \"/o\"\n"), "streams.orders"),
        (format!("{api}rules = [{{ class = \"ok\" }}]\n{stream}"), "condition"),
        (format!("{api}rules = [{{ matches = \"(\" }}]\n{stream}"), "regular expression"),
        (
            format!("{api}auth = {{ type = \"bearer\", token = \"env:SYNC_REST_NOT_SET\" }}\n{stream}"),
            "SYNC_REST_NOT_SET",
        ),
        (format!("{api}auth = {{ type = \"bearer\", token = \"host:shop\" }}\n{stream}"), "host:shop"),
        (format!("{api}headers = {{ \"x-a\" = \"a\\nb\" }}\n{stream}"), "x-a"),
        (format!("{api}rate = {{ requests = 0, per_seconds = 1 }}\n{stream}"), "rate.requests"),
        (format!("base = \"https://shop.example?key=1\"\n{stream}"), "`base`"),
    ];
    for (toml, name) in cases {
        let error = refusal(&toml);
        assert!(error.to_string().contains(name), "{name} is not named: {error}\n{toml}");
    }
}

#[test]
fn a_secret_put_in_the_wrong_place_is_not_repeated() {
    let stream = "[streams.orders]\npath = \"/orders\"\n";
    let secret = "canary-in-the-wrong-place";
    let cases = [
        format!("base = \"https://shop.example\"\nauth = {{ type = \"bearer\", token = \"{secret}\" }}\n{stream}"),
        format!("base = \"https://shop.example\"\nrate = \"{secret}\"\n{stream}"),
        format!("base = \"https://user:{secret}@shop.example\"\n{stream}"),
        format!("base = \"https:/\\\\/{secret}:x\"\n{stream}"),
    ];
    for toml in cases {
        let built = Rest::from_toml(&toml, [orders()]).and_then(Rest::build);
        let error = built.expect_err(&toml);
        assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
    }
}

#[test]
fn json_describes_an_api_as_toml_does() {
    let json = r#"{"base": "https://shop.example", "auth": {"type": "query", "name": "key", "key": "host:shop"},
        "streams": {"orders": {"path": "/v1/{account}", "method": "POST", "body": {"json": {"page": "{page}"}},
            "paging": {"style": "page", "first": 0}, "partitions": [{"name": "a", "variables": {"account": "1"}}],
            "parse": {"updated_at": "epoch_millis"}}}}"#;
    let config = ApiConfig::from_json(json).unwrap();
    let rest = Rest::from_config(config, [orders()]).unwrap().secret("shop", SecretString::from("k"));
    rest.build().unwrap();
    let error = ApiConfig::from_json(r#"{"base": 1}"#).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[test]
fn the_builder_refuses_what_cannot_work() {
    let build = |rest: Rest| rest.build().unwrap_err().to_string();
    assert!(build(Rest::at("https://a.example")).contains("no streams"));
    let twice = Rest::at("https://a.example").stream(&orders(), get("/a")).stream(&orders(), get("/b"));
    assert!(build(twice).contains("same name"));
    let unversioned = StreamSpec::new("s").key(["id"]);
    assert!(build(Rest::at("https://a.example").stream(&unversioned, get("/a").since("s"))).contains("version column"));
    let key = Rest::at("https://a.example").stream(&orders(), get("/a")).bearer(SecretString::from("a\nb"));
    assert!(build(key).contains("line break"));
    assert!(build(Rest::at("nonsense").stream(&orders(), get("/a"))).contains("`base`"));
    assert!(Rest::at("https://a.example").stream(&orders(), post("/a", serde_json::json!({}))).build().is_ok());
}
