//! Ranges of dates against a server that refuses long ones.

use chrono::NaiveDate;
use serde_json::json;
use sync_core::model::{Boundary, Disposition, RowScope};
use sync_core::source::Reading;
use sync_core::{ErrorKind, StreamSpec, Value};
use sync_rest::{Endpoint, WindowConfig, get};

use crate::server::{Reply, Request, Server, read, read_as};

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn purchases() -> StreamSpec {
    StreamSpec::new("purchases").key(["id"]).date("day")
}

/// One purchase a day from 1 January 2026; ranges over 31 days are refused.
fn daily(request: &Request) -> Reply {
    let (from, to) = (day(request.param("from").unwrap()), day(request.param("to").unwrap()));
    if (to - from).num_days() >= 31 {
        return Reply::json(&json!({"message": "range too long"})).with_status(400);
    }
    let first = day("2026-01-01");
    let days = from.iter_days().take_while(|day| *day <= to).filter(|day| *day >= first);
    let rows: Vec<_> = days.map(|day| json!({"id": (day - first).num_days(), "day": day})).collect();
    Reply::json(&json!({"data": rows})).header("date", "Tue, 31 Mar 2026 10:00:00 GMT")
}

fn endpoint() -> Endpoint {
    get("/purchases").records("/data").window(WindowConfig::new("day", "from", "to", day("2026-01-01")))
}

fn range(from: &str, until: &str) -> RowScope {
    RowScope::Range { column: "day".into(), from: Some(Value::Date(day(from))), until: Some(Value::Date(day(until))) }
}

#[tokio::test]
async fn a_range_is_asked_for_in_slices_and_proven_as_one() {
    let server = Server::start(daily).await;
    let source = server.source(&purchases(), endpoint());
    let scope = range("2026-01-10", "2026-03-10");
    let outcome = read_as(&source, Default::default(), None, Reading::Range(scope.clone())).await.good();
    assert_eq!(outcome.ids(), (9..68).collect::<Vec<i64>>());
    assert_eq!(server.count(), 2);
    assert_eq!(outcome.batches[0].boundary, Boundary::Begins(scope.clone()));
    assert_eq!(outcome.batches.last().unwrap().boundary, Boundary::Ends { scope, complete: true, resume: None });
}

#[tokio::test]
async fn a_range_goes_on_behind_the_last_slice() {
    let server = Server::start(daily).await;
    let source = server.source(&purchases(), endpoint());
    let scope = range("2026-01-10", "2026-03-10");
    let whole = read_as(&source, Default::default(), None, Reading::Range(scope.clone())).await.good();
    let Boundary::Resume(inside) = whole.batches[1].boundary.clone() else { panic!("{whole:?}") };
    let rest = read_as(&source, Default::default(), Some(inside), Reading::Range(scope.clone())).await.good();
    assert_eq!(rest.ids().first(), Some(&40));
    assert_eq!(rest.batches.last().unwrap().boundary, Boundary::Ends { scope, complete: true, resume: None });
}

#[tokio::test]
async fn changes_are_a_trailing_range_read_again() {
    let server = Server::start(daily).await;
    let mut endpoint = endpoint();
    endpoint.window.as_mut().unwrap().lookback_days = 7;
    let source = server.source(&purchases(), endpoint);
    let first = read(&source, None).await.good();
    let asked = server.count();
    let second = read(&source, first.cursor()).await.good();
    assert_eq!(server.seen()[0].param("from"), Some("2026-01-01"));
    let again = &server.seen()[asked];
    assert!(
        day(again.param("from").unwrap()) >= day("2026-01-25"),
        "a week before what was settled: {:?}",
        again.param("from")
    );
    assert!(second.ids().len() < first.ids().len());
}

#[tokio::test]
async fn a_window_that_is_replaced_is_a_listing_of_its_days() {
    let server = Server::start(daily).await;
    let spec = purchases().disposition(Disposition::ReplaceWindow);
    let outcome = read(&server.source(&spec, endpoint()), None).await.good();
    let (first, second) = (&outcome.batches[0].boundary, &outcome.batches[1].boundary);
    let scope = range("2026-01-01", "2026-02-01");
    assert_eq!(*first, Boundary::Begins(scope.clone()));
    assert!(
        matches!(second, Boundary::Ends { scope: ended, complete: true, resume: Some(_) } if *ended == scope),
        "{second:?}"
    );
}

#[tokio::test]
async fn rows_beside_the_range_that_whole_days_bring_are_left_out() {
    let server = Server::start(|_| {
        let at = |hour: u32| format!("2026-01-10T{hour:02}:00:00Z");
        Reply::json(&json!([{"id": 1, "at": at(1)}, {"id": 2, "at": at(6)}, {"id": 3, "at": at(12)}]))
    })
    .await;
    let spec = StreamSpec::new("purchases").key(["id"]).timestamp("at");
    let window = WindowConfig::new("at", "from", "to", day("2026-01-01"));
    let source = server.source(&spec, get("/purchases").window(window));
    let hour = |hour| Some(Value::from(day("2026-01-10").and_hms_opt(hour, 0, 0).unwrap().and_utc()));
    let scope = RowScope::Range { column: "at".into(), from: hour(6), until: hour(12) };
    let outcome = read_as(&source, Default::default(), None, Reading::Range(scope.clone())).await.good();
    assert_eq!(
        (outcome.ids(), server.seen()[0].param("from"), server.seen()[0].param("to")),
        (vec![2], Some("2026-01-10"), Some("2026-01-10"))
    );
    assert_eq!(outcome.batches.last().unwrap().boundary, Boundary::Ends { scope, complete: true, resume: None });
}

#[tokio::test]
async fn dates_that_were_answered_with_nothing_at_all_are_asked_for_again() {
    for (blank, from) in [(Reply::body("application/json", ""), "2026-01-01"), (Reply::status(204), "2026-10-")] {
        let server =
            Server::start(move |request| if request.number == 0 { blank.clone() } else { daily(request) }).await;
        let source = server.source(&purchases(), endpoint());
        let first = read(&source, None).await.good();
        let asked = server.count();
        let date = chrono::Utc::now().date_naive();
        read(&source, first.cursor()).await.good();
        let again = server.seen()[asked].param("from").unwrap().to_owned();
        match from {
            "2026-01-01" => assert_eq!(again, from),
            _ => assert!(day(&again) > day("2026-02-01") && day(&again) <= date, "{again}"),
        }
    }
}

#[tokio::test]
async fn a_range_over_another_column_is_refused() {
    let server = Server::start(daily).await;
    let source = server.source(&purchases(), endpoint());
    let scope = RowScope::Range { column: "paid".into(), from: None, until: None };
    let outcome = read_as(&source, Default::default(), None, Reading::Range(scope)).await;
    assert_eq!((outcome.error().kind(), server.count()), (ErrorKind::Config, 0));
}
