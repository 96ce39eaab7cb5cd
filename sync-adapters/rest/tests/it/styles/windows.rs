//! Ways to ask for a range of dates: the first two days of March 2026, as each network wants them written.

use serde_json::json;
use sync_core::{StreamSpec, Value};
use sync_rest::Rest;

use super::{declared, sent};
use crate::server::{Reply, Server, read};

#[tokio::test]
async fn a_range_is_written_as_the_network_wants_it() {
    let forms = [
        ("day", r#"format = "%Y-%m-%d""#, "2026-03-01", "2026-03-02"),
        ("day", r#"format = "%d.%m.%Y""#, "01.03.2026", "02.03.2026"),
        ("day", r#"format = "%d/%m/%Y""#, "01/03/2026", "02/03/2026"),
        ("day", r#"format = "%Y%m%d""#, "20260301", "20260302"),
        ("day", r#"format = "%Y-%m-%d", end = "exclusive""#, "2026-03-01", "2026-03-03"),
        ("at", r#"format = "%Y-%m-%dT%H:%M:%S""#, "2026-03-01T00:00:00", "2026-03-02T23:59:59"),
        ("at", r#"format = "%d.%m.%Y %H:%M:%S", zone = "+03:00""#, "01.03.2026 00:00:00", "02.03.2026 23:59:59"),
        ("at", r#"format = "%Y-%m-%d %H:%M:%S""#, "2026-03-01 00:00:00", "2026-03-02 23:59:59"),
        ("at", r#"format = "rfc3339", end = "exclusive""#, "2026-03-01T00:00:00Z", "2026-03-03T00:00:00Z"),
        (
            "at",
            r#"format = "%Y-%m-%dT%H:%M:%S%.3fZ", end = "exclusive""#,
            "2026-03-01T00:00:00.000Z",
            "2026-03-03T00:00:00.000Z",
        ),
        ("at", r#"format = "epoch_seconds", end = "exclusive""#, "1772323200", "1772496000"),
    ];
    for (column, form, from, to) in forms {
        let server = Server::start(|_| Reply::json(&json!([]))).await;
        let toml = format!(
            "[streams.rows]\npath = \"/rows\"\nquery = {{ timezone = \"UTC\", dateType = \"{{by}}\" }}\nwindow = {{ column = {column:?}, from = \"start\", to = \"end\", {form}, start = \"2026-01-01\", variables = {{ by = \"transaction\" }} }}"
        );
        let spec = StreamSpec::new("rows").key(["id"]).date("day").timestamp("at");
        declared(&server, &toml, spec, Some(column)).await.good();
        assert_eq!(server.count(), 1, "{form}");
        sent(&server.seen()[0], &[("start", from), ("end", to), ("timezone", "UTC"), ("dateType", "transaction")]);
    }
}

#[tokio::test]
async fn a_range_longer_than_allowed_is_cut_and_one_that_is_too_much_is_halved() {
    let cases = [
        ("max_days = 1", [("2026-03-01", "2026-03-01"), ("2026-03-02", "2026-03-02")].to_vec()),
        (
            "halve = {}",
            [("2026-03-01", "2026-03-02"), ("2026-03-01", "2026-03-01"), ("2026-03-02", "2026-03-02")].to_vec(),
        ),
    ];
    for (how, wanted) in cases {
        let server = Server::start(|request| match request.param("from") == request.param("to") {
            true => Reply::json(&json!([])),
            false => Reply::status(504),
        })
        .await;
        let toml = format!(
            r#"
                [streams.rows]
                path = "/rows"
                window = {{ column = "day", from = "from", to = "to", {how}, start = "2026-01-01" }}
                rules = [{{ status = [504], class = "{}" }}]
            "#,
            if how.starts_with("halve") { "too_many" } else { "transient" }
        );
        let spec = StreamSpec::new("rows").key(["id"]).date("day");
        let outcome = declared(&server, &toml, spec, Some("day")).await.good();
        let seen = server.seen();
        let asked: Vec<_> =
            seen.iter().map(|request| (request.param("from").unwrap(), request.param("to").unwrap())).collect();
        assert_eq!((asked, outcome.complete()), (wanted, Some(true)), "{how}");
    }
}

#[tokio::test]
async fn several_passes_by_the_event_its_change_and_its_closing_never_ask_for_the_future() {
    let server = Server::start(|_| Reply::json(&json!([]))).await;
    let toml = format!(
        r#"
            base = {:?}
            [streams.actions]
            path = "/statistics/actions/"
            window = {{ column = "day", from = "date_start", to = "date_end", format = "%d.%m.%Y", start = "2020-01-01", max_days = 9000, lookback_days = 120, also = [
                {{ name = "status", from = "status_updated_start", to = "status_updated_end", format = "%d.%m.%Y %H:%M:%S" }},
                {{ name = "closing", from = "closing_date_start", to = "closing_date_end" }},
            ] }}
        "#,
        server.url()
    );
    let spec = StreamSpec::new("actions").key(["id"]).date("day");
    let source = Rest::from_toml(&toml, [spec]).unwrap().build().unwrap();
    read(&source, None).await.good();
    let seen = server.seen();
    assert_eq!(seen.len(), 3);
    sent(&seen[0], &[("date_start", "01.01.2020")]);
    sent(&seen[1], &[("status_updated_start", "01.01.2020 00:00:00")]);
    sent(&seen[2], &[("closing_date_start", "01.01.2020")]);
    let last = chrono::NaiveDate::parse_from_str(seen[0].param("date_end").unwrap(), "%d.%m.%Y").unwrap();
    assert!(Value::Date(last) <= Value::Date(chrono::Utc::now().date_naive()), "{last}");
}
